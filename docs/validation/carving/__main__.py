"""Compare ways to carve: ``python -m carving --work FOLDER [--system copper] ..``; resumable."""

import json
import logging
from pathlib import Path
from typing import Annotated

import typer

from carving.figures import write_figures
from carving.study import Size, Study
from carving.systems import systems
from nepal_flows.engines.kernel_cache import use_kernel_cache

OUT = Path(__file__).parent


def main(
    *,
    work: Annotated[Path, typer.Option("--work", help="Folder for all that is made on the way.")],
    system: Annotated[
        list[str] | None, typer.Option("--system", help="copper, copper-gold, silicon; all.")
    ] = None,
    silicon_model: Annotated[
        Path | None, typer.Option("--silicon", help="nep.txt trained on DFT: silicon's teacher.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of results and figures.")] = OUT,
) -> None:
    """Run what is missing of the comparison and write results and figures."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    use_kernel_cache()
    known = systems(silicon_model)
    for name in system or list(known):
        found = Study(known[name], work / name, Size()).run()
        path = out / f"{name}.json"
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        write_figures(found, out)


if __name__ == "__main__":
    typer.run(main)
