"""What one section of a campaign file asks of another, or of the starting structures."""

import math
from collections.abc import Iterator, Sequence

from nepal_flows.campaign.crystal import crystal_problems
from nepal_flows.campaign.exploration import CellChoice, Mix, Start
from nepal_flows.campaign.labels import (
    SAID_ELSEWHERE,
    Cp2kLabels,
    DftLabels,
    EspressoLabels,
    VaspLabels,
)
from nepal_flows.campaign.model import Campaign
from nepal_flows.campaign.section import LARGEST_CELL
from nepal_flows.campaign.small_cell_checks import small_cell_problems
from nepal_flows.campaign.stages import campaign_at, n_stages
from nepal_flows.core.elements import symbols_of
from nepal_flows.core.structure import Structure
from nepal_flows.core.symmetry import primitive_cell

Location = tuple[str | int, ...]
Problem = tuple[Location, str]


def campaign_problems(campaign: Campaign, structures: Sequence[Structure]) -> list[Problem]:
    """Return what contradicts, as (place, sentence); empty when the campaign is sound.

    Parameters
    ----------
    campaign
        The campaign, ``model.elements`` filled in.
    structures
        Its starting structures, in order.
    """
    found = [
        *_reference_problems(campaign, structures),
        *_element_problems(campaign, structures),
        *_label_problems(campaign),
        *_number_problems(campaign),
        *crystal_problems(campaign),
    ]
    if campaign.small_cells is None:
        return [*found, *_cell_problems(campaign, structures)]
    found += small_cell_problems(campaign, structures)
    for index in range(n_stages(campaign)):
        place = ("small_cells", "stages", index)
        for location, sentence in _cell_problems(campaign_at(campaign, index), structures):
            problem = (location if location[0] in ("seeds", "labels") else place, sentence)
            found += [] if problem in found else [problem]
    return found


def _cell_choices(campaign: Campaign) -> Iterator[tuple[Location, CellChoice]]:
    yield ("seeds",), campaign.seeds
    for index, condition in enumerate(campaign.exploration.conditions):
        yield ("exploration", "conditions", index, "start"), condition.start


def _structure_references(campaign: Campaign) -> Iterator[tuple[Location, int | str]]:
    for index, structure in enumerate(campaign.seeds.structures or ()):
        yield ("seeds", "structures", index), structure
    for index, condition in enumerate(campaign.exploration.conditions):
        place = ("exploration", "conditions", index, "start", "structure")
        yield place, condition.start.structure
    if campaign.validation is not None:
        yield ("validation", "structure"), campaign.validation.structure


def _mixes(campaign: Campaign) -> Iterator[tuple[Location, Mix, Sequence[int | str]]]:
    everything = range(len(campaign.structures))
    if campaign.seeds.mix is not None:
        yield ("seeds", "mix"), campaign.seeds.mix, campaign.seeds.structures or everything
    for index, condition in enumerate(campaign.exploration.conditions):
        start = condition.start
        if start.mix is not None:
            place = ("exploration", "conditions", index, "start", "mix")
            yield place, start.mix, [start.structure]
    if campaign.validation is not None and campaign.validation.mix is not None:
        yield ("validation", "mix"), campaign.validation.mix, [campaign.validation.structure]


def _reference_problems(campaign: Campaign, structures: Sequence[Structure]) -> Iterator[Problem]:
    sound = True
    for location, reference in _structure_references(campaign):
        try:
            campaign.structure_index(reference)
        except ValueError as error:
            sound = False
            yield location, str(error)
    if not sound:
        return
    for location, choice in _cell_choices(campaign):
        if choice.supercell is None or location[0] == "seeds":
            continue
        index = location[2]
        condition = campaign.exploration.conditions[int(index)]
        pbc = structures[campaign.structure_index(condition.start.structure)].pbc
        if any(n > 1 and not periodic for n, periodic in zip(choice.supercell, pbc, strict=True)):
            yield (
                (*location, "supercell"),
                f"{list(choice.supercell)} repeats a direction that is not periodic; use 1 there",
            )
    for location, mix, sources in _mixes(campaign):
        for source in sources:
            present = symbols_of(structures[campaign.structure_index(source)].numbers)
            if not set(present) & set(mix.elements):
                name = campaign.structure_names[campaign.structure_index(source)]
                yield (
                    location,
                    f"structure `{name}` holds none of {', '.join(mix.elements)}; nothing to mix",
                )


