"""What small cells ask of the rest of a campaign file, and what of them is doubtful."""

from collections.abc import Iterator, Sequence

from nepal_flows.campaign.model import Campaign
from nepal_flows.core.lattices import LARGEST_INDEX
from nepal_flows.core.structure import Structure
from nepal_flows.core.symmetry import primitive_cell

SMALLEST_CHECK = 32
"""Atoms from which on a clean stage says something of larger cells."""

Problem = tuple[tuple[str | int, ...], str]


def small_cell_problems(campaign: Campaign, structures: Sequence[Structure]) -> Iterator[Problem]:
    """Yield what contradicts the stages of small cells, as (place, sentence)."""
    small = campaign.small_cells
    if small is None:
        return
    if campaign.exploration.dynamic is not None:
        yield (
            ("exploration", "dynamic"),
            "goes on from states whose cells are of one stage, and stages change them; leave "
            "`small_cells` or `dynamic` out",
        )
    for index, condition in enumerate(campaign.exploration.conditions):
        start = condition.start
        given = [key for key in ("n_atoms", "supercell") if getattr(start, key) is not None]
        if start.mode != "supercell":
            given.append("mode")
        for key in given:
            yield (
                ("exploration", "conditions", index, "start", key),
                "is decided by the stages of `small_cells`; leave it out",
            )
    for name, structure in zip(campaign.structure_names, structures, strict=True):
        if not all(structure.pbc):
            yield (
                ("small_cells",),
                f"structure `{name}` is not periodic throughout; small cells are cells of crystals",
            )
    yield from _stage_problems(campaign, [primitive_cell(s).n_atoms for s in structures])


def _stage_problems(campaign: Campaign, units: Sequence[int]) -> Iterator[Problem]:
    assert campaign.small_cells is not None
    names = {condition.name for condition in campaign.exploration.conditions}
    before = 0
    for index, stage in enumerate(campaign.small_cells.stages):
        place = ("small_cells", "stages", index)
        if stage.largest < before:
            yield (
                (*place, "n_atoms"),
                f"has {stage.words}, fewer than the stage before; stages grow",
            )
        before = stage.largest
        for strange in sorted(set(stage.conditions or ()) - names):
            yield (
                (*place, "conditions"),
                f"names `{strange}`; the conditions are {', '.join(sorted(names))}",
            )
        if stage.conditions == ():
            yield (*place, "conditions"), "names none; leave it out for all"
        if stage.cells == "hnf" and stage.largest > LARGEST_INDEX * min(units):
            yield (
                (*place, "cells"),
                f"`hnf` draws from all lattices of up to {LARGEST_INDEX} unit cells; use "
                "`supercell` for larger ones",
            )
        smallest = stage.n_atoms[0] if isinstance(stage.n_atoms, tuple) else 0
        for n in (n for n in units if stage.largest // n * n < smallest):
            yield (
                (*place, "n_atoms"),
                f"{stage.words} hold no multiple of a unit cell of {n}; widen the range",
            )


def small_cell_doubts(campaign: Campaign) -> Iterator[tuple[str, str]]:
    """Yield what may be meant, but is probably not, as (key, sentence)."""
    small = campaign.small_cells
    if small is None:
        return
    last = small.stages[-1]
    if last.largest < SMALLEST_CHECK:
        yield (
            f"small_cells.stages[{len(small.stages) - 1}]",
            f"The last stage has {last.words}: a stage that is clean there says nothing of larger "
            f"cells. End with {SMALLEST_CHECK} to 54 atoms or more.",
        )
    lone = len(campaign.model.elements) == 1 and small.mode == "recommended"
    for index, stage in enumerate(small.stages):
        smallest = stage.n_atoms[0] if isinstance(stage.n_atoms, tuple) else stage.n_atoms
        if lone and smallest <= 2:
            yield (
                f"small_cells.stages[{index}].n_atoms",
                "Two atoms of one element have an inversion centre between them: such a cell "
                "teaches one environment, not two, and one of a single atom has no force. Begin "
                "at four or more.",
            )
    if campaign.exploration.gamma_stop is not None and campaign.exploration.gamma_stop < 100.0:
        yield (
            "exploration.gamma_stop",
            f"Runs that stop at a grade of {campaign.exploration.gamma_stop:g} offer their first, "
            "ideal frames: in small cells they have almost no forces, and the model learns none. "
            "Leave it out; the physics gate stops what breaks.",
        )


__all__ = ["SMALLEST_CHECK", "small_cell_doubts", "small_cell_problems"]
