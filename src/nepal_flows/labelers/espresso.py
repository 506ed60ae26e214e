"""Labels by Quantum ESPRESSO's pw.x, through ASE's writer and reader."""

import hashlib
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase.calculators.espresso import EspressoProfile, EspressoTemplate
from monty.json import MSONable

from nepal_flows.core.structure import Structure
from nepal_flows.errors import LabelError
from nepal_flows.io.structures import atoms_from_structure
from nepal_flows.labelers.ase_calculator import tensor
from nepal_flows.labelers.electrons import Electrons
from nepal_flows.labelers.kpoints import KPointRule, Mesh
from nepal_flows.labelers.program import check_command, diagnosis, run_program
from nepal_flows.labelers.protocol import RawLabel, Rung, UnconvergedLabelError
from nepal_flows.units import BOLTZMANN_EV_PER_K, RYDBERG_TO_EV

_HELPERS = frozenset(
    {
        "mixing_beta",
        "mixing_mode",
        "mixing_ndim",
        "electron_maxstep",
        "diagonalization",
        "startingwfc",
        "startingpot",
        "diago_david_ndim",
        "verbosity",
        "disk_io",
        "outdir",
        "wfcdir",
        "prefix",
        "title",
    }
)
"""Namelist entries that change how an answer is found, not what it is."""

_STEPS = re.compile(r"convergence has been achieved in\s+(\d+) iterations")
_VERSION = re.compile(r"Program PWSCF\s+v\.?(\S+)")
_ELEMENT = re.compile(r"element\s*=\s*\"\s*([A-Za-z]+)\s*\"|^\s*([A-Z][a-z]?)\s+Element\s*$", re.M)
_VALENCE = re.compile(r"z_valence\s*=\s*\"\s*([\d.Ee+-]+)|^\s*([\d.]+)\s+Z valence", re.M | re.I)


