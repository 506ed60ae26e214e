"""The page: numbers side by side, figures, and what a person found in them."""

from collections.abc import Mapping, Sequence
from typing import Any

from silicon.codes import difference_rows

LITERATURE: Mapping[str, tuple[str, str]] = {
    "lattice_constant_A": ("5.47", "5.431"),
    "bulk_modulus_GPa": ("89", "97.8"),
    "bulk_modulus_derivative": ("4.2", "4.1"),
    "C11_GPa": ("153", "165.7"),
    "C12_GPa": ("57", "63.9"),
    "C44_GPa": ("74", "79.6"),
}
"""PBE with many k-points, and experiment at room temperature."""

PROPERTY_NAMES = {
    "lattice_constant_A": ("lattice constant, Å", 4),
    "bulk_modulus_GPa": ("bulk modulus, GPa", 1),
    "bulk_modulus_derivative": ("its pressure derivative", 2),
    "C11_GPa": ("C11, GPa", 1),
    "C12_GPa": ("C12, GPa", 1),
    "C44_GPa": ("C44, atoms relaxed, GPa", 1),
    "C44_clamped_GPa": ("C44, atoms not relaxed, GPa", 1),
}

MEASURED_PHONONS_THz = {
    "Γ, optical": "15.5",
    "X, TA": "4.5",
    "X, LA and LO": "12.3",
    "X, TO": "13.9",
    "L, TA": "3.4",
    "L, LA": "11.3",
    "L, LO": "12.6",
    "L, TO": "14.7",
}
"""At room temperature."""

SAMPLERS = {
    "model": "all by the model's own dynamics",
    "tersoff": "all by Tersoff's potential",
    "pw.x": "all by first-principles dynamics",
}
"""Who sampled, in words."""

VACANCY_LITERATURE_eV = "3.5 to 3.7"

SOURCES = (
    "PBE: elastic constants of the Materials Project as quoted in npj Computational Materials 10, "
    "218 (2024); vacancy A. F. Wright, Phys. Rev. B 74, 165116 (2006) and references in EPJ "
    "Photovolt. 8, 80101 (2017), cells of 200 atoms and more. Experiment: elastic constants H. J. "
    "McSkimin, J. Appl. Phys. 24, 988 (1953); phonons G. Nilsson and G. Nelin, Phys. Rev. B 6, "
    "3777 (1972)."
)


def page(results: Mapping[str, Any], *, folder: str, remarks: str, command: str) -> str:
    """Return the page of one campaign, in Markdown.

    Parameters
    ----------
    results
        The JSON document.
    folder
        Where figures and files are, relative to the page.
    remarks
        What a person found, in Markdown; empty when nobody has yet.
    command
        What regenerates the page.
    """
    facts = results["campaign"]
    parts = [
        f"# {facts['name']}: the model against its own DFT",
        _opening(results, command),
        "## How the campaign ended",
        _ending(facts, folder),
        "## Frames that were not trained on",
        _frames(results),
        f"![Errors of forces and energies by class]({folder}/errors.png)",
        "## What the grade said",
        _safety(results),
        f"![Grade against true error]({folder}/grades.png)",
        "## Properties",
        _properties(results["properties"]),
        f"![Equation of state]({folder}/equation-of-state.png)",
        _phonons(results["properties"]),
        f"![Phonons]({folder}/phonons.png)",
        _vacancies(results),
        SOURCES,
        "## How good the labels themselves are",
        _labels(results),
    ]
    if results.get("other_code"):
        parts += ["## The other code on the same frames", _codes(results["other_code"])]
    if remarks.strip():
        parts += ["## Where it misses, and why", remarks.strip()]
    return "\n\n".join(part for part in parts if part) + "\n"


def _opening(results: Mapping[str, Any], command: str) -> str:
    facts, versions = results["campaign"], results["versions"]
    hours = results["reference_cpu_s"] / 3600.0
    return (
        f"Written by `{command}` from `results.json`; edit `remarks.md`, not this page. Every DFT "
        f"number is by {versions['code']} with exactly the settings of the campaign's labels, so "
        "that model and DFT differ by the model alone. "
        f"The {results['n_reference_labels']} reference labels took {hours:.1f} CPU hours and are "
        "kept in `labels.npz`; nepal-flows "
        f"{versions['nepal-flows']}, phonopy {versions['phonopy']}. Model "
        f"`{facts['model_sha256'][:12]}`."
    )


