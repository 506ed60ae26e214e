"""Static runs cut out of a recorded relaxation by VASP 6.4.2: real numbers, real formats."""

import gzip
import re
from pathlib import Path

from pymatgen.io.vasp.outputs import Vasprun

DATA = Path(__file__).parents[1] / "data/vasp"
N_STEPS = 3


def _text(name: str) -> str:
    with gzip.open(DATA / name, "rt", encoding="latin1") as file:
        return file.read()


def write_static_run(directory: Path, step: int) -> None:
    """Write vasprun.xml, OUTCAR, OSZICAR and CONTCAR as if the run had begun and ended with a step.

    What is changed: the other ionic steps are left out, and the initial structure is that of the
    step.
    """
    directory.mkdir(parents=True, exist_ok=True)
    xml = _text("relaxation.vasprun.xml.gz")
    blocks = re.findall(r" <calculation>.*?</calculation>\n", xml, re.DOTALL)
    head, _, rest = xml.partition(blocks[0])
    tail = rest.partition(blocks[-1])[2]
    structure = re.search(r"  <structure>.*?</structure>\n", blocks[step], re.DOTALL).group(0)
    head = re.sub(
        r' <structure name="initialpos" >.*?</structure>\n',
        structure.replace("<structure>", '<structure name="initialpos" >').replace("\\", r"\\"),
        head,
        flags=re.DOTALL,
    )
    tail = re.sub(
        r' <structure name="finalpos" >.*?</structure>\n',
        structure.replace("<structure>", '<structure name="finalpos" >').replace("\\", r"\\"),
        tail,
        flags=re.DOTALL,
    )
    (directory / "vasprun.xml").write_text(head + blocks[step] + tail)
    outcar = _text("relaxation.OUTCAR.gz")
    parts = re.split(r"(?m)^(?=-+ Iteration +(\d+)\( +1\))", outcar)
    assert len(parts) == 1 + 2 * N_STEPS
    ending = outcar[outcar.index(" General timing and accounting") :]
    body = parts[2 + 2 * step].partition(" General timing and accounting")[0]
    (directory / "OUTCAR").write_text(parts[0] + body + ending)
    run = Vasprun(directory / "vasprun.xml", parse_potcar_file=False, parse_dos=False)
    run.final_structure.to(filename=str(directory / "CONTCAR"), fmt="poscar")
    (directory / "OSZICAR").write_text(
        f"   1 F= {run.ionic_steps[-1]['e_fr_energy']:.8E} E0= 0.0  d E =0.0\n"
    )


def recorded_structure(directory: Path):
    """Return the structure of a run, as pymatgen has it."""
    return Vasprun(
        directory / "vasprun.xml", parse_potcar_file=False, parse_dos=False
    ).final_structure