@dataclass(frozen=True)
class EspressoLabeler(MSONable):
    """Labels by pw.x.

    Attributes
    ----------
    kpoints
        The k-point rule.
    pseudopotentials
        UPF file of each element.
    pseudo_directory
        Where the files are.
    ecutwfc_Ry, ecutrho_Ry
        Cutoffs of wave functions and density; None for 4 times the first.
    smearing_temperature_K
        Fermi-Dirac temperature; 0 for fixed occupations.
    conv_thr_Ry
        Threshold of self-consistency.
    mixing_beta
        Mixing of the first try.
    electrons
        Spin, dispersion and charge; no U, whose input depends on the version of pw.x.
    input_data
        More namelist entries: section, name, value. They win over those above.
    command
        The program.
    max_net_force
        Net force above which a label is refused, eV/Å. (pw.x removes it before it prints.)
    """

    kpoints: KPointRule
    pseudopotentials: dict[str, str] = field(default_factory=dict)
    pseudo_directory: str | None = None
    ecutwfc_Ry: float = 30.0
    ecutrho_Ry: float | None = None
    smearing_temperature_K: float = 1000.0
    conv_thr_Ry: float = 1e-9
    mixing_beta: float = 0.5
    electrons: Electrons = field(default_factory=Electrons)
    input_data: dict[str, dict[str, Any]] = field(default_factory=dict)
    command: str = "pw.x"
    max_net_force: float = 0.01
    name: str = field(default="espresso", init=False)

    def physics(self) -> dict[str, Any]:
        """Return cutoffs, smearing, k-rule, hashes of the pseudopotentials, and other entries.

        Raises
        ------
        LabelError
            If a pseudopotential cannot be found.
        """
        entries = {
            section: {name: value for name, value in names.items() if name not in _HELPERS}
            for section, names in self.namelists({}).items()
        }
        spin = self.electrons.magnetic_moments_uB
        return {
            **({} if spin is None else {"magnetic_moments_uB": dict(spin)}),
            "code": "espresso",
            "namelists": {section: names for section, names in entries.items() if names},
            "kpoints": self.kpoints.physics(),
            "pseudopotentials": {
                element: hashlib.sha256(self._pseudopotential(element).read_bytes()).hexdigest()
                for element in sorted(self.pseudopotentials)
            },
        }

    def inputs(self) -> dict[str, Any]:
        """Return the settings as given."""
        given = self.as_dict()
        return {name: value for name, value in given.items() if not name.startswith("@")}

    def ladder(self) -> Sequence[Rung]:
        """Return tries that mix ever more gently."""
        beta = self.mixing_beta
        gentle = {"mixing_beta": 0.2 * beta, "electron_maxstep": 400, "mixing_mode": "local-TF"}
        return (
            Rung("default"),
            Rung("slower mixing", {"mixing_beta": 0.4 * beta, "electron_maxstep": 250}),
            Rung("gentle mixing", {**gentle, "diagonalization": "cg"}),
        )

    def check(self, elements: Sequence[str]) -> None:
        """Raise ``LabelError`` unless the program and all pseudopotentials are there."""
        check_command(self.command, setting="NEPAL_PW_COMMAND")
        for element in elements:
            file = self._pseudopotential(element)
            found = _ELEMENT.search(file.read_text(errors="replace")[:20000])
            held = (found.group(1) or found.group(2)) if found else element
            if held.lower() != element.lower():
                raise LabelError(f"{file} is a pseudopotential of {held}, not of {element}.")

    def namelists(self, helpers: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the namelists of pw.x, section by section, with the helpers of a try."""
        system: dict[str, Any] = {"ecutwfc": self.ecutwfc_Ry, "nosym": True}
        if self.ecutrho_Ry is not None:
            system["ecutrho"] = self.ecutrho_Ry
        if self.smearing_temperature_K > 0.0:
            width = BOLTZMANN_EV_PER_K * self.smearing_temperature_K / RYDBERG_TO_EV
            system |= {"occupations": "smearing", "smearing": "fd", "degauss": round(width, 8)}
        else:
            system["occupations"] = "fixed"
        system |= self._electronic_entries()
        lists: dict[str, dict[str, Any]] = {
            "control": {"tprnfor": True, "tstress": True, "disk_io": "none"},
            "system": system,
            "electrons": {"conv_thr": self.conv_thr_Ry, "mixing_beta": self.mixing_beta},
        }
        for section, names in self.input_data.items():
            lists.setdefault(section.lower(), {}).update(names)
        lists["electrons"].update(helpers)
        return lists

    def _electronic_entries(self) -> dict[str, Any]:
        """Return the entries of spin, dispersion and charge; moments are ASE's to write."""
        asked = self.electrons
        entries: dict[str, Any] = {}
        if asked.is_polarised:
            entries["nspin"] = 2
        if asked.dispersion is not None:
            version = {"D3": 3, "D3-BJ": 4}[asked.dispersion]
            entries |= {"vdw_corr": "dft-d3", "dftd3_version": version, "dftd3_threebody": False}
        if asked.charge_e:
            entries["tot_charge"] = asked.charge_e
        return entries

    def label(
        self, structure: Structure, directory: Path, *, helpers: Mapping[str, Any] | None = None
    ) -> RawLabel:
        """Return the label of a structure; see ``Labeler.label``."""
        mesh = self.kpoints.mesh(structure)
        template = EspressoTemplate()
        self._write_input(template, structure, mesh, directory, dict(helpers or {}))
        output = directory / template.outputname
        run_program(self.command, ["-in", template.inputname], directory=directory, log=output.name)
        text = output.read_text(errors="replace")
        steps, version = _STEPS.search(text), _VERSION.search(text)
        if steps is None or "JOB DONE" not in text:
            said = diagnosis(directory, [output.name])
            raise UnconvergedLabelError(f"pw.x did not converge. It says: {said}")
        try:
            results = template.read_results(directory)
            energy, forces, stress = (results[n] for n in ("free_energy", "forces", "stress"))
        except (KeyError, ValueError, IndexError, AssertionError) as error:
            raise LabelError(f"The output of pw.x cannot be read: {error!r}.") from error
        return RawLabel(
            energy=float(energy),
            forces=np.asarray(forces, dtype=np.float64),
            virial=-tensor(stress) * structure.volume,
            info={"k_grid": list(mesh.grid), "scf_steps": int(steps.group(1))},
            version=f"pw.x {version.group(1)}" if version else None,
        )

    def input_text(
        self, structure: Structure, mesh: Mesh, *, helpers: Mapping[str, Any] | None = None
    ) -> str:
        """Return the input file for a structure, as the first try (or its helpers) writes it."""
        template = EspressoTemplate()
        with tempfile.TemporaryDirectory() as folder:
            self._write_input(template, structure, mesh, Path(folder), dict(helpers or {}))
            return (Path(folder) / template.inputname).read_text()

    def _write_input(
        self,
        template: EspressoTemplate,
        structure: Structure,
        mesh: Mesh,
        directory: Path,
        helpers: dict[str, Any],
    ) -> None:
        profile = EspressoProfile(command=self.command, pseudo_dir=self.pseudo_directory)
        parameters = {
            "input_data": self.namelists(helpers),
            "pseudopotentials": dict(self.pseudopotentials),
            "kpts": mesh.grid,
            "koffset": tuple(int(flag) for flag in mesh.offset),
        }
        properties = ["energy", "forces", "stress"]
        atoms = atoms_from_structure(structure)
        if self.electrons.is_polarised:
            # ASE writes them as they are; pw.x takes fractions of the valence electrons
            shares = {s: self.electrons.moment(s) / self._valence(s) for s in set(atoms.symbols)}
            atoms.set_initial_magnetic_moments([shares[symbol] for symbol in atoms.symbols])
        template.write_input(profile, directory, atoms, parameters, properties)

    def _valence(self, element: str) -> float:
        file = self._pseudopotential(element)
        found = _VALENCE.search(file.read_text(errors="replace")[:20000])
        if found is None:
            raise LabelError(f"{file} does not say how many valence electrons it is for.")
        return float(found.group(1) or found.group(2))

    def _pseudopotential(self, element: str) -> Path:
        directory = None if self.pseudo_directory is None else Path(self.pseudo_directory)
        if directory is None or not directory.is_dir():
            raise LabelError(
                f"The folder of pseudopotentials ({directory}) does not exist. Give "
                "`labels.pseudo_dir`, NEPAL_PSEUDO_DIRECTORY or ESPRESSO_PSEUDO."
            )
        name = self.pseudopotentials.get(element)
        if name is not None and (directory / name).is_file():
            return directory / name
        candidates = sorted(
            file.name
            for file in directory.iterdir()
            if re.match(rf"{element}[._-]", file.name, re.I) and file.suffix.lower() == ".upf"
        )
        lacks = f"`{name}` is not in {directory}" if name else f"{element} has no pseudopotential"
        raise LabelError(
            f"{lacks}. Name one under `labels.pseudopotentials`; {directory} has "
            f"{', '.join(candidates) or f'none for {element}'}."
        )


__all__ = ["EspressoLabeler"]
