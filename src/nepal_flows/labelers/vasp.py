"""Labels by VASP: input sets of atomate2 or pymatgen, custodian, the campaign's k-point rule."""

import dataclasses
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from monty.json import MSONable

from nepal_flows.core.elements import atomic_number, symbols_of
from nepal_flows.core.structure import Structure
from nepal_flows.errors import LabelError
from nepal_flows.labelers.electrons import Electrons
from nepal_flows.labelers.kpoints import KPointRule, Mesh
from nepal_flows.labelers.program import check_command
from nepal_flows.labelers.protocol import (
    CorruptOutputError,
    HarmfulCorrectionError,
    RawLabel,
    Rung,
)
from nepal_flows.labelers.vasp_inputs import (
    HOW,
    changed_physics,
    incar_of,
    physical_entries,
    pymatgen_structure,
    quiet,
    refuse_entries,
    static_incar,
    vasp_input_set,
    vasp_order,
)
from nepal_flows.labelers.vasp_output import VaspOutput, read_vasp_output
from nepal_flows.schemas import Correction
from nepal_flows.units import EV_PER_CUBIC_ANGSTROM_TO_GPA, KILOBAR_TO_GPA

MAX_ERRORS = 5
"""Corrections by custodian after which a try is given up."""


@dataclass(frozen=True)
class VaspLabeler(MSONable):
    """Labels by VASP.

    Attributes
    ----------
    kpoints
        The k-point rule.
    elements
        Elements of the campaign, whose POTCARs are part of the physics.
    input_set
        Name of an input set of atomate2 or pymatgen, which all other entries come from.
    functional
        "PBE", "PBEsol", "SCAN" or "r2SCAN"; None for that of the set.
    encut_eV, ediff_eV
        Cutoff and threshold of self-consistency; None for those of the set.
    smearing_temperature_K
        Fermi-Dirac temperature; None for the smearing of the set.
    electrons
        Spin, DFT+U, dispersion and charge.
    user_incar_settings
        INCAR entries that win over all others; None takes one away.
    user_potcar_settings, user_potcar_functional
        POTCARs that win over those of the set (``{"Ti": "Ti_pv"}``), and their release.
    command, gamma_command
        The programs; None for atomate2's VASP_CMD and VASP_GAMMA_CMD.
    potcar_spec
        Whether POTCAR.spec is written in place of POTCAR; VASP itself cannot run with it.
    max_net_force
        Net force, from the drift that VASP takes off, above which a label is refused, eV/Å.
    """

    kpoints: KPointRule
    elements: Sequence[str] = ()
    input_set: str = "StaticSetGenerator"
    functional: str | None = "PBE"
    encut_eV: float | None = 520.0
    ediff_eV: float | None = 1e-6
    smearing_temperature_K: float | None = 1000.0
    electrons: Electrons = field(default_factory=Electrons)
    user_incar_settings: dict[str, Any] = field(default_factory=dict)
    user_potcar_settings: dict[str, str] = field(default_factory=dict)
    user_potcar_functional: str = "PBE_54"
    command: str | None = None
    gamma_command: str | None = None
    potcar_spec: bool = False
    max_net_force: float = 0.01
    name: str = field(default="vasp", init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "elements", tuple(self.elements))

    def physics(self) -> dict[str, Any]:
        """Return the INCAR that comes out, POTCARs by release and name, and the k-rule.

        POTCARs by name, not content: a machine without a licence must arrive at the same keys. What
        was really used is in the label's ``inputs.used``.

        Raises
        ------
        LabelError
            If the input set or an entry is refused.
        """
        sample = _sample(self.elements)
        neutral = dataclasses.replace(self.electrons, charge_e=0.0)  # NELECT needs POTCARs
        inputs = self._input_set(sample, Mesh((4, 4, 4), (False,) * 3), {}, neutral)
        names = inputs.potcar_symbols
        return {
            "code": "vasp",
            "incar": physical_entries(incar_of(inputs)),
            "potcar_functional": self.user_potcar_functional,
            "potcars": dict(zip(inputs.poscar.site_symbols, names, strict=True)),
            "electrons": self.electrons.physics(),
            "kpoints": self.kpoints.physics(),
        }

    def inputs(self) -> dict[str, Any]:
        """Return the settings as given."""
        given = self.as_dict()
        return {name: value for name, value in given.items() if not name.startswith("@")}

    def ladder(self) -> Sequence[Rung]:
        """Return tries that find self-consistency ever more carefully."""
        linear = {"AMIX": 0.1, "BMIX": 1e-4, "AMIX_MAG": 0.4, "BMIX_MAG": 1e-4}
        return (
            Rung("default"),
            Rung("linear mixing", {"ALGO": "Normal", "NELM": 200, **linear}),
            Rung("gentle linear mixing", {"ALGO": "Normal", "NELM": 400, **linear, "AMIX": 0.03}),
        )

    def check(self, elements: Sequence[str]) -> None:
        """Raise ``LabelError`` unless VASP, its POTCARs and its input set are there."""
        check_command(self._command(), setting="ATOMATE2_VASP_CMD or NEPAL_VASP_COMMAND")
        self.physics()
        if self.potcar_spec:
            return
        from pymatgen.io.vasp.inputs import PotcarSingle  # noqa: PLC0415

        symbols = self.physics()["potcars"]
        for element in elements:
            try:
                with quiet():
                    PotcarSingle.from_symbol_and_functional(
                        symbols.get(element, element), self.user_potcar_functional
                    )
            except (OSError, ValueError, KeyError) as error:
                raise LabelError(_no_potcar(element, error)) from error

    def label(
        self, structure: Structure, directory: Path, *, helpers: Mapping[str, Any] | None = None
    ) -> RawLabel:
        """Return the label of a structure; see ``Labeler.label``."""
        from nepal_flows.labelers.vasp_run import recorded_corrections, run_vasp  # noqa: PLC0415

        mesh = self.kpoints.mesh(structure)
        inputs = self._input_set(structure, mesh, dict(helpers or {}), self.electrons)
        self._write(inputs, directory)
        before = _physics_in(directory)
        try:
            run_vasp(shlex.split(self._command(mesh)), directory, max_errors=MAX_ERRORS)
        finally:  # a run that failed for what custodian made of it is custodian's failure
            corrections = recorded_corrections(directory)
            _require_same_physics(before, _physics_in(directory), corrections)
        output = read_vasp_output(directory, pymatgen_structure(structure, self.electrons))
        self._check_potcars(output, inputs.potcar_symbols)
        forces = np.empty_like(output.forces)
        forces[vasp_order(structure)] = output.forces
        return RawLabel(
            energy=output.energy,
            forces=forces,
            virial=output.stress * KILOBAR_TO_GPA / EV_PER_CUBIC_ANGSTROM_TO_GPA * structure.volume,
            info=_told(output, mesh),
            version=f"VASP {output.version}",
            drift=output.drift,
            corrections=corrections,
        )

    def input_text(
        self, structure: Structure, mesh: Mesh, *, helpers: Mapping[str, Any] | None = None
    ) -> str:
        """Return INCAR, KPOINTS and POTCAR.spec for a structure, one after the other."""
        neutral = dataclasses.replace(self.electrons, charge_e=0.0)
        inputs = self._input_set(structure, mesh, dict(helpers or {}), neutral)
        incar = str(_sorted_incar(inputs))
        if self.electrons.charge_e:
            incar += f"NELECT = that of the POTCARs - {self.electrons.charge_e:g}\n"
        parts = {
            "INCAR": incar,
            "KPOINTS": str(inputs.kpoints),
            f"POTCAR ({self.user_potcar_functional})": "\n".join(inputs.potcar_symbols),
        }
        return "\n".join(f"# {name}\n{text.strip()}\n" for name, text in parts.items())

    def _input_set(
        self, structure: Structure, mesh: Mesh, helpers: dict[str, Any], electrons: Electrons
    ) -> Any:
        refuse_entries(self.user_incar_settings)
        if electrons.charge_e and self.potcar_spec:
            raise LabelError(
                "A charge needs the POTCARs, which say how many electrons there are; they are not "
                "written here (NEPAL_VASP_POTCAR_SPEC)."
            )
        entries = static_incar(
            electrons,
            elements=sorted(set(symbols_of(structure.numbers))),
            functional=self.functional,
            encut=self.encut_eV,
            ediff=self.ediff_eV,
            temperature=self.smearing_temperature_K,
        )
        own = {name.upper(): value for name, value in self.user_incar_settings.items()}
        return vasp_input_set(
            self.input_set,
            structure,
            mesh,
            electrons,
            incar=entries | own | _site_entries() | helpers,
            potcars=self.user_potcar_settings,
            potcar_functional=self.user_potcar_functional,
        )

    def _write(self, inputs: Any, directory: Path) -> None:
        if self.potcar_spec:
            (directory / "POTCAR.spec").write_text("\n".join(inputs.potcar_symbols))
        else:
            self._write_potcar(inputs.potcar_symbols, directory)
        _sorted_incar(inputs).write_file(str(directory / "INCAR"))
        inputs.kpoints.write_file(str(directory / "KPOINTS"))
        inputs.poscar.write_file(str(directory / "POSCAR"), significant_figures=16)

    def _write_potcar(self, symbols: Sequence[str], directory: Path) -> None:
        from pymatgen.io.vasp.inputs import Potcar  # noqa: PLC0415

        try:
            with quiet():
                potcar = Potcar(list(symbols), functional=self.user_potcar_functional)
        except (OSError, ValueError, KeyError) as error:
            raise LabelError(_no_potcar(", ".join(symbols), error)) from error
        potcar.write_file(str(directory / "POTCAR"))

    def _command(self, mesh: Mesh | None = None) -> str:
        """Return the program's command: that for Γ alone where it is all there is."""
        from atomate2.settings import Atomate2Settings  # noqa: PLC0415

        site = Atomate2Settings()
        if mesh is not None and mesh.grid == (1, 1, 1) and not any(mesh.offset):
            gamma = os.path.expandvars(self.gamma_command or site.VASP_GAMMA_CMD)
            if self.gamma_command or (self.command is None and _exists(gamma)):
                return gamma
        return os.path.expandvars(self.command or site.VASP_CMD)

    def _check_potcars(self, output: VaspOutput, expected: Sequence[str]) -> None:
        found = [title.split()[1] if " " in title else title for title in output.potcars]
        if found != list(expected):
            raise CorruptOutputError(
                f"VASP used the POTCARs {', '.join(found)}, asked for were {', '.join(expected)}."
            )


