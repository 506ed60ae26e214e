"""The data card: what a bundle holds, how it was made, and what is known of it, as one page."""

from collections import Counter
from collections.abc import Iterable, Sequence

from nepal_flows.schemas import (
    ActiveSetDoc,
    CampaignDoc,
    Errors,
    IterationDoc,
    LabelDoc,
    TrainingDoc,
)


def data_card(
    campaign: CampaignDoc,
    training: TrainingDoc,
    grader: ActiveSetDoc,
    iterations: Sequence[IterationDoc],
    labels: Sequence[LabelDoc],
) -> str:
    """Return the data card of a campaign's bundle, in Markdown.

    Parameters
    ----------
    campaign
        The campaign.
    training, grader
        The exported model and its active set.
    iterations
        Its iterations, in order.
    labels
        Its usable labels.
    """
    certificate = iterations[-1].certificate if iterations else None
    is_certified = certificate is not None and certificate.model_sha256 == training.model_sha256
    lines = [
        f"# {campaign.name}",
        "",
        f"A neuroevolution potential (NEP4) for {', '.join(training.elements)}, and its data.",
        "",
        "| | |",
        "|---|---|",
        f"| end state | {campaign.end_state or 'not finished'} |",
        f"| certificate | {'for exactly this model' if is_certified else 'none'} |",
        f"| model, SHA-256 of nep.txt | `{training.model_sha256}` |",
        f"| labels | {len(labels)} by {_counted(label.labeler for label in labels)} |",
        f"| code that labelled | {_counted(label.labeler_version or '?' for label in labels)} |",
        f"| atoms labelled | {sum(label.n_atoms for label in labels)} |",
        f"| training errors (RMSE) | {_errors(training.training_errors)} |",
    ]
    if iterations and iterations[-1].holdout_errors is not None:
        errors = _errors(iterations[-1].holdout_errors)
        lines.append(f"| hold-out errors (RMSE), model of the last round | {errors} |")
    lines += [
        "",
        "Energies are compared after their mean offset is taken off, forces over components, "
        "virials over the six independent components per atom.",
        "",
        "## Why it ended",
        "",
    ]
    lines += [f"- {reason}" for reason in campaign.end_reasons] or ["- It has not ended."]
    lines += ["", "## Coverage", ""]
    lines += [
        f"- {row.element}: {row.n_rows} environments, rank {row.rank} of {row.n_projection}, "
        + ("saturated" if row.is_saturated else "still growing")
        for row in grader.coverage
    ]
    lines += [
        "",
        "## Files",
        "",
        "- `train.xyz`, `test.xyz`: frames trained on, and held out. `energy` is relative to the "
        "references below, as `nep.txt` predicts it; `label_energy` is the labeler's. Units eV, "
        "Å, eV/Å; `virial` in eV, positive when compressed.",
        "- `nep.txt`, `nep.in`: the model, and the settings that describe it.",
        "- `active_set.asi`: for `compute_extrapolation` of GPUMD, valid for this nep.txt alone; "
        "`active_set.npz` is the same with its rows and the hash of its model, which `nepal grade` "
        "checks. Keep the two together.",
        "- `energy_*.out`, `force_*.out`, `virial_*.out`, `stress_*.out`, `loss.out`: as `nep` "
        "writes them.",
        "- `reference_energies.json`: eV per atom: "
        + ", ".join(
            f"{name} {value:.6f}" for name, value in training.reference_energies_eV.items()
        ),
        "- `campaign.json`: the campaign, complete with defaults, versions and seeds.",
        "",
    ]
    return "\n".join(lines)


def _counted(values: Iterable[str]) -> str:
    counts = Counter(values)
    return ", ".join(f"{name} ({n})" for name, n in sorted(counts.items())) or "nobody"


def _errors(errors: Errors) -> str:
    parts = []
    if errors.force_rmse_meV_per_A is not None:
        parts.append(f"forces {errors.force_rmse_meV_per_A:.1f} meV/Å")
    if errors.energy_rmse_meV_per_atom is not None:
        parts.append(f"energies {errors.energy_rmse_meV_per_atom:.2f} meV/atom")
    if errors.virial_rmse_meV_per_atom is not None:
        parts.append(f"virials {errors.virial_rmse_meV_per_atom:.1f} meV/atom")
    return ", ".join(parts) or "not known"


__all__ = ["data_card"]
