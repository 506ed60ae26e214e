"""A stand-in for VASP: it checks its input as a strict reader would, and writes VASP's files.

The physics is that of ``tight_binding``; units, signs and formats are those of VASP 6.4.2, as in
tests/data/vasp. Run it in a directory with INCAR, KPOINTS, POSCAR and POTCAR or POTCAR.spec:

    python vasp.py [--drift X] [--fail KIND [--unless NAME=VALUE] [--times N]]

KIND is unconverged, crash, truncated, other-atoms, moved-energy, tetrahedron (an error for which
custodian changes the smearing), bands (one for which it changes the number of bands) or frozen.
With ``--unless`` the failure does not happen once the INCAR says so; with ``--times`` it happens so
often in a directory. What was run is appended to the file that STANDIN_LOG names.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

VERSION = "6.4.2"
KBAR = 1602.1766208
FAILURES = {
    "tetrahedron": "Tetrahedron method fails for NKPT<4. NKPT =       1",
    "bands": "TOO FEW BANDS",
}


class RefusedInputError(Exception):
    """The input is not what VASP would take, or not what a label needs."""


def read_incar(text: str) -> dict[str, str]:
    entries = {}
    for line in text.splitlines():
        name, equals, value = line.split("#")[0].partition("=")
        if not equals:
            raise RefusedInputError(f"INCAR: `{line}` is no entry")
        if name.strip() in entries:
            raise RefusedInputError(f"INCAR: {name.strip()} is there twice")
        entries[name.strip()] = value.strip()
    return entries


def checked_incar(entries: dict[str, str], n_atoms: int, n_species: int) -> None:
    wanted = {"NSW": "0", "IBRION": "-1", "ISIF": "2", "ISYM": "0", "LREAL": "False"}
    for name, value in wanted.items():
        if entries.get(name) != value:
            raise RefusedInputError(f"INCAR: {name} = {entries.get(name)}, expected {value}")
    if entries.get("ISMEAR") not in ("-1", "0") or not 0.0 < float(entries.get("SIGMA", 0)) < 2.0:
        raise RefusedInputError("INCAR: no smearing")
    if not 100.0 < float(entries.get("ENCUT", 0)) < 2000.0 or float(entries["EDIFF"]) > 1e-4:
        raise RefusedInputError("INCAR: ENCUT or EDIFF")
    if "KSPACING" in entries:
        raise RefusedInputError("INCAR: KSPACING beside KPOINTS")
    spin = entries.get("ISPIN", "1") == "2"
    if spin != ("MAGMOM" in entries):
        raise RefusedInputError("INCAR: ISPIN and MAGMOM do not agree")
    if spin and sum(int(item.partition("*")[0]) for item in entries["MAGMOM"].split()) != n_atoms:
        raise RefusedInputError("INCAR: MAGMOM of another number of atoms")
    if entries.get("LDAU", "False") == "True":
        for name in ("LDAUU", "LDAUL", "LDAUJ"):
            if len(entries[name].split()) != n_species:
                raise RefusedInputError(f"INCAR: {name} of another number of species")


def read_kpoints(text: str) -> tuple[np.ndarray, np.ndarray]:
    lines = text.splitlines()
    if lines[1].strip() != "0" or lines[2].strip()[:1].lower() != "g":
        raise RefusedInputError("KPOINTS: no regular grid about Γ")
    grid = [int(x) for x in lines[3].split()]
    shift = [float(x) for x in lines[4].split()] if len(lines) > 4 else [0.0] * 3
    if len(grid) != 3 or min(grid) < 1:
        raise RefusedInputError(f"KPOINTS: {grid}")
    steps = np.indices(grid).reshape(3, -1).T
    points = (steps + shift) / grid
    return points, np.full(len(points), 1.0 / len(points))


class Crystal:
    """What a POSCAR holds."""

    def __init__(self, text: str) -> None:
        lines = text.splitlines()
        self.names = lines[5].split()
        self.counts = [int(n) for n in lines[6].split()]
        if len(set(self.names)) != len(self.names) or len(self.names) != len(self.counts):
            raise RefusedInputError(f"POSCAR: species {self.names} are not grouped")
        if float(lines[1]) != 1.0 or lines[7].strip()[:1].lower() != "d":
            raise RefusedInputError("POSCAR: scaled, or not in direct coordinates")
        self.cell = np.array([[float(x) for x in line.split()[:3]] for line in lines[2:5]])
        rows = [line.split() for line in lines[8:] if line.strip()]
        if len(rows) != sum(self.counts):
            raise RefusedInputError("POSCAR: other counts than atoms")
        self.scaled = np.array([[float(x) for x in row[:3]] for row in rows])

    def __len__(self) -> int:
        return len(self.scaled)

    @property
    def positions(self) -> np.ndarray:
        return self.scaled @ self.cell

    @property
    def symbols(self) -> list[str]:
        return [name for name, n in zip(self.names, self.counts, strict=True) for _ in range(n)]


def read_potcars(names: list[str]) -> list[str]:
    spec, potcar = Path("POTCAR.spec"), Path("POTCAR")
    if potcar.exists():
        titles = [line.split("=")[1] for line in potcar.read_text().splitlines() if "TITEL" in line]
        symbols = [title.split()[1] for title in titles]
    elif spec.exists():
        symbols = spec.read_text().split()
    else:
        raise RefusedInputError("there is neither POTCAR nor POTCAR.spec")
    if [symbol.partition("_")[0] for symbol in symbols] != names:
        raise RefusedInputError(f"POTCAR: {symbols} for the species {names} of POSCAR")
    return [f"PAW_PBE {symbol} 01Jan2000" for symbol in symbols]


def read_valences(n_species: int) -> list[float]:
    if not Path("POTCAR").exists():
        return [1.0] * n_species
    lines = [line for line in Path("POTCAR").read_text().splitlines() if "ZVAL" in line]
    return [float(line.split("=")[1].split()[0]) for line in lines]


def rows(array: np.ndarray, indent: str) -> str:
    return "\n".join(
        f"{indent}<v> {' '.join(f'{x:16.8f}' for x in row)} </v>" for row in np.atleast_2d(array)
    )


def lattice_xml(atoms, name: str, indent: str = " ") -> str:
    inner = indent + "  "
    attribute = f' name="{name}"' if name else ""
    return f"""{indent}<structure{attribute}>
{indent} <crystal>
{inner}<varray name="basis" >
{rows(atoms.cell, inner + " ")}
{inner}</varray>
{inner}<i name="volume">{abs(np.linalg.det(atoms.cell)):16.8f} </i>
{inner}<varray name="rec_basis" >
{rows(np.linalg.inv(atoms.cell).T, inner + " ")}
{inner}</varray>
{indent} </crystal>
{indent} <varray name="positions" >
{rows(atoms.scaled, indent + "  ")}
{indent} </varray>
{indent}</structure>"""


def energies_xml(answer, shift: float, indent: str) -> str:
    free = answer.free_energy + shift
    named = {
        "e_fr_energy": free,
        "e_wo_entrp": free - answer.entropy_term,
        "e_0_energy": free - 0.5 * answer.entropy_term,
    }
    lines = [f'{indent} <i name="{name}">{value:18.8f} </i>' for name, value in named.items()]
    return "\n".join([f"{indent}<energy>", *lines, f"{indent}</energy>"])


def vasprun(atoms, titles, entries, points, weights, answer, n_steps) -> str:
    incar = "\n".join(
        f'  <i type="string" name="{name}">{value}</i>' for name, value in entries.items()
    )
    types = [
        f"    <rc><c>{count:4d}</c><c>{name}</c><c>1.0</c><c>1.0</c><c> {title} </c></rc>"
        for name, count, title in zip(atoms.names, atoms.counts, titles, strict=True)
    ]
    ions = [
        f"    <rc><c>{symbol}</c><c>{atoms.names.index(symbol) + 1:4d}</c></rc>"
        for symbol in atoms.symbols
    ]
    steps = "\n".join(
        f"  <scstep>\n{energies_xml(answer, 1e-7 * (n_steps - i - 1), '   ')}\n  </scstep>"
        for i in range(n_steps)
    )
    smearing = f"""  <separator name="electronic smearing" >
   <i type="int" name="ISMEAR">{int(entries["ISMEAR"]):6d}</i>
   <i name="SIGMA">{float(entries["SIGMA"]):16.8f}</i>
  </separator>"""
    return f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <generator>
  <i name="program" type="string">vasp </i>
  <i name="version" type="string">{VERSION}  </i>
  <i name="subversion" type="string">a stand-in for tests </i>
 </generator>
 <incar>
{incar}
 </incar>
 <kpoints>
  <generation param="Gamma">
   <v type="int" name="divisions">       1        1        1 </v>
  </generation>
  <varray name="kpointlist" >
{rows(points, "   ")}
  </varray>
  <varray name="weights" >
{rows(weights[:, None], "   ")}
  </varray>
 </kpoints>
 <parameters>
  <separator name="electronic" >
   <i type="string" name="PREC">accura</i>
   <i name="ENMAX">{float(entries["ENCUT"]):16.8f}</i>
{smearing}
   <i name="NELECT">{float(entries["NELECT"]):16.8f}</i>
   <i type="int" name="NELM">{int(entries.get("NELM", 60)):6d}</i>
   <i type="int" name="ISPIN">{int(entries.get("ISPIN", 1)):6d}</i>
   <i type="int" name="NSW">     0</i>
   <i type="int" name="IBRION">    -1</i>
   <i name="EDIFF">{float(entries["EDIFF"]):16.8f}</i>
  </separator>
 </parameters>
 <atominfo>
  <atoms> {len(atoms)} </atoms>
  <types> {len(atoms.names)} </types>
  <array name="atoms" >
   <dimension dim="1">ion</dimension>
   <field type="string">element</field>
   <field type="int">atomtype</field>
   <set>
{chr(10).join(ions)}
   </set>
  </array>
  <array name="atomtypes" >
   <dimension dim="1">type</dimension>
   <field type="int">atomspertype</field>
   <field type="string">element</field>
   <field>mass</field>
   <field>valence</field>
   <field type="string">pseudopotential</field>
   <set>
{chr(10).join(types)}
   </set>
  </array>
 </atominfo>
{lattice_xml(atoms, "initialpos")}
 <calculation>
{steps}
{lattice_xml(atoms, "", "  ")}
  <varray name="forces" >
{rows(answer.forces, "   ")}
  </varray>
  <varray name="stress" >
{rows(-answer.stress * KBAR, "   ")}
  </varray>
{energies_xml(answer, 0.0, "  ")}
  <dos>
   <i name="efermi">{answer.fermi_level:16.8f} </i>
  </dos>
 </calculation>
{lattice_xml(atoms, "finalpos")}
</modeling>
"""