def _sample(elements: Sequence[str]) -> Structure:
    """Return a cell with one atom of every element, to see what an input set makes of them."""
    numbers = np.array([atomic_number(symbol) for symbol in elements])
    positions = np.zeros((len(numbers), 3))
    positions[:, 0] = 3.0 * np.arange(len(numbers))
    return Structure(numbers, positions, np.diag([3.0 * len(numbers), 4.0, 4.0]))


def _sorted_incar(inputs: Any) -> Any:
    from pymatgen.io.vasp.inputs import Incar  # noqa: PLC0415

    return Incar(dict(sorted(incar_of(inputs).items())))


def _site_entries() -> dict[str, Any]:
    """Return atomate2's VASP_INCAR_UPDATES: they describe a site and must not touch the physics."""
    from atomate2.settings import Atomate2Settings  # noqa: PLC0415

    entries = {name.upper(): v for name, v in Atomate2Settings().VASP_INCAR_UPDATES.items()}
    if physical := sorted(set(entries) - HOW):
        raise LabelError(
            f"VASP_INCAR_UPDATES in atomate2's settings hold {', '.join(physical)}, which change "
            "what is computed: two sites would make labels that do not mix. Move them to "
            "`labels.user_incar_settings`; NCORE, KPAR and the like may stay."
        )
    return entries