def _element_problems(campaign: Campaign, structures: Sequence[Structure]) -> Iterator[Problem]:
    known = set(campaign.model.elements)
    for structure, name in zip(structures, campaign.structure_names, strict=True):
        missing = sorted(set(symbols_of(structure.numbers)) - known)
        if missing:
            yield (
                ("model", "elements"),
                f"lacks {', '.join(missing)} of structure `{name}`; add it, or write `auto`",
            )
    for location, mix, _ in _mixes(campaign):
        missing = sorted(set(mix.elements) - known)
        if missing:
            yield location, f"mixes {', '.join(missing)}, which `model.elements` lacks"
    for pair in campaign.exploration.gate.min_distance_A:
        missing = sorted(set(pair.split("-")) - known)
        if missing:
            yield (
                ("exploration", "gate", "min_distance_A", pair),
                f"{', '.join(missing)} is not in the campaign",
            )
    energies = campaign.training.reference_energies
    if energies != "fit":
        missing = sorted(known - set(energies))
        if missing:
            yield (
                ("training", "reference_energies"),
                f"has no energy for {', '.join(missing)}; add it, or write `fit`",
            )


def _label_problems(campaign: Campaign) -> Iterator[Problem]:
    labels = campaign.labels
    if isinstance(labels, EspressoLabels):
        missing = sorted(set(campaign.model.elements) - set(labels.pseudopotentials))
        if missing:
            yield (
                ("labels", "pseudopotentials"),
                f"names no file for {', '.join(missing)}; write `{missing[0]}: FILE.UPF`",
            )
    if isinstance(labels, DftLabels):
        yield from _electron_problems(labels, campaign.model.elements)


def _cell_problems(campaign: Campaign, structures: Sequence[Structure]) -> Iterator[Problem]:
    """Yield what is wrong with the sizes and shapes of cells."""
    yield from _size_problems(campaign, structures)
    labels = campaign.labels
    if not isinstance(labels, DftLabels) or labels.kpoints.mode != "folded":
        return
    if len(campaign.structures) > 1:
        yield (
            ("labels", "kpoints", "mode"),
            "`folded` needs a single starting structure, whose multiples all cells are; use "
            "`spacing` after checking that cells of several sizes agree",
        )
    is_primitive = primitive_cell(structures[0]).n_atoms == structures[0].n_atoms
    for location, choice in _cell_choices(campaign):
        diagonal = is_primitive and set(choice.supercell or [0]) <= {1, 2, 4}
        if choice.mode != "folded" and not diagonal:
            yield (
                (*location, "mode"),
                "is not `folded`, as `labels.kpoints.mode` is: k-points of other cells do not "
                "fold onto one grid, and their energies would not agree",
            )


def _electron_problems(labels: DftLabels, elements: Sequence[str]) -> Iterator[Problem]:
    """Yield what a code cannot do, and elements that the campaign does not have."""
    named = {
        "magnetic_moments_uB": set(labels.magnetic_moments_uB or ()),
        "hubbard_U_eV": {name.split("-")[0] for name in labels.hubbard_U_eV},
    }
    for key, symbols in named.items():
        if strange := sorted(symbols - set(elements)):
            yield ("labels", key), f"names {', '.join(strange)}, which the campaign has not"
    if isinstance(labels, EspressoLabels) and labels.hubbard_U_eV:
        yield (
            ("labels", "hubbard_U_eV"),
            "has another input in every version of pw.x; give it under `input_data` as yours "
            "wants it, or use code vasp",
        )
    if isinstance(labels, Cp2kLabels) and labels.hubbard_U_eV:
        yield (
            ("labels", "hubbard_U_eV"),
            "is not there in CP2K with k-points (2023.1 stops); use code vasp",
        )
    if isinstance(labels, VaspLabels):
        yield from _vasp_problems(labels)
    if isinstance(labels, Cp2kLabels):
        if labels.charge_e != int(labels.charge_e):
            yield ("labels", "charge_e"), f"is {labels.charge_e:g}; CP2K's charges are whole"
        if labels.magnetic_moments_uB is not None and labels.smearing_temperature_K == 0.0:
            yield (
                ("labels", "magnetic_moments_uB"),
                "needs smearing in CP2K: without it the moment of the cell cannot change; give "
                "`smearing_temperature_K`",
            )


