"""How `nepal train` shows its result."""

from pathlib import Path
from typing import Any

from nepal_flows.cli.output import table
from nepal_flows.core.nep.training import ModelErrors
from nepal_flows.engines.input_frames import repeats_remark
from nepal_flows.engines.native_training import NativeTrainingRun


def training_content(run: NativeTrainingRun) -> dict[str, Any]:
    """Return the JSON document of a training."""
    result = run.result
    return {
        "out": run.directory,
        "files": run.files,
        "model_sha256": run.model_sha256,
        "elements": result.model.elements,
        "n_parameters": result.model.architecture.n_parameters,
        "seed": result.seed,
        "n_steps": result.n_steps,
        "reference_energies_eV": result.reference_energies,
        "ignored_keywords": run.ignored_keywords,
        "training": _errors(result.training_errors),
        "test": None if result.test_errors is None else _errors(result.test_errors),
        "repeated": run.repeated,
        "tested_on_training": run.tested_on_training,
    }


def training_lines(run: NativeTrainingRun) -> list[str]:
    """Return a training's result as text."""
    result = run.result
    rows = []
    for name, errors in (("training", result.training_errors), ("test", result.test_errors)):
        if errors is not None:
            virial = errors.total_virial_rmse
            rows.append(
                [
                    name,
                    len(errors.n_atoms),
                    int(errors.n_atoms.sum()),
                    1e3 * errors.energy_rmse,
                    1e3 * errors.total_force_rmse,
                    1e3 * errors.total_force_max,
                    None if virial is None else 1e3 * virial,
                ]
            )
    columns = ["set", "frames", "atoms", "E meV/atom", "F meV/Å", "largest F", "V meV/atom"]
    energies = ", ".join(
        f"{symbol} {energy:.4f}" for symbol, energy in result.reference_energies.items()
    )
    lines = [
        *table(columns, rows),
        f"reference energies taken off, eV: {energies}",
        f"{result.n_steps} steps; written to {run.directory}: {', '.join(run.files)}",
    ]
    if run.ignored_keywords:
        ignored = ", ".join(f"`{keyword}`" for keyword in run.ignored_keywords)
        lines.append(f"keywords of nep.in that this trainer does not read: {ignored}")
    return lines


def training_remarks(run: NativeTrainingRun, train: Path, test: Path | None) -> list[str]:
    """Return what the frames of a training made remarkable: repeats, tests that are none."""
    repeats = repeats_remark(run.repeated, source=train)
    remarks = [] if repeats is None else [repeats]
    if run.tested_on_training:
        shown = ", ".join(f"{second} = {first}" for first, second in run.tested_on_training[:5])
        remarks.append(
            f"{len(run.tested_on_training)} frames of `{test}` are trained on too ({shown}"
            f"{', ...' * (len(run.tested_on_training) > 5)}): the test is not independent"
        )
    return remarks


def _errors(errors: ModelErrors) -> dict[str, Any]:
    return {
        "n_structures": len(errors.n_atoms),
        "n_atoms": errors.n_atoms.sum(),
        "energy_rmse_eV_per_atom": errors.energy_rmse,
        "force_rmse_eV_per_A": errors.total_force_rmse,
        "force_max_eV_per_A": errors.total_force_max,
        "virial_rmse_eV_per_atom": errors.total_virial_rmse,
        "reference_force_rms_eV_per_A": errors.reference_force_rms,
    }


__all__ = ["training_content", "training_lines", "training_remarks"]