def _physics_in(directory: Path) -> dict[str, Any]:
    """Return all that the input files in a directory say about what is computed."""
    from pymatgen.io.vasp.inputs import Incar, Kpoints, Poscar  # noqa: PLC0415

    kpoints = Kpoints.from_file(str(directory / "KPOINTS"))
    crystal = Poscar.from_file(str(directory / "POSCAR"), check_for_potcar=False).structure
    return {
        "INCAR": dict(Incar.from_file(str(directory / "INCAR"))),
        "KPOINTS": (str(kpoints.style), [list(k) for k in kpoints.kpts], list(kpoints.kpts_shift)),
        "POSCAR": crystal,
    }


def _require_same_physics(
    before: Mapping[str, Any], after: Mapping[str, Any], corrections: Sequence[Correction]
) -> None:
    found = changed_physics(before["INCAR"], after["INCAR"])
    if before["KPOINTS"] != after["KPOINTS"]:
        found.append(f"KPOINTS: {before['KPOINTS']} -> {after['KPOINTS']}")
    if before["POSCAR"] != after["POSCAR"]:
        found.append("POSCAR")
    if found:
        causes = "; ".join(f"{entry.handler}: {', '.join(entry.errors)}" for entry in corrections)
        raise HarmfulCorrectionError(
            f"Custodian changed what is computed ({'; '.join(found)}) because of {causes}: this "
            "label would be of another kind than the others. Correct the cause in `labels`.",
            corrections,
        )


def _told(output: VaspOutput, mesh: Mesh) -> dict[str, Any]:
    told: dict[str, Any] = {
        "k_grid": list(mesh.grid),
        "scf_steps": output.n_scf_steps,
        "potcars": list(output.potcars),
        "energy_sigma0_eV": output.energy_sigma0,
    }
    if output.moment is not None:
        told["moment_uB"] = output.moment
    return told


def _exists(command: str) -> bool:
    try:
        check_command(command, setting="ATOMATE2_VASP_GAMMA_CMD")
    except LabelError:
        return False
    return True


def _no_potcar(what: str, error: Exception) -> str:
    return (
        f"There is no POTCAR for {what}: {error}. Tell pymatgen where they are (`pmg config -p`, "
        "PMG_VASP_PSP_DIR), or correct `labels.user_potcar_functional` and "
        "`labels.user_potcar_settings`."
    )


__all__ = ["MAX_ERRORS", "VaspLabeler"]
