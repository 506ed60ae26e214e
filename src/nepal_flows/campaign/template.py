"""The text of a commented campaign file."""

from collections.abc import Sequence

from nepal_flows.campaign.defaults import UNKNOWN_MELTING_POINT_K, Choices
from nepal_flows.campaign.dft import CHECKED_RY, COMPACT, MAGNETIC, suggested_grid_cutoffs


def format_campaign(choices: Choices) -> str:
    """Return a commented campaign file (YAML) with the given choices."""
    sections = [
        _head(choices),
        _model(choices),
        _training(),
        _seeds(choices),
        _exploration(choices),
        _labels(choices),
        _ending(choices),
    ]
    if choices.code == "emt" and choices.is_periodic[0]:
        sections.append(_validation(choices))
    return "\n".join(section.strip() + "\n" for section in sections)


def _flow(values: Sequence[object]) -> str:
    return f"[{', '.join(str(value) for value in values)}]"


def _padded(entry: str) -> str:
    return f"{entry:<24}"


def _number(value: float) -> str:
    return f"{value:g}"


def _head(c: Choices) -> str:
    files = "\n".join(
        f"  - {{file: {_quoted(file)}, name: {name}}}"
        for file, name in zip(c.files, c.structure_names, strict=True)
    )
    return f"""\
# A campaign of nepal_flows: from starting structures to a trained potential and its certificate.
#   nepal plan THIS_FILE     what it will do and cost, before anything runs
#   nepal run THIS_FILE      runs it; run again after any interruption, it continues
# Paths are relative to this file; units are part of the names; every key left out has a default.
version: 1
name: {c.name:<20}# its folder is made beside this file
seed: 7                   # every random number derives from it

structures:               # what exploration starts from
{files}
"""


def _quoted(text: str) -> str:
    plain = text.replace("/", "").replace(".", "").replace("_", "").replace("-", "").isalnum()
    return text if plain and not text.startswith("-") else '"' + text.replace('"', '\\"') + '"'


def _model(c: Choices) -> str:
    d, count = c.n_projection, len(c.elements)
    elements = f"each of {count} elements" if count > 1 else "the element"
    return f"""
model:                    # shape of the NEP4 potential
  elements: {_flow(c.elements)}
  # The longest nearest-neighbour distance is {c.nearest_neighbour:.2f} Å; the radial cutoff is 2.0
  # times that, the angular one 1.6 times, rounded to 0.5 Å (within 5 to 8 and 4 to 6).
  {_padded(f"cutoff_A: {_flow([_number(r) for r in c.cutoffs])}")}# radial, angular
  n_max: [4, 4]
  basis_size: [8, 8]
  l_max: [4, 0, 0]
  neuron: 20
  # {d} network parameters for {elements}; the labels needed grow with them.
  zbl: null               # {{outer_A: 2.0}} adds repulsion at short distances
"""


def _training() -> str:
    return """
training:
  adam_steps: 2000        # a cold fit in the loop
  warm_start: auto        # continue from the previous model once the set grows slowly
  final_adam_steps: 8000  # the long fit that is delivered
  lambda_e: 1.0           # weights of energies, forces, virials
  lambda_f: 1.0
  lambda_v: 0.1
  reference_energies: fit # per element, subtracted and put on record; or {Cu: -3.5, ...} in eV
"""


def _mix(c: Choices) -> str:
    return f"{{elements: {_flow(c.elements)}, fractions: random}}"


def _seeds(c: Choices) -> str:
    atoms = _flow(c.seed_atoms) if isinstance(c.seed_atoms, tuple) else str(c.seed_atoms)
    mode = f"\n  mode: {c.shape}            # cells whose k-point grids fold onto one another" * (
        c.shape == "folded"
    )
    mix = f"\n  mix: {_mix(c)}   # sites filled at random" * c.mixes
    return f"""
seeds:                    # labelled before the first model exists
  n: {c.n_seeds}
  n_atoms: {atoms}{mode}
  rattle_A: [0.03, 0.15]  # displacements, from the first seed to the last
  volume_strain: 0.04     # largest change of volume
  shear_strain: 0.02      # standard deviation of the strain{mix}
"""


def _condition(
    name: str, start: str, stages: Sequence[str], *, comment: str, extreme: bool = False
) -> str:
    lines = [f"    - name: {name:<18}# {comment}", f"      start: {{{start}}}"]
    lines += ["      stages:", *(f"        - {{{stage}}}" for stage in stages)]
    if extreme:
        lines.append("      extreme: true       # its allowance is convergence.exceedance_extreme")
    return "\n".join(lines)


