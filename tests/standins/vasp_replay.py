"""A stand-in for VASP that replays a recorded run: ``python vasp_replay.py RECORDING``.

RECORDING holds vasprun.xml, OUTCAR, OSZICAR and CONTCAR. They are copied only if INCAR, KPOINTS,
POSCAR and POTCAR.spec ask for what was recorded.
"""

import re
import shutil
import sys
from pathlib import Path

COMPARED = ("ENCUT", "EDIFF", "ISMEAR", "SIGMA", "ISPIN", "PREC", "LREAL", "LASPH", "MAGMOM")
OUTPUTS = ("vasprun.xml", "OUTCAR", "OSZICAR", "CONTCAR")


def recorded_incar(xml: str) -> dict[str, str]:
    incar = xml[xml.index("<incar>") : xml.index("</incar>")]
    return dict(re.findall(r'name="(\w+)">\s*(.*?)\s*<', incar))


def numbers(text: str) -> list[float]:
    return [float(x) for x in text.split()]


def same(given: str, recorded: str) -> bool:
    given = re.sub(r"(\d+)\*(\S+)", lambda m: " ".join([m[2]] * int(m[1])), given)
    given = {"True": "T", "False": "F"}.get(given, given)
    try:
        pairs = zip(numbers(given), numbers(recorded), strict=True)
        return all(abs(a - b) <= 1e-6 * abs(b) for a, b in pairs)
    except ValueError:
        return given.lower() == recorded.lower()


def complaints(recording: Path) -> list[str]:
    xml = (recording / "vasprun.xml").read_text()
    lines = Path("INCAR").read_text().splitlines()
    incar = {name.strip(): value.strip() for name, _, value in (x.partition("=") for x in lines)}
    found = [
        f"INCAR: {name} is {incar.get(name)}, recorded was {recorded}"
        for name, recorded in recorded_incar(xml).items()
        if name in COMPARED and not same(incar.get(name, "nothing"), recorded)
    ]
    if (incar.get("NSW"), incar.get("ISIF")) != ("0", "2"):
        found.append("INCAR: the run is not static, or lacks the stress")
    kpoints = Path("KPOINTS").read_text().splitlines()
    divisions = re.search(r'name="divisions">([^<]*)<', xml).group(1).split()
    if kpoints[2].strip() != "Gamma" or kpoints[3].split() != divisions:
        found.append(f"KPOINTS: {kpoints[2:4]}, recorded was {divisions} about Γ")
    poscar = Path("POSCAR").read_text().splitlines()
    initial = xml[xml.index('name="initialpos"') :]
    vectors = [numbers(v) for v in re.findall(r"<v>([^<]*)</v>", initial)]
    ions = re.findall(r"<rc><c>(\w+) *</c><c> *\d+</c></rc>", xml)
    given = [numbers(" ".join(line.split()[:3])) for line in poscar[2:5] + poscar[8:]]
    expected = vectors[:3] + vectors[6 : 6 + len(ions)]
    if (poscar[5].split(), poscar[6].split()) != (sorted(set(ions)), [str(len(ions))]):
        found.append("POSCAR: other atoms")
    elif any(
        abs(a - b) > 1e-6
        for x, y in zip(given, expected, strict=True)
        for a, b in zip(x, y, strict=True)
    ):
        found.append("POSCAR: another cell, or other places")
    symbols = [title.split()[1] for title in re.findall(r"<c> (PAW_\S+ \S+ [^<]*)</c>", xml)]
    if Path("POTCAR.spec").read_text().split() != symbols:
        found.append(f"POTCAR.spec: not {symbols}")
    return found


if __name__ == "__main__":
    recording = Path(sys.argv[1])
    found = complaints(recording)
    if found:
        print("error: the input differs:", "; ".join(found))
        sys.exit(3)
    for name in OUTPUTS:
        shutil.copy(recording / name, name)