def _vasp_problems(labels: VaspLabels) -> Iterator[Problem]:
    own = {name.upper() for name in labels.user_incar_settings}
    for name in sorted(own & set(SAID_ELSEWHERE)):
        yield ("labels", "user_incar_settings", name), f"is not taken: {SAID_ELSEWHERE[name]}"
    if labels.dispersion and labels.functional in {"SCAN", "r2SCAN"} and "VDW_S8" not in own:
        yield (
            ("labels", "dispersion"),
            f"has no parameters for {labels.functional} in VASP; give VDW_S8, VDW_A1 and VDW_A2 "
            "under `user_incar_settings`, or use another functional",
        )


def _size_problems(campaign: Campaign, structures: Sequence[Structure]) -> Iterator[Problem]:
    """Yield the cells that nobody can build; nothing is built to find them."""
    for location, choice in _cell_choices(campaign):
        start = location[0] == "exploration"
        try:
            index = campaign.structure_index(choice.structure) if isinstance(choice, Start) else 0
        except ValueError:
            continue  # told already
        factor = campaign.confirmation.size_factor if start else 1.0
        n_atoms = choice.n_atoms[1] if isinstance(choice.n_atoms, tuple) else choice.n_atoms
        if n_atoms is None:
            n_atoms = structures[index].n_atoms * math.prod(choice.supercell or (1, 1, 1))
        key = "supercell" if choice.supercell else "n_atoms"
        if factor * n_atoms > LARGEST_CELL:
            larger = f", {factor:g} times more in the confirmation" if factor > 1.0 else ""
            yield (
                (*location, key),
                f"asks for {n_atoms} atoms{larger}; at most {LARGEST_CELL} can be built",
            )


def _number_problems(campaign: Campaign) -> Iterator[Problem]:
    if campaign.budget.labels < campaign.seeds.n:
        yield (
            ("budget", "labels"),
            f"{campaign.budget.labels} are fewer than the {campaign.seeds.n} seeds",
        )
    exploration = campaign.exploration
    yield from _criterion_problems(campaign)
    if exploration.dynamic is not None:
        if campaign.selection.criterion != "bayes":
            yield (
                ("exploration", "dynamic"),
                "goes by error bars, which needs `selection: {criterion: bayes}`",
            )
        if campaign.small_cells is not None:
            yield (
                ("exploration", "dynamic"),
                "and `small_cells` are two ways to learn: a trajectory that goes on cannot change "
                "its cell. Choose one",
            )
    for index, condition in enumerate(exploration.conditions):
        if condition.run_in is not None:
            continue
        if condition.n_steps < exploration.burn_in_steps + exploration.check_interval:
            yield (
                ("exploration", "conditions", index, "stages"),
                f"have {condition.n_steps} steps: no frame would be graded with `burn_in_steps` "
                f"{exploration.burn_in_steps} and `check_interval` {exploration.check_interval}",
            )


def _criterion_problems(campaign: Campaign) -> Iterator[Problem]:
    """Yield what a criterion asks of engine and trainer, and several criteria of each other."""
    exploration, selection = campaign.exploration, campaign.selection
    place = ("selection", "criterion")
    if exploration.engine == "gpumd" and selection.criterion not in ("grade", "committee"):
        named = " and ".join(f"`{name}`" for name in selection.criteria)
        yield (
            place,
            f"is {named}, which GPUMD cannot evaluate: it knows the grade of one model, or the "
            "disagreement of several. Choose `grade` or `committee`, or "
            "`exploration.engine: native`",
        )
    if "committee" in selection.criteria and campaign.training.trainer != "native":
        yield (
            place,
            f"names `committee`, whose members are trained by the native trainer, as the model "
            f"itself must be then; the trainer is `{campaign.training.trainer}`. Choose "
            "`training.trainer: native`, or another criterion",
        )
    if len(selection.criteria) < 2 or "grade" not in selection.criteria:
        return
    if exploration.gamma_stop is not None:
        yield (
            ("exploration", "gamma_stop"),
            "stops runs by the grade alone, and there are several criteria. Leave it null: the "
            "physics gate stops what is broken",
        )
    if selection.threshold != exploration.gamma_low:
        yield (
            ("selection", "threshold"),
            f"is {selection.threshold:g}; with several criteria candidates are labelled while one "
            f"is unknown by any of them, by the grade from `exploration.gamma_low` = "
            f"{exploration.gamma_low:g} on. Give both the same value",
        )


__all__ = ["Problem", "campaign_problems"]