def outcar(atoms, titles, entries, answer, drift, converged, shift) -> str:
    moment = "    1.2500000" if entries.get("ISPIN") == "2" else ""
    forces = [
        " ".join(f"{x:12.5f}" for x in (*position, *force))
        for position, force in zip(atoms.positions, answer.forces, strict=True)
    ]
    free = answer.free_energy + shift
    end = (
        "------------------------ aborting loop because EDIFF is reached ---------------------"
        if converged
        else "------------------------ aborting loop EDIFF was not reached (unconverged)  ---------"
    )
    stress = " ".join(f"{x:11.5f}" for x in (-answer.stress * KBAR).flat[[0, 4, 8, 1, 5, 6]])
    return "\n".join(
        [
            f" vasp.{VERSION} a stand-in for tests",
            *(f" POTCAR:   {title}" for title in titles),
            f"   NELECT =  {float(entries['NELECT']):12.4f}    total number of electrons",
            f" number of electron {float(len(atoms)):15.7f} magnetization {moment}",
            end,
            f" E-fermi :{answer.fermi_level:9.4f}     XC(G=0):  -9.0     alpha+bet : -8.0",
            f"  in kB  {stress}",
            f"  external pressure = {-np.trace(answer.stress) / 3 * KBAR:12.2f} kB",
            " POSITION                                       TOTAL-FORCE (eV/Angst)",
            " " + "-" * 83,
            *forces,
            " " + "-" * 83,
            f"    total drift:              {drift:16.6f}{0.0:14.6f}{0.0:14.6f}",
            "",
            "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)",
            "  ---------------------------------------------------",
            f"  free  energy   TOTEN  = {free:18.8f} eV",
            "",
            f"  energy  without entropy={free - answer.entropy_term:18.8f}  energy(sigma->0) ="
            f"{free - 0.5 * answer.entropy_term:18.8f}",
            " General timing and accounting informations for this job:",
            " ========================================================",
            "",
            "                  Total CPU time used (sec):        1.000",
            "                            User time (sec):        1.000",
            "                          System time (sec):        0.000",
            "                         Elapsed time (sec):        1.000",
            "                   Maximum memory used (kb):      100000.",
            "                   Average memory used (kb):          N/A",
            "",
        ]
    )


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--drift", type=float, default=0.0)
    parser.add_argument("--fail", default="")
    parser.add_argument("--unless", default="")
    parser.add_argument("--times", type=int, default=10**6)
    return parser.parse_args()


