"""VASP's input files: from atomate2's and pymatgen's input sets, with the campaign's k-point rule.

What decides a label is the INCAR that comes out, not the name of the set it came from: its entries
are divided into those that say *what* is computed and those that say *how* (``HOW``).
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from nepal_flows.campaign.labels import SAID_ELSEWHERE
from nepal_flows.core.elements import symbols_of
from nepal_flows.core.structure import Structure
from nepal_flows.errors import LabelError
from nepal_flows.labelers.electrons import Electrons
from nepal_flows.labelers.kpoints import Mesh
from nepal_flows.typing import IntArray
from nepal_flows.units import BOLTZMANN_EV_PER_K

INPUT_SET_MODULES = (
    "atomate2.vasp.sets.core",
    "atomate2.vasp.jobs.matpes",
    "pymatgen.io.vasp.sets",
)
"""Where input sets are looked up by name."""

# fmt: off
HOW = frozenset({
    "ALGO", "IALGO", "ISEARCH", "TIME", "LDIAG", "LSUBROT", "NELM", "NELMIN", "NELMDL", "NRMM",
    "AMIX", "BMIX", "AMIX_MAG", "BMIX_MAG", "AMIN", "IMIX", "INIMIX", "MAXMIX", "MIXPRE", "WC",
    "LMAXMIX", "LMIXTAU", "NBANDS", "ISTART", "ICHARG", "INIWAV", "SYMPREC", "SYSTEM", "NWRITE",
    "NPAR", "NCORE", "KPAR", "NSIM", "LPLANE", "LSCALU", "LSCALAPACK", "LSCAAWARE",
    "LASYNC", "NBLK", "NLSPLINE", "MAXMEM", "LWAVE", "LCHARG", "LAECHG", "LVTOT", "LVHAR", "LELF",
    "LORBIT", "RWIGS", "NEDOS", "EMIN", "EMAX", "LDAUPRINT", "LH5", "IBRION", "ISIF", "NSW",
    "POTIM", "EDIFFG", "LREPORT", "LPETIM",
})
# fmt: on
"""INCAR entries that say how an answer is found, kept or printed, not what it is."""

_BY_STRUCTURE = frozenset({"MAGMOM", "LDAUU", "LDAUL", "LDAUJ", "NELECT"})
"""Entries that are lists over the atoms of a structure; `Electrons` says what they come from."""

FUNCTIONALS: Mapping[str, Mapping[str, Any]] = {
    "PBE": {"GGA": "Pe", "METAGGA": None},
    "PBEsol": {"GGA": "Ps", "METAGGA": None},
    "r2SCAN": {"GGA": None, "METAGGA": "R2scan", "LMIXTAU": True},
    "SCAN": {"GGA": None, "METAGGA": "Scan", "LMIXTAU": True},
}

IVDW = {None: None, "D3": 11, "D3-BJ": 12}


@cache
def input_set_class(name: str) -> Any:
    """Return an input set of atomate2 or pymatgen by its name.

    Raises
    ------
    LabelError
        If there is none.
    """
    from pymatgen.io.vasp.sets import VaspInputSet  # noqa: PLC0415

    for module in INPUT_SET_MODULES:
        found = getattr(import_module(module), name, None)
        if isinstance(found, type) and issubclass(found, VaspInputSet):
            return found
    raise LabelError(
        f"There is no VASP input set `{name}` in {', '.join(INPUT_SET_MODULES)}. Use "
        "`StaticSetGenerator` (atomate2), `MPStaticSet`, `MatPESStaticSet` (pymatgen) or the like."
    )


def static_incar(
    electrons: Electrons,
    *,
    elements: Sequence[str],
    functional: str | None,
    encut: float | None,
    ediff: float | None,
    temperature: float | None,
) -> dict[str, Any]:
    """Return the INCAR entries of every label; an entry of None takes one away from the set.

    Parameters
    ----------
    electrons
        Spin, U and dispersion.
    elements
        Chemical symbols of the campaign.
    functional
        Name in ``FUNCTIONALS``; None for that of the set.
    encut, ediff
        Cutoff and threshold of self-consistency, eV; None for those of the set.
    temperature
        Fermi-Dirac temperature, K; None for the smearing of the set.
    """
    entries: dict[str, Any] = {
        "NSW": 0,
        "IBRION": -1,
        "ISIF": 2,
        "ISYM": 0,
        "LREAL": False,
        "LASPH": True,
        "LWAVE": False,
        "LCHARG": False,
        "LAECHG": False,
        "LVTOT": False,
        "LELF": False,
        "LORBIT": None,
        "KSPACING": None,
        "IVDW": IVDW[electrons.dispersion],
        "ISPIN": 2 if electrons.is_polarised else 1,
        "LDAU": bool(electrons.hubbard_U_eV),
    }
    if functional is not None:
        entries |= FUNCTIONALS[functional]
    if encut is not None:
        entries["ENCUT"] = encut
    if ediff is not None:
        entries["EDIFF"] = ediff
    if temperature is not None:
        width = round(BOLTZMANN_EV_PER_K * temperature, 8)
        entries |= {"ISMEAR": -1, "SIGMA": width}
    if electrons.is_polarised:
        entries["MAGMOM"] = {}  # moments are those of the sites
    if electrons.hubbard_U_eV:
        shells = electrons.shells()
        entries |= {
            "LDAUTYPE": 2,
            "LDAUU": {symbol: value for symbol, (_, value) in shells.items()},
            "LDAUL": {s: shells[s][0] if s in shells else -1 for s in elements},
            "LDAUJ": dict.fromkeys(shells, 0.0),
        }
    return entries


def refuse_entries(entries: Mapping[str, Any]) -> None:
    """Raise ``LabelError`` where a user's INCAR entry is one that the campaign file says itself."""
    for name in entries:
        if said := SAID_ELSEWHERE.get(name.upper()):
            raise LabelError(f"`labels.user_incar_settings` must not hold {name}: {said}.")
        if name.upper() == "ICHARG" and int(entries[name]) >= 10:
            raise LabelError(f"ICHARG = {entries[name]} is not self-consistent. Take it away.")


