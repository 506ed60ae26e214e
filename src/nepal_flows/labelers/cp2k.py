"""Labels by CP2K (Quickstep, PBE, GTH pseudopotentials) from an input file of our own.

An input file and its output, rather than ASE's shell calculator: both can be kept, read and run
again by hand, and a run that dies leaves nothing behind in another.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monty.json import MSONable

from nepal_flows.core.elements import symbols_of
from nepal_flows.core.structure import Structure
from nepal_flows.errors import LabelError
from nepal_flows.labelers.cp2k_data import data_entry
from nepal_flows.labelers.cp2k_output import parse_cp2k_output
from nepal_flows.labelers.electrons import Electrons
from nepal_flows.labelers.kpoints import KPointRule, Mesh
from nepal_flows.labelers.program import check_command, diagnosis, run_program
from nepal_flows.labelers.protocol import RawLabel, Rung, UnconvergedLabelError
from nepal_flows.units import (
    EV_PER_CUBIC_ANGSTROM_TO_GPA,
    HARTREE_PER_BOHR_TO_EV_PER_ANGSTROM,
    HARTREE_TO_EV,
)

INPUT, OUTPUT, LOG = "label.inp", "label.out", "cp2k.log"

DISPERSION_CUTOFF_A = 25.0
"""Distance up to which pairs of atoms attract by dispersion."""

DEFAULT_BASIS, DEFAULT_POTENTIAL = "DZVP-MOLOPT-SR-GTH", "GTH-PBE"


@dataclass(frozen=True)
class Cp2kLabeler(MSONable):
    """Labels by CP2K.

    Attributes
    ----------
    kpoints
        The k-point rule.
    basis, potentials
        Basis set and pseudopotential of each element; the defaults where not given.
    basis_file, potential_file
        Their files.
    cutoff_Ry, rel_cutoff_Ry
        Cutoffs of the grids.
    smearing_temperature_K
        Fermi-Dirac temperature; 0 for integer occupations.
    eps_scf, max_scf
        Threshold and largest number of iterations of self-consistency.
    electrons
        Spin, dispersion and charge; no U, which CP2K has at Γ alone.
    elements
        Elements of the campaign, whose basis sets and potentials are part of the physics.
    command
        The program.
    data_directory
        Where basis sets and pseudopotentials are.
    max_net_force
        Net force above which a label is refused, eV/Å.
    """

    kpoints: KPointRule
    basis: dict[str, str] = field(default_factory=dict)
    potentials: dict[str, str] = field(default_factory=dict)
    basis_file: str = "BASIS_MOLOPT"
    potential_file: str = "GTH_POTENTIALS"
    cutoff_Ry: float = 300.0
    rel_cutoff_Ry: float = 40.0
    smearing_temperature_K: float = 1000.0
    eps_scf: float = 1e-7
    max_scf: int = 80
    electrons: Electrons = field(default_factory=Electrons)
    elements: Sequence[str] = ()
    command: str = "cp2k.psmp"
    data_directory: str | None = None
    max_net_force: float = 0.005
    name: str = field(default="cp2k", init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "elements", tuple(self.elements))

    def physics(self) -> dict[str, Any]:
        """Return functional, cutoffs, smearing, k-rule, and hashes of basis and potentials.

        Raises
        ------
        LabelError
            If the data of an element cannot be found.
        """
        return {
            "code": "cp2k",
            "method": "quickstep",
            "functional": "PBE",
            "spin": "polarised" if self.electrons.is_polarised else "none",
            "cutoff_Ry": self.cutoff_Ry,
            "rel_cutoff_Ry": self.rel_cutoff_Ry,
            "eps_default": 1e-12,
            "eps_scf": self.eps_scf,
            "smearing": {"kind": "fermi-dirac", "temperature_K": self.smearing_temperature_K},
            "kpoints": self.kpoints.physics(),
            "basis": {e: _hash(self._entry(e, "basis")) for e in self.elements},
            "potentials": {e: _hash(self._entry(e, "potential")) for e in self.elements},
            **self.electrons.physics(),
        }

    def inputs(self) -> dict[str, Any]:
        """Return the settings as given."""
        given = self.as_dict()
        return {name: value for name, value in given.items() if not name.startswith("@")}

    def ladder(self) -> Sequence[Rung]:
        """Return tries that mix ever more gently."""
        return (
            Rung("default"),
            Rung("slower mixing", {"alpha": 0.15, "n_broyden": 12, "max_scf": 3 * self.max_scf}),
            Rung(
                "gentle Pulay mixing",
                {"method": "PULAY_MIXING", "alpha": 0.05, "max_scf": 6 * self.max_scf},
            ),
        )

    def check(self, elements: Sequence[str]) -> None:
        """Raise ``LabelError`` unless the program and the data of all elements are there."""
        check_command(self.command, setting="NEPAL_CP2K_COMMAND or ATOMATE2_CP2K_CMD")
        for element in elements:
            self._entry(element, "basis")
            self._entry(element, "potential")

    def label(
        self, structure: Structure, directory: Path, *, helpers: Mapping[str, Any] | None = None
    ) -> RawLabel:
        """Return the label of a structure; see ``Labeler.label``."""
        mesh = self.kpoints.mesh(structure)
        (directory / INPUT).write_text(self.input_text(structure, mesh, helpers=helpers))
        data = {} if self.data_directory is None else {"CP2K_DATA_DIR": self.data_directory}
        run_program(
            self.command,
            ["-i", INPUT, "-o", OUTPUT],
            directory=directory,
            log=LOG,
            outputs=[OUTPUT],
            environment=data,
        )
        text = _text(directory / OUTPUT)
        try:
            output = parse_cp2k_output(text, n_atoms=structure.n_atoms)
        except LabelError as error:
            raise type(error)(f"{error} It says: {diagnosis(directory, [OUTPUT])}") from error
        return RawLabel(
            energy=output.energy * HARTREE_TO_EV,
            forces=output.forces * HARTREE_PER_BOHR_TO_EV_PER_ANGSTROM,
            virial=output.stress / EV_PER_CUBIC_ANGSTROM_TO_GPA * structure.volume,
            info={"k_grid": list(mesh.grid), "scf_steps": output.n_scf_steps},
            version=None if output.version is None else f"CP2K {output.version}",
        )

    def input_text(
        self, structure: Structure, mesh: Mesh, *, helpers: Mapping[str, Any] | None = None
    ) -> str:
        """Return the input file for a structure.

        Parameters
        ----------
        structure
            The structure; it is taken to repeat in all directions.
        mesh
            Its k-points.
        helpers
            ``method``, ``alpha``, ``n_broyden``, ``max_scf`` where they differ.
        """
        symbols = symbols_of(structure.numbers)
        kinds = sorted(set(symbols))
        tree = {
            "GLOBAL": {"PROJECT": "label", "RUN_TYPE": "ENERGY_FORCE", "PRINT_LEVEL": "MEDIUM"},
            "FORCE_EVAL": {
                "METHOD": "QUICKSTEP",
                "STRESS_TENSOR": "ANALYTICAL",
                "DFT": self._dft(structure, mesh, dict(helpers or {})),
                "SUBSYS": {
                    "CELL": _cell(structure),
                    "COORD": _rows(symbols, structure),
                    **{f"KIND {symbol}": self._kind(symbol) for symbol in kinds},
                },
                "PRINT": {"FORCES ON": {"NDIGITS": 12}, "STRESS_TENSOR ON": {}},
            },
        }
        return "\n".join(_sections(tree)) + "\n"

    def _dft(self, structure: Structure, mesh: Mesh, helpers: dict[str, Any]) -> dict[str, Any]:
        mixing: dict[str, Any] = {"METHOD": helpers.get("method", "BROYDEN_MIXING")}
        mixing["ALPHA"] = helpers.get("alpha", 0.4)
        if mixing["METHOD"] == "BROYDEN_MIXING":
            mixing["NBROYDEN"] = helpers.get("n_broyden", 8)
        scf: dict[str, Any] = {
            "SCF_GUESS": "ATOMIC",
            "EPS_SCF": self.eps_scf,
            "MAX_SCF": int(helpers.get("max_scf", self.max_scf)),
            "DIAGONALIZATION": {"ALGORITHM": "STANDARD"},
            "MIXING": mixing,
            "PRINT": {"RESTART OFF": {}},
        }
        if self.smearing_temperature_K > 0.0:
            scf["ADDED_MOS"] = max(4, 2 * structure.n_atoms)
            smearing = {"METHOD": "FERMI_DIRAC"}
            smearing["ELECTRONIC_TEMPERATURE"] = f"[K] {self.smearing_temperature_K}"
            scf["SMEAR ON"] = smearing
        asked = self.electrons
        points = [f"KPOINT {a:.12f} {b:.12f} {c:.12f} {w:.12f}" for a, b, c, w in mesh.points()]
        functional: dict[str, Any] = {"XC_FUNCTIONAL PBE": {}}
        if asked.dispersion is not None:
            functional["VDW_POTENTIAL"] = _dispersion(asked.dispersion)
        return {
            **({"UKS": "T"} if asked.is_polarised else {}),
            **({"CHARGE": _whole(asked.charge_e)} if asked.charge_e else {}),
            "BASIS_SET_FILE_NAME": self.basis_file,
            "POTENTIAL_FILE_NAME": self.potential_file,
            "QS": {"EPS_DEFAULT": 1e-12},
            "MGRID": {"CUTOFF": self.cutoff_Ry, "REL_CUTOFF": self.rel_cutoff_Ry},
            "KPOINTS": [
                "SCHEME GENERAL",
                "UNITS B_VECTOR",
                "SYMMETRY F",
                "PARALLEL_GROUP_SIZE -1",
                *points,
            ],
            "SCF": scf,
            "XC": functional,
        }

    def _kind(self, symbol: str) -> dict[str, Any]:
        kind: dict[str, Any] = {
            "ELEMENT": symbol,
            "BASIS_SET": self.basis.get(symbol, DEFAULT_BASIS),
            "POTENTIAL": self.potentials.get(symbol, DEFAULT_POTENTIAL),
        }
        if self.electrons.is_polarised:
            kind["MAGNETIZATION"] = self.electrons.moment(symbol)
        return kind

    def _entry(self, symbol: str, what: str) -> str:
        if self.data_directory is None:
            raise LabelError(
                "CP2K's basis sets and potentials cannot be found. Say where they are in "
                "NEPAL_CP2K_DATA_DIRECTORY or CP2K_DATA_DIR."
            )
        kind = self._kind(symbol)
        file = self.basis_file if what == "basis" else self.potential_file
        name = kind["BASIS_SET"] if what == "basis" else kind["POTENTIAL"]
        return data_entry(Path(self.data_directory), file, symbol, name)


def _dispersion(kind: str) -> dict[str, Any]:
    pairs = {
        "TYPE": {"D3": "DFTD3", "D3-BJ": "DFTD3(BJ)"}[kind],
        "PARAMETER_FILE_NAME": "dftd3.dat",
        "REFERENCE_FUNCTIONAL": "PBE",
        "R_CUTOFF": f"[angstrom] {DISPERSION_CUTOFF_A}",
    }
    return {"POTENTIAL_TYPE": "PAIR_POTENTIAL", "PAIR_POTENTIAL": pairs}


def _whole(charge: float) -> int:
    if charge != int(charge):
        raise LabelError(f"CP2K's charges are whole; `labels.charge_e` is {charge:g}.")
    return int(charge)


def _cell(structure: Structure) -> dict[str, Any]:
    vectors = [" ".join(f"{x:.12f}" for x in row) for row in structure.cell]
    return {**dict(zip("ABC", vectors, strict=True)), "PERIODIC": "XYZ"}


def _rows(symbols: Sequence[str], structure: Structure) -> list[str]:
    return [
        f"{symbol} {x:.12f} {y:.12f} {z:.12f}"
        for symbol, (x, y, z) in zip(symbols, structure.positions, strict=True)
    ]


def _sections(tree: Mapping[str, Any] | list[str], indent: str = "") -> list[str]:
    """Return the lines of nested sections; a list holds lines as they are."""
    if isinstance(tree, list):
        return [f"{indent}{line}" for line in tree]
    lines: list[str] = []
    for name, value in tree.items():
        if isinstance(value, (dict, list)):
            inside = _sections(value, f"{indent}  ")
            lines += [f"{indent}&{name}", *inside, f"{indent}&END {name.split()[0]}"]
        else:
            lines.append(f"{indent}{name} {value}")
    return lines


def _text(file: Path) -> str:
    if not file.exists():
        raise UnconvergedLabelError(f"CP2K left no output {file}.")
    return file.read_text(errors="replace")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


__all__ = ["Cp2kLabeler"]