def _ending(facts: Mapping[str, Any], folder: str) -> str:
    labels, training, holdout = facts["n_labels"], facts["training_errors"], facts["holdout_errors"]
    state = facts["end_state"] or "not finished: these are the numbers of its newest model"
    certificate = "for exactly this model" if facts["is_certified"] else "none"
    rows = [
        ["end state", state],
        ["certificate", certificate],
        [
            "labels",
            f"{labels['all']} ({labels['training']} trained on, {labels['failed']} failed), "
            f"{facts['n_atoms_labelled']} atoms, {facts['n_rounds']} rounds",
        ],
        ["training force error", f"{training['force_rmse_meV_per_A']:.1f} meV/Å"],
        [
            "hold-out force error",
            "none" if holdout is None else f"{holdout['force_rmse_meV_per_A']:.1f} meV/Å",
        ],
        [
            "CPU hours",
            ", ".join(f"{stage} {s / 3600.0:.2f}" for stage, s in facts["cpu_s"].items()),
        ],
        [
            "files",
            f"[report]({folder}/report.html), [data card]({folder}/README.md), "
            f"[nep.txt]({folder}/nep.txt), [results.json]({folder}/results.json)",
        ],
    ]
    reasons = [f"- {reason}" for reason in facts["end_reasons"] or facts["reasons"]]
    return _table(["", ""], rows) + ("\n\n" + "\n".join(reasons) if reasons else "")


def _frames(results: Mapping[str, Any]) -> str:
    frames = results["frames"]
    rows = [_error_row(name, one) for name, one in frames["by_class_and_size"].items()]
    rows.append(_error_row("**all**", frames["all"]))
    rows += [_error_row(SAMPLERS[name], one) for name, one in frames["by_sampler"].items()]
    rows += [
        _error_row(f"{name}, cubic cell of 64, dense k-points", one)
        for name, one in frames["converged_k_points"].items()
    ]
    rows.append(_error_row("trained on", frames["training"]))
    head = [
        "class",
        "frames",
        "energy bias, RMSE, max (meV/atom)",
        "force RMSE (meV/Å)",
        "of the forces' RMS",
        "force max",
        "virial RMSE, max (meV/atom)",
        "pressure bias (GPa)",
        "γ max",
    ]
    return _table(head, rows)


def _error_row(name: str, one: Mapping[str, Any]) -> list[str]:
    share = one["force_rmse_meV_per_A"] / (10.0 * one["force_rms_eV_per_A"])
    return [
        name,
        str(one["n_frames"]),
        f"{one['energy_bias_meV_per_atom']:+.1f}, {one['energy_rmse_meV_per_atom']:.1f}, "
        f"{one['energy_max_meV_per_atom']:.1f}",
        f"{one['force_rmse_meV_per_A']:.0f}",
        f"{share:.1f} %",
        f"{one['force_max_meV_per_A']:.0f}",
        f"{one['virial_rmse_meV_per_atom']:.0f}, {one['virial_max_meV_per_atom']:.0f}",
        f"{one['pressure_bias_GPa']:+.2f}",
        f"{one['gamma_max']:.1f}",
    ]


def _safety(results: Mapping[str, Any]) -> str:
    safety, facts = results["safety"], results["campaign"]
    calibration = facts["calibration"] or {}
    claimed = calibration.get("largest_error_called_safe_meV_per_A")
    rows = [
        ["atoms compared", str(safety["n_atoms"])],
        [
            f"called safe (γ up to {safety['gamma_low']:g})",
            f"{100.0 * (safety['share_called_safe'] or 0.0):.1f} %",
        ],
        ["largest true error among them", _meV(safety["largest_error_called_safe_meV_per_A"])],
        ["largest true error among the others", _meV(safety["largest_error_unsafe_meV_per_A"])],
        ["largest error of an atom trained on", _meV(safety["largest_training_error_meV_per_A"])],
        ["safe over trained on", _plain(safety["safe_over_training"], 2)],
        ["largest error called safe, as the campaign's last round had it", _meV(claimed)],
        ["rank correlation of grade and error", _plain(safety["spearman"], 2)],
    ]
    bins = [
        [
            f"{row['gamma_from']:g} to "
            + ("∞" if row["gamma_to"] is None else f"{row['gamma_to']:g}"),
            str(row["n_atoms"]),
            f"{row['force_rmse_meV_per_A']:.0f}",
            f"{row['force_max_meV_per_A']:.0f}",
        ]
        for row in safety["bins"]
    ]
    classes = [
        [
            name,
            str(one["n_atoms"]),
            f"{100.0 * one['share_called_safe']:.1f} %",
            _meV(one["largest_error_called_safe_meV_per_A"]),
            _meV(one["largest_error_unsafe_meV_per_A"]),
        ]
        for name, one in safety["by_class"].items()
    ]
    head = ["γ", "atoms", "force RMSE (meV/Å)", "largest error (meV/Å)"]
    conditions = [
        [
            one["condition"],
            f"{one['n_exceeded_windows']} of {one['n_windows']}",
            f"{100.0 * one['exceedance_upper_95']:.2f} %",
            f"{one['gamma_max']:.1f}",
        ]
        for one in (facts["certificate"] or {"conditions": []})["conditions"]
    ]
    said = ["the certificate's condition", "windows above", "at most, at 95 %", "γ max"]
    tables = [
        _table(["", ""], rows),
        *([_table(said, conditions)] if conditions else []),
        _table(["class", "atoms", "safe", "largest error, safe", "largest error, others"], classes),
        _table(head, bins),
    ]
    return "\n\n".join(tables)