def vasp_order(structure: Structure) -> IntArray:
    """Return the order in which VASP gets the atoms: by element, electronegativity first.

    Atoms of one element keep their order. ``forces_of_vasp[k]`` belongs to atom ``order[k]``.
    """
    from pymatgen.core.periodic_table import Element  # noqa: PLC0415

    symbols = symbols_of(structure.numbers)
    names = sorted(set(symbols), key=lambda symbol: (Element(symbol).X, symbol))
    ranks = np.array([names.index(symbol) for symbol in symbols], dtype=np.int64)
    return np.argsort(ranks, kind="stable")


def pymatgen_structure(structure: Structure, electrons: Electrons) -> Any:
    """Return a structure for pymatgen, atoms in `vasp_order`, with moments and charge."""
    from pymatgen.core.lattice import Lattice  # noqa: PLC0415
    from pymatgen.core.structure import Structure as Crystal  # noqa: PLC0415

    order = vasp_order(structure)
    symbols = [symbols_of(structure.numbers)[atom] for atom in order]
    moments = {"magmom": [electrons.moment(symbol) for symbol in symbols]}
    return Crystal(
        Lattice(structure.cell),
        symbols,
        structure.positions[order],
        coords_are_cartesian=True,
        charge=electrons.charge_e or None,
        site_properties=moments if electrons.is_polarised else None,
    )


def kpoints_file(mesh: Mesh) -> Any:
    """Return the KPOINTS of a mesh: a regular grid about Γ, shifted where the mesh is."""
    from pymatgen.io.vasp.inputs import Kpoints  # noqa: PLC0415

    return Kpoints(
        comment="k-points by the rule of the campaign",
        num_kpts=0,
        style=Kpoints.supported_modes.Gamma,
        kpts=[mesh.grid],
        kpts_shift=(0.5 * mesh.offset[0], 0.5 * mesh.offset[1], 0.5 * mesh.offset[2]),
    )


def vasp_input_set(
    input_set: str,
    structure: Structure,
    mesh: Mesh,
    electrons: Electrons,
    *,
    incar: Mapping[str, Any],
    potcars: Mapping[str, str],
    potcar_functional: str,
) -> Any:
    """Return pymatgen's input set of one structure.

    Parameters
    ----------
    input_set
        Name of its class.
    structure, mesh
        The structure and its k-points.
    electrons
        Spin, U, dispersion and charge.
    incar
        Entries that win over those of the set.
    potcars, potcar_functional
        POTCARs that win over those of the set, and of which release they are.

    Raises
    ------
    LabelError
        If the set refuses what it is given.
    """
    with quiet():
        try:
            return input_set_class(input_set)(
                structure=pymatgen_structure(structure, electrons),
                user_incar_settings=dict(incar),
                user_kpoints_settings=kpoints_file(mesh),
                user_potcar_settings=dict(potcars),
                user_potcar_functional=potcar_functional,
                sort_structure=False,
                use_structure_charge=bool(electrons.charge_e),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise LabelError(f"The VASP input set `{input_set}` fails: {error}.") from error


def incar_of(inputs: Any) -> dict[str, Any]:
    """Return the INCAR of an input set as a dictionary of plain values."""
    with quiet():
        return {name: _plain(value) for name, value in dict(inputs.incar).items()}


def physical_entries(incar: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of an INCAR that say what is computed, text in lower case.

    Lists over atoms are left out.
    """
    names = sorted(set(incar) - HOW - _BY_STRUCTURE)
    entries = {name: _plain(incar[name]) for name in names}
    return {
        name: value.lower() if isinstance(value, str) else value for name, value in entries.items()
    }


def changed_physics(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the INCAR entries in which two runs differ in what they compute.

    A tighter threshold of self-consistency is no such difference.
    """
    old, new = dict(before), dict(after)
    names = sorted((set(old) | set(new)) - HOW)
    return [
        f"{name}: {old.get(name)} -> {new.get(name)}"
        for name in names
        if not _same(old.get(name), new.get(name))
        and not (name == "EDIFF" and name in old and new.get(name, 1e-4) < old[name])
    ]


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, str) and isinstance(b, str):
        return a.lower() == b.lower()
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value


@contextmanager
def quiet() -> Iterator[None]:
    """Do not repeat pymatgen's advice against what the campaign file asks for on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


__all__ = [
    "FUNCTIONALS",
    "HOW",
    "changed_physics",
    "incar_of",
    "input_set_class",
    "kpoints_file",
    "physical_entries",
    "pymatgen_structure",
    "quiet",
    "refuse_entries",
    "static_incar",
    "vasp_input_set",
    "vasp_order",
]