def _conditions(c: Choices) -> str:
    cold, hot = _number(_cold(c)), _number(c.solid_temperature)
    size = f"n_atoms: {c.n_atoms}" + f", mode: {c.shape}" * (c.shape == "folded")
    mix = f", mix: {_mix(c)}" * c.mixes
    blocks = []
    for index, name in enumerate(c.structure_names):
        start = f"structure: {name}, {size}{mix}"
        ensemble = "npt" if c.is_periodic[index] else "nvt"
        suffix = f"-{name}" if len(c.structure_names) > 1 else ""
        ramp = f"ensemble: {ensemble}, temperature_K: [{cold}, {hot}], steps: 3000"
        blocks.append(_condition(f"ramp{suffix}", start, [ramp], comment="heated"))
        if index > 0 or not c.is_periodic[index]:
            continue
        blocks += [
            _condition("strained", f"{start}, strain: 0.03", [ramp], comment="a strained start"),
            _condition("vacancy", f"{start}, vacancies: 1", [ramp], comment="one atom missing"),
            _condition("pressed", start, [f"{ramp}, pressure_GPa: 10"], comment="under pressure"),
        ]
        if c.melt_temperature is None:
            continue
        melt = _number(c.melt_temperature)
        blocks += [
            _condition(
                "liquid",
                start,
                [
                    f"ensemble: npt, temperature_K: {melt}, steps: 1500",
                    f"ensemble: npt, temperature_K: {hot}, steps: 1500",
                ],
                comment="melted, then held",
                extreme=True,
            ),
            _condition(
                "quench",
                start,
                [f"ensemble: npt, temperature_K: [{melt}, 300], steps: 3000"],
                comment="quenched",
                extreme=True,
            ),
        ]
    return "\n".join(blocks)


def _cold(c: Choices) -> float:
    """Return where ramps begin, K: at room temperature, or below their end where that is colder."""
    return 300.0 if c.solid_temperature > 300.0 else 0.5 * c.solid_temperature


def _temperature_comment(c: Choices) -> str:
    points = ", ".join(
        f"{symbol} {point:g} K" if point else f"{symbol} unknown, {UNKNOWN_MELTING_POINT_K:g} K"
        for symbol, point in c.melting_points.items()
    )
    if c.is_temperature_given:
        lines = ["The ramps end where --max-temperature says."]
        if c.melt_temperature is None:
            lines.append(f"That is below the melting point ({points}): there is no liquid.")
    else:
        mean = "the mean melting point" if len(c.elements) > 1 else "the melting point"
        lines = [f"Ramps end at 1.1, melts begin at 1.85 times {mean} ({points})."]
    if len(c.elements) > 1:
        lines += [
            "That is a guess: a compound may melt far higher than its elements, or decompose. Set",
            "the temperatures that you mean, here or with `nepal init --max-temperature`.",
        ]
    return "".join(f"  # {line}\n" for line in lines)


def _exploration(c: Choices) -> str:
    return f"""
exploration:              # molecular dynamics with the newest model, on fresh seeds every round
  {_padded(f"time_step_fs: {_number(c.time_step)}")}# from the lightest element
  check_interval: 10      # steps between gradings
  gamma_low: 5.0          # grade above which an environment is unknown
  gamma_stop: null        # no stop on the grade: the physics gate stops exploded runs
  candidate_ceiling: 1000 # frames graded above this are rejected as exploded
{_temperature_comment(c)}  conditions:
{_conditions(c)}
"""


def _labels(c: Choices) -> str:
    if c.code == "emt":
        return """
labels:                   # who computes energies, forces and virials
  code: ase               # any calculator ASE can build: a name and its arguments
  calculator: emt         # a toy for trying things out; use espresso or cp2k for real work
  time_limit_s: 60        # a label that takes longer is killed
  max_failed_fraction: 0.2
"""
    if c.k_grid is not None:
        kpoints = (
            f"{{mode: folded, grid: {_flow(c.k_grid)}}}"
            "   # of the primitive cell, Γ-centred; is it dense enough?"
        )
    else:
        kpoints = "{mode: spacing, spacing_per_A: 0.2}   # check that cells of several sizes agree"
    common = f"""\
  kpoints: {kpoints}
  smearing_temperature_K: 1000   # electronic (Fermi-Dirac, 0.09 eV), the same for all labels
  time_limit_s: 3600      # a label that takes longer is killed
  max_failed_fraction: 0.2
"""
    write = {"espresso": _espresso, "cp2k": _cp2k, "vasp": _vasp}[c.code]
    return write(c, common)


_CONVERGE = """\
  # Converge them once for your elements: raise them by a quarter until forces move by less than
  # 5 meV/Å and pressures by less than 0.1 GPa. `nepal check-labels` shows noise and k-points.
"""


