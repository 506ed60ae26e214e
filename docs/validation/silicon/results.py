"""Everything that was found, as plain JSON values with units in their names."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nepal_flows.core.structure import LabelledStructure
from silicon.accuracy import (
    Compared,
    SafetyCheck,
    by_key,
    compared,
    frame_errors,
    joined,
    safety_check,
)
from silicon.evaluation import ModelEvaluator
from silicon.properties import Properties, properties
from silicon.references import References
from silicon.subject import Subject
from silicon.unseen import ASKED, kpoint_labels, unseen_labels


@dataclass(frozen=True, eq=False)
class Findings:
    """What was compared.

    Attributes
    ----------
    subject
        The campaign.
    dft, model
        Properties by either.
    groups
        Unseen frames, by name of their group.
    trained
        Training frames.
    safety
        What the grade said.
    kpoints
        Name of a class, labels with the campaign's k-points and with dense ones.
    crossed
        Energies of the vacancy in the other's relaxed structure, eV, by shape.
    references
        The labels.
    """

    subject: Subject
    dft: Properties
    model: Properties
    groups: dict[str, Compared]
    trained: Compared
    safety: SafetyCheck
    kpoints: list[tuple[str, LabelledStructure, LabelledStructure]]
    crossed: dict[str, dict[str, float]]
    references: References


def found(subject: Subject, references: References) -> Findings:
    """Return what a campaign's model and DFT say, side by side.

    Parameters
    ----------
    subject
        The campaign.
    references
        Labels of its code.

    Raises
    ------
    CampaignError
        If labels are missing and DFT was not asked for.
    """
    code = references.loaded.campaign.labels.code
    shapes = ASKED[code].vacancies
    dft = properties(references, shapes)
    evaluate = ModelEvaluator(subject.model, subject.references)
    model = properties(evaluate, shapes)
    labels = unseen_labels(references, subject.model, subject.facts["model_sha256"])
    groups = {name: compared(frames, subject) for name, frames in labels.items()}
    folding = list(folding_groups(groups).values())
    trained = compared(subject.training_frames, subject)
    return Findings(
        subject=subject,
        dft=dft,
        model=model,
        groups=groups,
        trained=trained,
        safety=safety_check(joined(folding), trained, gamma_low=subject.gamma_low),
        kpoints=kpoint_labels(references, labels) if code == "espresso" else [],
        crossed={shape: _crossed(shape, dft, evaluate) for shape in shapes},
        references=references,
    )


def _crossed(shape: str, dft: Properties, evaluate: ModelEvaluator) -> dict[str, float]:
    """Return the model's formation energy in the structure that DFT relaxed to, eV."""
    vacancy = dft.vacancies[shape]
    final, perfect = evaluate("", [vacancy.final.structure, vacancy.perfect.structure])
    n = vacancy.n_atoms
    return {"model_in_dft_structure_eV": final.energy - (n - 1) / n * perfect.energy}


def content(findings: Findings, versions: Mapping[str, str]) -> dict[str, Any]:
    """Return the findings as a JSON document."""
    unseen = folding_groups(findings.groups)
    return {
        "schema": "silicon-validation/1",
        "campaign": findings.subject.facts,
        "versions": dict(versions) | {"code": findings.references.version},
        "reference_cpu_s": round(findings.references.cpu_s, 1),
        "n_reference_labels": sum(len(kept.labels) for kept in findings.references.kept.values()),
        "properties": {
            "dft": property_values(findings.dft),
            "model": property_values(findings.model),
        },
        "vacancy_crossed": findings.crossed,
        "frames": {
            "all": asdict(frame_errors(joined(list(unseen.values())))),
            "by_class": _errors(by_key(unseen, 1)),
            "by_class_and_size": _errors(_by_class_and_size(unseen)),
            "by_sampler": _errors(by_sampler(unseen)),
            "converged_k_points": _errors(
                by_key({n: one for n, one in findings.groups.items() if n not in unseen}, 1)
            ),
            "training": asdict(frame_errors(findings.trained)),
        },
        "k_points": [kpoint_error(*one) for one in findings.kpoints],
        "safety": safety_values(findings),
    }


