"""Carve a fragment around one atom of a large parent, by one of several methods.

=========  =====================================================================================
isolated   a sphere of the core and a shell, in vacuum
naive      a box of the least size around the centre, overlapping atoms deleted
searched   lengths and offset of the box searched, clashes pushed apart, the rest deleted
relaxed    searched; then the boundary relaxed with the model's energy, and kept warm
healed     searched; then the boundary healed by its grades, and kept warm
auto       the accepted one of searched, relaxed and healed with the lowest score: the mean over
           all atoms of max(0, ln(grade / max(target, grade in the parent))). ``relaxed`` is tried
           only where the model knows the boundary.
=========  =====================================================================================
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nepal_flows.core.carving.boxes import (
    Box,
    centred_box,
    search_reach,
    searched_box,
    smallest_length,
)
from nepal_flows.core.carving.clashes import (
    molecules_of,
    pushed_apart,
    with_composition,
    without_clashes,
)
from nepal_flows.core.carving.distances import PairDistances, pair_distances
from nepal_flows.core.carving.environment import Environment, environment_of
from nepal_flows.core.carving.fidelity import Fidelity, fidelity_of, shortcomings
from nepal_flows.core.carving.fragments import (
    Fragment,
    cut_fragment,
    isolated_fragment,
    with_vacuum,
)
from nepal_flows.core.carving.healing import (
    energy_objective,
    grade_objective,
    healed,
    smooth_grades,
)
from nepal_flows.core.carving.options import CarvingOptions, Method
from nepal_flows.core.carving.regions import Region, open_cluster
from nepal_flows.core.carving.warming import warmed
from nepal_flows.core.extrapolation import structure_grades
from nepal_flows.core.nep.model import NepModel
from nepal_flows.errors import CarvingError
from nepal_flows.typing import FloatArray, IntArray

RegionSource = Callable[[float], Region]
"""The surroundings of a centre up to a distance, Å."""

_ENLARGE = 2.0  # Å
_NAIVE_DELETE = 0.78
_PROBE_WIDTH = 12.0  # Å, of the region in which usual distances are looked up


@dataclass(frozen=True, eq=False)
class Carving:
    """One fragment with what speaks for it and against it.

    Attributes
    ----------
    fragment
        What is labelled.
    fidelity
        What it kept of its parent.
    method
        How it was made; never ``auto``.
    shortcomings
        Why it is not accepted; empty where it is.
    rattle
        Standard deviation of the displacements that keep the boundary warm, Å.
    n_enlarged
        How often the box was enlarged.
    scores
        Score of every method that was tried on this box.
    """

    fragment: Fragment
    fidelity: Fidelity
    method: Method
    shortcomings: tuple[str, ...]
    rattle: float
    n_enlarged: int
    scores: dict[str, float]

    @property
    def is_accepted(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.shortcomings


def carve(
    region_of_width: RegionSource,
    model: NepModel,
    inverses: FloatArray,
    *,
    options: CarvingOptions | None = None,
    rng: np.random.Generator,
) -> Carving:
    """Return a fragment around one atom; enlarged, while that helps, until it is accepted.

    Parameters
    ----------
    region_of_width
        Gives the surroundings of the atom up to a distance, Å: ``partial(bins.region, atom)`` of
        an `AtomBins`, or `Region.within` of a region that is `widest_reach` wide.
    model
        The potential.
    inverses
        M of all types, shape (n_types, d, d).
    options
        How; the method above all.
    rng
        For the rattling.

    Returns
    -------
    Carving
        The first accepted fragment, else the one with the fewest shortcomings.

    Raises
    ------
    CarvingError
        If the parent is smaller than the box, or no box within `max_atoms` exists.
    ModelError
        If the parent holds an element that the model does not know.
    """
    options = options or CarvingOptions()
    best: Carving | None = None
    for n_enlarged in range(options.max_enlargements + 1):
        try:
            found = _carved(region_of_width, model, inverses, options, rng, n_enlarged)
        except CarvingError:
            if best is None:
                raise
            break
        if best is None or len(found.shortcomings) < len(best.shortcomings):
            best = found
        if best.is_accepted or options.method in ("isolated", "naive"):
            break
    assert best is not None
    return best


def _carved(
    region_of_width: RegionSource,
    model: NepModel,
    inverses: FloatArray,
    options: CarvingOptions,
    rng: np.random.Generator,
    n_enlarged: int,
) -> Carving:
    """Return the best fragment of one least box size."""
    site = _site(region_of_width, model, options, n_enlarged)
    search = None if options.method in ("isolated", "naive") else _searched(site, options)
    if options.method == "isolated":
        tried = [_judged(site, _isolated(site, options), inverses, options, "isolated")]
    elif search is None:
        tried = [_judged(site, _naive(site, options), inverses, options, "naive")]
    else:
        tried = [
            _judged(site, fragment, inverses, options, method, rattle)
            for method, fragment, rattle in _variants(site, search, inverses, options, rng)
        ]
    best = min(tried, key=lambda found: (len(found.shortcomings), found.fidelity.log_excess))
    scores: dict[str, float] = {found.method: found.fidelity.log_excess for found in tried}
    return dataclasses.replace(best, n_enlarged=n_enlarged, scores=scores)


@dataclass(frozen=True, eq=False)
class _Site:
    """A centre in its parent."""

    environment: Environment
    distances: PairDistances
    molecules: IntArray | None
    core_radius: float
    length: float

    @property
    def region(self) -> Region:
        return self.environment.region


def widest_reach(
    model: NepModel, options: CarvingOptions, distances: PairDistances, n_enlarged: int
) -> float:
    """Return how far from its centre a carving may look, Å.

    Parameters
    ----------
    model, options
        As for `carve`.
    distances
        Usual distances around the centre.
    n_enlarged
        How often the box was enlarged.
    """
    cutoff = model.architecture.largest_cutoff
    core_radius = options.core_radius or cutoff
    length = smallest_length(core_radius, distances) + _ENLARGE * n_enlarged
    reach = search_reach(length, distances) + cutoff
    shell = 2.0 * cutoff + 1.5 * distances.largest
    return max(reach, shell, core_radius + options.isolated_shell) + 0.5


def _site(
    region_of_width: RegionSource, model: NepModel, options: CarvingOptions, n_enlarged: int
) -> _Site:
    core_radius = options.core_radius or model.architecture.largest_cutoff
    distances = usual_distances(region_of_width, options)
    length = smallest_length(core_radius, distances) + _ENLARGE * n_enlarged
    region = region_of_width(widest_reach(model, options, distances, n_enlarged))
    environment = environment_of(model, region)
    molecules = molecules_of(environment.cluster, options.bonds) if options.bonds else None
    return _Site(environment, distances, molecules, core_radius, length)


def usual_distances(region_of_width: RegionSource, options: CarvingOptions) -> PairDistances:
    """Return the usual distances around a centre; between molecules, where there are some."""
    region = region_of_width(_PROBE_WIDTH)
    cluster = open_cluster(region)
    inner = np.abs(region.fractions) * region.thicknesses < _PROBE_WIDTH - 5.0
    molecules = molecules_of(cluster, options.bonds) if options.bonds else None
    return pair_distances(cluster, np.flatnonzero(inner.all(axis=1)), molecules)


def _isolated(site: _Site, options: CarvingOptions) -> Fragment:
    return isolated_fragment(
        site.region, site.core_radius, shell=options.isolated_shell, vacuum=options.isolated_vacuum
    )


def _naive(site: _Site, options: CarvingOptions) -> Fragment:
    box = centred_box(site.region, site.length)
    return _cleared(site, box, options, max(_NAIVE_DELETE, options.delete_below))


def _searched(site: _Site, options: CarvingOptions) -> Fragment:
    box = searched_box(
        site.region,
        site.distances,
        core_radius=site.core_radius,
        length=site.length,
        max_atoms=options.max_atoms,
        volume_weight=options.volume_weight,
    )
    fragment = _cleared(site, box, options, options.delete_below)
    return pushed_apart(fragment, site.distances, target=options.push_below)


def _cleared(site: _Site, box: Box, options: CarvingOptions, delete_below: float) -> Fragment:
    fragment = cut_fragment(site.region, box, site.core_radius, molecules=site.molecules)
    fragment = with_vacuum(fragment, options.vacuum, max(1.8 * site.distances.largest, 4.0))
    fragment = without_clashes(
        fragment, site.distances, delete_below=delete_below, molecules=site.molecules
    )
    fragment = with_composition(
        fragment, site.distances, options.composition, molecules=site.molecules
    )
    if fragment.n_atoms > options.max_atoms:
        raise CarvingError(
            f"The fragment has {fragment.n_atoms} atoms, more than {options.max_atoms}: the core "
            f"of {site.core_radius:g} Å needs a box of {site.length:.1f} Å. Raise the limit, or "
            "train with a shorter cutoff."
        )
    return fragment


def _variants(
    site: _Site,
    searched: Fragment,
    inverses: FloatArray,
    options: CarvingOptions,
    rng: np.random.Generator,
) -> list[tuple[Method, Fragment, float]]:
    """Return the fragments that a method tries."""
    model, method = site.environment.model, options.method
    found: list[tuple[Method, Fragment, float]] = []
    if method in ("searched", "auto"):
        found.append(("searched", searched, 0.0))
    factors = site.environment.factors(searched.rows)
    knows = method == "auto" and bool(
        (structure_grades(inverses, factors)[~searched.is_core] <= options.known_below).all()
    )
    if method == "relaxed" or knows:
        objective = energy_objective(model)
        relaxed = healed(searched, objective, site.distances, options.healing)
        found.append(("relaxed", *_warm(site, relaxed, options, rng)))
    if method in ("healed", "auto"):
        power, target = options.healing.power, options.healing.target
        targets = np.maximum(target, smooth_grades(inverses, factors, power))
        objective = grade_objective(
            model, inverses, targets, softness=options.healing.softness, power=power
        )
        mended = healed(searched, objective, site.distances, options.healing)
        found.append(("healed", *_warm(site, mended, options, rng)))
    return found


def _warm(
    site: _Site, fragment: Fragment, options: CarvingOptions, rng: np.random.Generator
) -> tuple[Fragment, float]:
    if not options.warm:
        return fragment, 0.0
    environment = site.environment
    cutoff = environment.model.architecture.largest_cutoff
    inner = environment.inside(2.0 * cutoff)
    forces = environment.forces(inner)
    return warmed(
        fragment,
        environment.model,
        force_rms=float(np.sqrt((forces**2).mean())),
        distances=site.distances,
        rng=rng,
    )


def _judged(
    site: _Site,
    fragment: Fragment,
    inverses: FloatArray,
    options: CarvingOptions,
    method: Method,
    rattle: float = 0.0,
) -> Carving:
    box = fragment.box
    fidelity = fidelity_of(
        fragment,
        site.environment,
        inverses,
        site.distances,
        target=options.healing.target,
        box_rows=None if box is None else box.atoms(site.region.fractions),
    )
    found = shortcomings(fidelity, options.acceptance)
    return Carving(fragment, fidelity, method, found, rattle, 0, {})


__all__ = [
    "Carving",
    "RegionSource",
    "carve",
    "usual_distances",
    "widest_reach",
]