def _espresso(c: Choices, common: str) -> str:
    waves = c.plane_waves
    files = ", ".join(
        f"{symbol}: {c.pseudopotentials.get(symbol, f'{symbol}.UPF')}" for symbol in c.elements
    )
    folder = "null" if c.pseudo_dir is None else _quoted(c.pseudo_dir)
    told = ", ".join(f"{symbol} {cutoff:.0f}" for symbol, cutoff in waves.told.items())
    notes = [f"the files ask for at least {told} Ry"] * bool(told)
    guessed = [symbol for symbol in waves.guessed if symbol not in CHECKED_RY]
    checked = [symbol for symbol in waves.guessed if symbol in CHECKED_RY]
    notes += [f"checked for {', '.join(checked)}"] * bool(checked)
    notes += [f"a guess for {', '.join(guessed)}: the file suggests nothing"] * bool(guessed)
    kinds = " and ".join(kind for kind in waves.kinds if kind != "norm-conserving")
    density = (
        "null        # 4 x, enough for norm-conserving files; ultrasoft and PAW need 8 to 12 x"
        if waves.ecutrho is None
        else f"{_number(waves.ecutrho):<12}# {kinds}: at least 8 x, and what the files ask for"
    )
    functional = (
        f"of {c.functional}, by name" if c.functional else "see which functional they are of"
    )
    return f"""
labels:                   # who computes energies, forces and virials
  code: espresso
  command: pw.x
  pseudo_dir: {folder}
  pseudopotentials: {{{files}}}   # {functional}
  {_padded(f"ecutwfc_Ry: {_number(waves.ecutwfc)}")}# {"; ".join(notes)}
  ecutrho_Ry: {density}
{_CONVERGE}{_spin(c)}{common}"""


def _cp2k(c: Choices, common: str) -> str:
    cutoff, relative = suggested_grid_cutoffs(c.elements)
    compact = [symbol for symbol in c.elements if symbol in COMPACT]
    note = f"{', '.join(compact)} need fine grids" if compact else "enough for soft elements"
    return f"""
labels:                   # who computes energies, forces and virials
  code: cp2k
  command: cp2k.psmp
  {_padded(f"cutoff_Ry: {_number(cutoff)}")}# {note}
  rel_cutoff_Ry: {_number(relative)}
{_CONVERGE}{_spin(c)}{common}"""


def _vasp(c: Choices, common: str) -> str:
    return f"""
labels:                   # who computes energies, forces and virials
  code: vasp              # called as ATOMATE2_VASP_CMD says, POTCARs by PMG_VASP_PSP_DIR
  input_set: StaticSetGenerator   # of atomate2 or pymatgen: ALGO, PREC and POTCARs are from it
  functional: PBE
  encut_eV: 520           # at least 1.3 times the largest ENMAX of the POTCARs
  user_incar_settings: {{}}   # entries that win over all others; NCORE and KPAR belong to the site
  user_potcar_functional: PBE_54
  user_potcar_settings: {{}}  # other POTCARs than those of the set: {{Ti: Ti_pv}}
{_CONVERGE}{_spin(c)}{common}"""


def _spin(c: Choices) -> str:
    magnetic = [symbol for symbol in c.elements if symbol in MAGNETIC]
    if not magnetic:
        return ""
    moments = ", ".join(f"{symbol}: 3.0" for symbol in magnetic)
    return f"""\
  # {", ".join(magnetic)}: labels are without spin. For a magnetic material:
  # magnetic_moments_uB: {{{moments}}}
"""


def _ending(c: Choices) -> str:
    return f"""
selection:
  labels_per_iteration: 10
  audit_per_iteration: 2  # drawn at random, never trained on: the hold-out

budget:                   # raise it and run again to go on
  labels: {c.budget}
  iterations: 20
  core_hours: null

convergence:              # what the certificate asks for
  clean_rounds: 2
  exceedance: 0.005       # share of a condition's windows above gamma_low
  exceedance_extreme: 0.02

confirmation:             # the last round, in larger cells with unused seeds
  size_factor: {4.0 if c.shape == "folded" else 3.0}

resources:
  workers: {c.workers}
  memory_limit_MB: 4000

pause_before_label: false # true: stop before labels are made, to look first
"""


def _validation(c: Choices) -> str:
    hot = c.solid_temperature
    middle = 0.5 * (_cold(c) + hot)
    mix = f"\n  mix: {{elements: {_flow(c.elements)}, fractions: random}}" * c.mixes
    melted = (
        ""
        if c.melt_temperature is None
        else f"    - {{name: liquid, temperature_K: {_number(hot)}, melt_temperature_K: "
        f"{_number(c.melt_temperature)}}}\n"
    )
    return f"""
validation:               # fresh trajectories of the labeler itself; for cheap labelers only
  structure: {c.structure_names[0]}
  n_atoms: 108
  time_step_fs: {_number(c.time_step)}{mix}
  runs:
    - {{name: cold, temperature_K: {_number(_cold(c))}}}
    - {{name: warm, temperature_K: {_number(middle)}}}
    - {{name: hot, temperature_K: {_number(hot)}}}
{melted}"""


__all__ = ["format_campaign"]