def wanted_failure(given: argparse.Namespace, entries: dict[str, str]) -> str:
    if given.unless:
        name, _, value = given.unless.partition("=")
        if entries.get(name) == value:
            return ""
    counter = Path("standin.count")
    count = int(counter.read_text()) if counter.exists() else 0
    counter.write_text(str(count + 1))
    return given.fail if count < given.times else ""


def main() -> int:
    from tight_binding import solve

    given = options()
    atoms = Crystal(Path("POSCAR").read_text())
    entries = read_incar(Path("INCAR").read_text())
    checked_incar(entries, len(atoms), len(atoms.names))
    points, weights = read_kpoints(Path("KPOINTS").read_text())
    titles = read_potcars(atoms.names)
    valences = read_valences(len(titles))
    neutral = sum(n * valence for n, valence in zip(atoms.counts, valences, strict=True))
    entries.setdefault("NELECT", f"{neutral:g}")
    if log := os.environ.get("STANDIN_LOG"):
        with Path(log).open("a") as file:
            file.write(f"{len(atoms)} {entries.get('ALGO')}\n")
    failure = wanted_failure(given, entries)
    print(f" running on    1 total cores\n vasp.{VERSION} a stand-in for tests")
    if failure in FAILURES:
        print(f" {FAILURES[failure]}")
        Path("OUTCAR").write_text(
            "   k-points NKPTS = 1   k-points in BZ  number of bands NBANDS=  16\n"
        )
        return 1
    if failure == "crash":
        print("forrtl: severe (174): SIGSEGV, segmentation fault occurred", file=sys.stderr)
        return 139
    if failure == "frozen":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path(os.environ["STANDIN_PIDS"]).write_text(f"{os.getpid()} {child.pid}")
        time.sleep(600)
    answer = solve(atoms.positions, atoms.cell, points, weights, float(entries["SIGMA"]))
    n_steps = 8
    if failure == "unconverged":
        n_steps = int(entries.get("NELM", 60))
    if failure == "other-atoms":
        atoms.scaled[0] += 0.1
    shift = 0.4 if failure == "moved-energy" else 0.0
    text = vasprun(atoms, titles, entries, points, weights, answer, n_steps)
    if failure == "truncated":
        text = text[: len(text) // 2]
    Path("vasprun.xml").write_text(text)
    converged = failure != "unconverged"
    Path("OUTCAR").write_text(outcar(atoms, titles, entries, answer, given.drift, converged, shift))
    free, last = answer.free_energy, answer.free_energy - 0.5 * answer.entropy_term
    lines = [
        f"DAV: {i + 1:3d} {free:20.12E} {-1e-7:12.5E} {-1e-7:12.5E} 100 1E-3" for i in range(8)
    ]
    Path("OSZICAR").write_text(
        "\n".join([*lines, f"   1 F= {free:.8E} E0= {last:.8E}  d E =-.100000E-07", ""])
    )
    Path("CONTCAR").write_bytes(Path("POSCAR").read_bytes())
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RefusedInputError as refusal:
        print(f"error: the input is refused: {refusal}")
        sys.exit(3)
