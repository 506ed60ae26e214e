"""A campaign whose model is force constants: its supercells, and what it cannot be asked for."""

from collections.abc import Iterator, Sequence

import numpy as np

from nepal_flows.campaign.exploration import CellChoice, Condition
from nepal_flows.campaign.model import Campaign, ModelSection
from nepal_flows.campaign.structures import seed_structures, starting_structure
from nepal_flows.core.structure import Structure
from nepal_flows.engines.force_constants.crystal import Crystal

Location = tuple[str | int, ...]
Problem = tuple[Location, str]

_NEP_ALONE = ("cutoff_A", "n_max", "basis_size", "l_max", "neuron", "zbl")


def crystal_of(campaign: Campaign, structures: Sequence[Structure]) -> Crystal:
    """Return the crystal of a campaign, with every supercell that it will look at.

    Raises
    ------
    CampaignError
        If a supercell cannot be made.
    """
    section = campaign.model.force_constants
    assert section is not None
    return Crystal.of(structures[0], section.cutoffs_A, ideal_supercells(campaign, structures))


def ideal_supercells(campaign: Campaign, structures: Sequence[Structure]) -> list[Structure]:
    """Return the cells of seeds and conditions with all atoms on their sites.

    Those of the confirmation are the last, one a condition.
    """
    cells = []
    if campaign.seeds.n > 0:
        still = campaign.seeds.model_copy(update={"n": 1, "rattle_A": (0.0, 0.0)})
        seeds = seed_structures(campaign.model_copy(update={"seeds": still}), structures)
        cells += [seed.structure for seed in seeds]
    for factor in (1.0, campaign.confirmation.size_factor):
        cells += [
            ideal_start(campaign, structures, condition, size_factor=factor)
            for condition in campaign.exploration.conditions
        ]
    return cells


def ideal_start(
    campaign: Campaign,
    structures: Sequence[Structure],
    condition: Condition,
    *,
    size_factor: float = 1.0,
) -> Structure:
    """Return the cell of a condition with all atoms on their sites."""
    start = condition.start.model_copy(update={"rattle_A": 0.0})
    return starting_structure(
        campaign,
        structures,
        condition.model_copy(update={"start": start}),
        rng=np.random.default_rng(0),
        size_factor=size_factor,
    )


def crystal_problems(campaign: Campaign) -> Iterator[Problem]:
    """Yield what force constants cannot be asked for; nothing where the model is a NEP."""
    section = campaign.model.force_constants
    if section is None:
        return
    place = ("model", "force_constants")
    if strange := _of_a_nep(campaign.model):
        yield ("model", strange[0]), "is of a NEP; `force_constants` have `cutoffs_A` alone"
    if len(campaign.structures) != 1:
        yield (
            ("structures",),
            "are more than one; force constants belong to one crystal at one volume",
        )
    if campaign.exploration.dynamic is None:
        yield (
            place,
            "are learnt while they run: give `exploration: {dynamic: {..}}` and `selection: "
            "{criterion: bayes}`",
        )
    if campaign.selection.bayes.layer != "all":
        yield ("selection", "bayes", "layer"), "is of a NEP's network; leave it out"
    if campaign.small_cells is not None:
        yield ("small_cells",), "are for NEPs; force constants need cells of twice their cutoff"
    if campaign.exploration.engine != "native":
        yield ("exploration", "engine"), "must be `native`: GPUMD does not run this model here"
    if campaign.training.trainer != "native":
        yield ("training", "trainer"), "trains NEPs; force constants are solved for: leave it out"
    if campaign.training.reference_energies != "fit":
        yield ("training", "reference_energies"), "must be `fit`: the ideal crystal is the zero"
    if campaign.validation is not None:
        yield ("validation",), "compares NEPs alone; leave it out, the larger cell is the test"
    yield from _cell_problems(campaign)


def _of_a_nep(model: ModelSection) -> list[str]:
    """Return the keys of a NEP that are not at their defaults."""
    fields = ModelSection.model_fields
    return [name for name in _NEP_ALONE if getattr(model, name) != fields[name].default]


def _cell_problems(campaign: Campaign) -> Iterator[Problem]:
    """Yield the cells that are not the crystal with atoms displaced, at its volume."""
    seeds = campaign.seeds
    for key, nothing in (
        ("volume_strain", 0.0),
        ("shear_strain", 0.0),
        ("vacancy_probability", 0.0),
        ("lattice_factor", None),
        ("mix", None),
    ):
        if seeds.n > 0 and getattr(seeds, key) != nothing:
            yield ("seeds", key), _not_the_crystal(nothing)
    if seeds.n > 0:
        yield from _shape_problems(seeds, ("seeds",))
    for index, condition in enumerate(campaign.exploration.conditions):
        place: Location = ("exploration", "conditions", index)
        start = condition.start
        for key, nothing in (
            ("volume_factor", 1.0),
            ("strain", 0.0),
            ("vacancies", 0),
            ("vacancy_probability", 0.0),
            ("mix", None),
        ):
            if getattr(start, key) != nothing:
                yield (*place, "start", key), _not_the_crystal(nothing)
        yield from _shape_problems(start, (*place, "start"))
        if any(stage.ensemble == "npt" for stage in condition.stages):
            yield (
                (*place, "stages"),
                "change the volume with npt; force constants are those of one volume: take nvt",
            )


def _shape_problems(choice: CellChoice, place: Location) -> Iterator[Problem]:
    if isinstance(choice.n_atoms, tuple) or choice.mode == "hnf":
        yield (
            (*place, "n_atoms" if choice.mode != "hnf" else "mode"),
            "draws a cell anew every time; force constants are counted from one ideal supercell: "
            "give one number, and mode `supercell` or `folded`",
        )


def _not_the_crystal(nothing: float | None) -> str:
    value = "null" if nothing is None else f"{nothing:g}"
    return (
        "leaves the crystal that force constants are counted from, at its volume, whole and in "
        f"order; give {value}"
    )


__all__ = ["crystal_of", "crystal_problems", "ideal_start", "ideal_supercells"]