def _properties(both: Mapping[str, Any]) -> str:
    rows = []
    for key, (name, digits) in PROPERTY_NAMES.items():
        pbe, experiment = LITERATURE.get(key, ("", ""))
        rows.append(
            [name, *_compared(both["dft"][key], both["model"][key], digits), pbe, experiment]
        )
    head = ["", "DFT", "NEP", "difference", "PBE, literature", "experiment"]
    text = (
        "Energies at eleven volumes from -8 to +8 %, fitted by Birch and Murnaghan's third order. "
        "Elastic constants from stresses at strains of ±1 %; the relaxation of the atoms enters by "
        "the forces of strained cells and of displaced atoms, so that no tolerance of a "
        "relaxation does."
    )
    return f"{text}\n\n{_table(head, rows)}"


def _phonons(both: Mapping[str, Any]) -> str:
    dft, model = both["dft"]["phonons_THz"], both["model"]["phonons_THz"]
    rows = [
        [name, *_compared(value, model[name], 2), MEASURED_PHONONS_THz[name]]
        for name, value in dft.items()
    ]
    head = ["phonon, THz", "DFT", "NEP", "difference", "experiment"]
    text = (
        "Displacements of 0.02 Å in 2 x 2 x 2 primitive cells, in which Γ, X and L are exact; in "
        "the figure, what lies between the marks is interpolated."
    )
    return f"{text}\n\n{_table(head, rows)}"


def _vacancies(results: Mapping[str, Any]) -> str:
    dft, model = (results["properties"][who]["vacancy"] for who in ("dft", "model"))
    rows = []
    for shape, one in dft.items():
        other = model[shape]
        cell = f"{one['n_atoms']} to {one['n_atoms'] - 1} atoms"
        for key, name in (("unrelaxed_eV", "not relaxed"), ("relaxed_eV", "relaxed")):
            rows.append([f"{cell}, {name}", *_compared(one[key], other[key], 2)])
        crossed = results["vacancy_crossed"][shape]["model_in_dft_structure_eV"]
        rows.append([f"{cell}, in DFT's structure", *_compared(one["relaxed_eV"], crossed, 2)])
        distances = [" ".join(f"{d:.2f}" for d in w["neighbour_distances_A"]) for w in (one, other)]
        rows.append([f"{cell}, distances of the four neighbours, Å", *distances, ""])
    head = ["vacancy, eV", "DFT", "NEP", "difference"]
    text = (
        "Relaxed by DFT itself and by the model itself, from the same start, until forces are "
        "below 0.02 eV/Å, in the cell of the perfect crystal. These cells are too small for the "
        f"isolated vacancy (PBE in large cells: {VACANCY_LITERATURE_eV} eV): what counts is that "
        "both see the same cell."
    )
    return f"{text}\n\n{_table(head, rows)}"


def _labels(results: Mapping[str, Any]) -> str:
    dft = results["properties"]["dft"]
    mode, spread = max(dft["phonons_spread_THz"].items(), key=lambda item: item[1])
    lines = [
        f"- Where the energy is least, the stress says {dft['pressure_at_minimum_GPa']:+.2f} GPa; "
        f"the energies lie on the fitted curve to {dft['fit_residual_meV_per_atom']:.3f} meV/atom.",
        f"- Elastic constants that the crystal's symmetry makes equal or zero differ by up to "
        f"{dft['cubic_symmetry_broken_by_GPa']:.1f} GPa from their mean, phonons by up to "
        f"{spread:.2f} THz ({mode}): what the labels' k-points and grids leave of it.",
    ]
    lines += [
        f"- {one['class']}: the campaign's k-points against dense ones (2 x 2 x 2 in the cubic "
        f"cell of 64 atoms): energy {one['energy_meV_per_atom']:+.1f} meV/atom, force RMSE "
        f"{one['force_rmse_meV_per_A']:.0f} meV/Å, largest {one['force_max_meV_per_A']:.0f} meV/Å."
        for one in results["k_points"]
    ]
    return "\n".join(lines)


def _codes(differences: Mapping[str, Any]) -> str:
    first, second = differences["versions"]
    head = ["class", "frames", "energy RMS (meV/atom)", "force RMS (meV/Å)", "of the forces' RMS"]
    text = (
        f"{first} and {second} on the frames of the samplers that know no model, each with its "
        "campaign's settings; the mean difference of the energies is taken off. It tells how far "
        "apart two teachers are that are both called PBE; labels of two codes are never mixed."
    )
    return f"{text}\n\n{_table(head, difference_rows(differences))}"


def _compared(dft: float, model: float, digits: int) -> list[str]:
    return [f"{dft:.{digits}f}", f"{model:.{digits}f}", f"{model - dft:+.{digits}f}"]


def _meV(value: float | None) -> str:
    return "none" if value is None else f"{value:.0f} meV/Å"


def _plain(value: float | None, digits: int) -> str:
    return "none" if value is None else f"{value:.{digits}f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


__all__ = ["page"]
