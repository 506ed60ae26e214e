"""What speaks against the labels that a campaign asks for."""

from collections.abc import Sequence
from pathlib import Path

from nepal_flows.campaign.dft import cutoff_doubts
from nepal_flows.campaign.labels import DftLabels, EspressoLabels, KPoints
from nepal_flows.campaign.model import Campaign
from nepal_flows.campaign.problem import PlanProblem
from nepal_flows.core.structure import Structure
from nepal_flows.core.symmetry import crystal_rotations, grid_keeps_symmetry, primitive_cell
from nepal_flows.io.upf import read_upf_header


def label_problems(campaign: Campaign, structures: Sequence[Structure]) -> list[PlanProblem]:
    """Return what speaks against a campaign's labels; ``structures`` are where it starts."""
    labels = campaign.labels
    if not isinstance(labels, DftLabels):
        return []
    found = []
    if isinstance(labels, EspressoLabels):
        found += [PlanProblem("warning", "labels", doubt) for doubt in _cutoff_doubts(labels)]
    if labels.kpoints.mode == "folded":
        found += _grid_problems(labels.kpoints, primitive_cell(structures[0]))
    if labels.kpoints.mode == "spacing" and labels.kpoints.spacing_per_A > 0.5:
        found.append(
            PlanProblem(
                "warning",
                "labels.kpoints.spacing_per_A",
                f"{labels.kpoints.spacing_per_A:g} 1/Å is coarse; cells of different shapes will "
                "not agree. Compare two before the campaign.",
            )
        )
    if labels.charge_e:
        found.append(
            PlanProblem(
                "warning",
                "labels.charge_e",
                f"Every labelled cell has the charge {labels.charge_e:g} e, small cells as large "
                "ones: their energies per atom do not agree, and a potential knows no charge. Use "
                "cells of one size.",
            )
        )
    if campaign.validation is not None:
        steps = sum(run.n_steps for run in campaign.validation.runs)
        found.append(
            PlanProblem(
                "warning",
                "validation",
                f"The labeler would run {steps} steps of molecular dynamics of "
                f"{campaign.validation.n_atoms} atoms; leave `validation` out for DFT.",
            )
        )
    return found


def _grid_problems(kpoints: KPoints, primitive: Structure) -> list[PlanProblem]:
    grid, place = list(kpoints.grid), "labels.kpoints.grid"
    found = []
    if any(n > 1 and n % 2 and n % 3 for n in grid):
        found.append(
            PlanProblem(
                "error",
                place,
                f"{grid} can be divided by neither 2 nor 3: no small multiple of the primitive "
                "cell folds onto it; give multiples of 2 or 3, say 6 or 8.",
            )
        )
    if not grid_keeps_symmetry(grid, kpoints.offset, crystal_rotations(primitive)):
        shifted = any(kpoints.offset)
        remedy = "`offset: [false, false, false]`" if shifted else "equal numbers"
        found.append(
            PlanProblem(
                "error",
                "labels.kpoints.offset" if shifted else place,
                f"grid {grid} with offset {list(kpoints.offset)} lacks the symmetry of the "
                "crystal: labels of the perfect crystal would have forces and shear stresses that "
                f"it cannot have, in directions that the cell's axes fix. Use {remedy}.",
            )
        )
    return found


def _cutoff_doubts(labels: EspressoLabels) -> list[str]:
    """Return where cutoffs are below what those pseudopotentials ask for that can be read here."""
    headers = {}
    for symbol, file in labels.pseudopotentials.items():
        path = Path(labels.pseudo_dir or "") / file
        if labels.pseudo_dir is not None and path.is_file():
            headers[symbol] = read_upf_header(path)
    return cutoff_doubts(labels.ecutwfc_Ry, labels.ecutrho_Ry, headers)


__all__ = ["label_problems"]
