"""The few numbers that page, figures and summary agree on, taken from the documents."""

from nepal_flows.campaign.small_cells import SizeStage, SmallCellsSection
from nepal_flows.report.data import ReportData
from nepal_flows.report.words import force_rmse
from nepal_flows.schemas import Calibration, ConditionVerdict, Errors


def judged_conditions(data: ReportData) -> list[ConditionVerdict]:
    """Return the conditions of the certificate, else of the newest iteration that judged any."""
    if data.certificate is not None and data.certificate.conditions:
        return list(data.certificate.conditions)
    for doc in reversed(data.iterations):
        if doc.conditions:
            return list(doc.conditions)
    return []


def worst_condition(verdicts: list[ConditionVerdict]) -> ConditionVerdict | None:
    """Return the condition that is furthest from its allowance, unclean ones first."""
    if not verdicts:
        return None
    return max(
        verdicts, key=lambda v: (not v.is_clean, v.exceedance_upper_95 / max(v.allowance, 1e-9))
    )


def largest_safe_error(data: ReportData) -> float | None:
    """Return the largest true force error seen among atoms called safe, meV/Å."""
    if data.certificate and data.certificate.largest_error_called_safe_meV_per_A is not None:
        return data.certificate.largest_error_called_safe_meV_per_A
    table = newest_calibration(data)
    return table.largest_error_called_safe_meV_per_A if table else None


def holdout_rmse(data: ReportData) -> float | None:
    """Return the force RMSE of the delivered model on the hold-out, meV/Å."""
    model, points = data.delivered_model, data.parity_of("holdout")
    if model is not None and model.holdout_errors is not None:
        return force_rmse(model.holdout_errors)
    if points is not None:
        return points.force_rmse_meV_per_A
    return force_rmse(data.last.holdout_errors) if data.last else None


def training_rmse(data: ReportData) -> float | None:
    """Return the force RMSE of the delivered model on its training labels, meV/Å."""
    model = data.delivered_model
    if model is not None:
        return force_rmse(model.training_errors)
    return force_rmse(data.last.training_errors) if data.last else None


def training_peak(data: ReportData) -> float | None:
    """Return the largest force error of an atom in training, meV/Å."""
    if data.certificate is not None:
        return data.certificate.training_errors.force_max_meV_per_A
    return data.last.training_errors.force_max_meV_per_A if data.last else None


def newest_calibration(data: ReportData) -> Calibration | None:
    """Return the certificate's calibration, else that of the newest iteration that has one."""
    found = [doc.calibration for doc in data.iterations if doc.calibration is not None]
    if data.certificate is not None and data.certificate.calibration is not None:
        found.append(data.certificate.calibration)
    filled = [table for table in found if any(part.n_atoms for part in table.bins)]
    return filled[-1] if filled else None


def label_counts(data: ReportData) -> tuple[int, int, int, int] | None:
    """Return the number of labels: all, trained on, held out, failed; None if unknown."""
    totals = data.totals
    if totals is not None and totals.n_labels:
        trained = totals.n_labels - totals.n_failed - totals.n_holdout
        return totals.n_labels, trained, totals.n_holdout, totals.n_failed
    if data.labels:
        failed = sum(doc.status == "quarantined" for doc in data.labels)
        holdout = sum(doc.role == "holdout" and doc.status == "done" for doc in data.labels)
        return len(data.labels), len(data.labels) - failed - holdout, holdout, failed
    last = data.last
    if last is None:
        return None
    return (
        last.n_labels_total,
        last.n_labels_training,
        last.n_labels_holdout,
        last.n_labels_failed,
    )


def stage_words(data: ReportData) -> str:
    """Return the stage of small cells that a campaign is in, in words; empty without stages."""
    stages = size_stages(data)
    if not stages:
        return ""
    index, stage_round = (data.last.size_stage, data.last.stage_round) if data.last else (0, 0)
    index = min(index, len(stages) - 1)
    stage = stages[index]
    text = f"{index + 1} of {len(stages)}: {stage.words}, round {stage_round + 1}"
    is_open = index < len(stages) - 1 and stage.max_rounds is not None
    return text + (f" of at most {stage.max_rounds}" if is_open else "")


def size_stages(data: ReportData) -> tuple[SizeStage, ...]:
    """Return the stages of small cells that the campaign file asks for; none without them."""
    section = data.campaign.settings.get("small_cells")
    return () if not section else SmallCellsSection.model_validate(section).stages


def validation_limits(data: ReportData) -> tuple[dict[str, float], float | None]:
    """Return the force errors the campaign file asks for, meV/Å: by trajectory, and over all."""
    section = data.campaign.settings.get("validation") or {}
    by_run = {
        str(run["name"]): float(run["limit_meV_per_A"])
        for run in section.get("runs") or ()
        if run.get("limit_meV_per_A") is not None
    }
    overall = section.get("limit_meV_per_A")
    return by_run, None if overall is None else float(overall)


def validation_rows(data: ReportData) -> list[tuple[str, Errors]]:
    """Return the errors by fresh trajectory, in the order of the campaign file."""
    if data.validation is None:
        return []
    section = data.campaign.settings.get("validation") or {}
    asked = [str(run["name"]) for run in section.get("runs") or ()]
    found = data.validation.errors_by_condition
    names = [name for name in asked if name in found]
    names += [name for name in found if name not in names]
    return [(name, found[name]) for name in names]


__all__ = [
    "holdout_rmse",
    "judged_conditions",
    "label_counts",
    "largest_safe_error",
    "newest_calibration",
    "size_stages",
    "stage_words",
    "training_peak",
    "training_rmse",
    "validation_limits",
    "validation_rows",
    "worst_condition",
]