def property_values(of: Properties) -> dict[str, Any]:
    """Return properties as numbers."""
    values: dict[str, Any] = {
        "lattice_constant_A": of.eos.lattice_constant,
        "bulk_modulus_GPa": of.eos.bulk_modulus,
        "bulk_modulus_derivative": of.eos.bulk_modulus_derivative,
        "fit_residual_meV_per_atom": 1000.0 * of.eos.residual,
        "pressure_at_minimum_GPa": of.eos.pressure_at_minimum,
        "cubic_symmetry_broken_by_GPa": of.elastic.spread,
        "clamped_GPa": of.elastic.clamped.round(2).tolist(),
        "relaxed_GPa": of.elastic.relaxed.round(2).tolist(),
    }
    values |= {f"{name.replace(' ', '_')}_GPa": value for name, value in of.elastic.cubic.items()}
    values["phonons_THz"] = of.phonons.modes
    values["phonons_spread_THz"] = of.phonons.spreads
    values["vacancy"] = {
        shape: {
            "n_atoms": one.n_atoms,
            "unrelaxed_eV": one.unrelaxed,
            "relaxed_eV": one.relaxed,
            "neighbour_distances_A": one.neighbour_distances().round(3).tolist(),
        }
        for shape, one in of.vacancies.items()
    }
    return values


def kpoint_error(name: str, own: LabelledStructure, dense: LabelledStructure) -> dict[str, Any]:
    """Return by how much a label with the campaign's k-points differs from a dense one."""
    difference = own.forces - dense.forces
    return {
        "class": name,
        "energy_meV_per_atom": 1000.0 * (own.energy - dense.energy) / own.n_atoms,
        "force_rmse_meV_per_A": 1000.0 * float(np.sqrt(np.mean(difference**2))),
        "force_max_meV_per_A": 1000.0 * float(np.linalg.norm(difference, axis=1).max()),
    }


def safety_values(findings: Findings) -> dict[str, Any]:
    """Return what the grade said and what was true, meV/Å."""
    safety = findings.safety
    table = safety.table
    largest, unsafe = table.largest_error_called_safe, safety.largest_error_unsafe
    training = safety.largest_training_error
    return {
        "n_atoms": table.n_atoms,
        "gamma_low": table.gamma_low,
        "share_called_safe": table.share_called_safe,
        "largest_error_called_safe_meV_per_A": _milli(largest),
        "largest_error_unsafe_meV_per_A": _milli(unsafe),
        "largest_training_error_meV_per_A": 1000.0 * training,
        "safe_over_training": None if largest is None else largest / training,
        "gamma_max": float(max(one.grades.max() for one in findings.groups.values())),
        "spearman": table.spearman,
        "by_class": {
            name: _class_safety(safety_check(one, findings.trained, gamma_low=table.gamma_low))
            for name, one in by_key(folding_groups(findings.groups), 1).items()
        },
        "bins": [
            {
                "gamma_from": row.gamma_from,
                "gamma_to": row.gamma_to if np.isfinite(row.gamma_to) else None,
                "n_atoms": row.n_atoms,
                "force_rmse_meV_per_A": 1000.0 * row.rmse,
                "force_max_meV_per_A": 1000.0 * row.largest,
            }
            for row in table.bins
        ],
    }


def folding_groups(groups: Mapping[str, Compared]) -> dict[str, Compared]:
    """Return the groups whose labels have the campaign's own k-points."""
    return {name: one for name, one in groups.items() if name.split("/")[2] != "cubic"}


def _class_safety(check: SafetyCheck) -> dict[str, Any]:
    return {
        "n_atoms": check.table.n_atoms,
        "share_called_safe": check.table.share_called_safe,
        "largest_error_called_safe_meV_per_A": _milli(check.table.largest_error_called_safe),
        "largest_error_unsafe_meV_per_A": _milli(check.largest_error_unsafe),
    }


def by_sampler(groups: Mapping[str, Compared]) -> dict[str, Compared]:
    """Return unseen frames by who sampled them; a model's name goes without its hash."""
    parts: dict[str, list[Compared]] = {}
    for name, one in groups.items():
        parts.setdefault(name.split("/")[3].split(" ")[0], []).append(one)
    return {name: joined(members) for name, members in parts.items()}


def _by_class_and_size(groups: Mapping[str, Compared]) -> dict[str, Compared]:
    parts: dict[str, list[Compared]] = {}
    for name, one in groups.items():
        parts.setdefault(f"{name.split('/')[1]}, {_size(name)} atoms", []).append(one)
    return {name: joined(members) for name, members in parts.items()}


def _size(name: str) -> int:
    """Return the sites of a group's cell."""
    shape = name.split("/")[2]
    return 64 if shape == "cubic" else 2 * int(np.prod([int(n) for n in shape.split("x")]))


def _errors(groups: Mapping[str, Compared]) -> dict[str, Any]:
    return {name: asdict(frame_errors(one)) for name, one in groups.items()}


def _milli(value: float | None) -> float | None:
    return None if value is None else 1000.0 * value


__all__ = ["Findings", "by_sampler", "content", "folding_groups", "found"]
