"""Write a commented campaign file for given structures."""

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path

from nepal_flows.campaign.defaults import Choices, LabelCode, campaign_choices
from nepal_flows.campaign.template import format_campaign
from nepal_flows.core.elements import symbols_of
from nepal_flows.core.repeats import repeated_structures
from nepal_flows.core.structure import elements_present
from nepal_flows.errors import CampaignError
from nepal_flows.io.structures import read_structures
from nepal_flows.io.upf import read_upf_header

_PSEUDO_FOLDERS = ("/usr/share/espresso/pseudo", "/usr/local/share/espresso/pseudo")
_FUNCTIONALS = ("pbe", "pbesol", "pz", "lda", "blyp", "revpbe", "tpss", "scan")
_UNSAFE = re.compile(r"[^A-Za-z0-9_.+-]+")


def init_campaign(
    structure_files: Sequence[str | Path],
    out: str | Path,
    *,
    name: str | None = None,
    code: LabelCode | None = None,
    pseudo_dir: str | Path | None = None,
    mixes: bool = False,
    max_temperature: float | None = None,
    workers: int | None = None,
    overwrite: bool = False,
) -> Choices:
    """Write a commented campaign file for these structures, and return what was filled in.

    Parameters
    ----------
    structure_files
        One file per starting structure, any format ASE reads; the first frame counts.
    out
        The campaign file to write.
    name
        Of the campaign; by default the first structure's.
    code
        Who labels; by default EMT where it can, else what is there.
    pseudo_dir
        Folder of UPF files for Quantum ESPRESSO; by default ESPRESSO_PSEUDO or the system's.
    mixes
        Whether the elements share their sites (an alloy).
    max_temperature
        End of the crystal's ramp, K; below the melting point there is no liquid.
    workers
        Processes; by default all cores.
    overwrite
        Whether an existing file may be replaced.

    Raises
    ------
    CampaignError
        If the file exists, or no campaign can be suggested.
    InputError
        If a structure or a pseudopotential cannot be read.
    """
    out = Path(out)
    if out.exists() and not overwrite:
        raise CampaignError(f"`{out}` exists. Give another name with `--out`, or `--overwrite`.")
    if not structure_files:
        raise CampaignError("No structure is given. Name at least one file: `nepal init POSCAR`.")
    frames = [read_structures(file) for file in structure_files]
    structures = [images[0] for images in frames]
    names = _distinct_names(structure_files)
    folder = out.parent.resolve()
    elements = symbols_of(elements_present(structures))
    pseudo_folder, pseudopotentials = found_pseudopotentials(elements, pseudo_dir)
    if pseudo_dir is not None and pseudo_folder is None:
        raise CampaignError(
            f"`{pseudo_dir}` has no UPF files of one functional for {', '.join(elements)}. Give a "
            "folder with one for each, named as `Si.pbe-rrkj.UPF`."
        )
    choices = campaign_choices(
        structures,
        [
            Path(os.path.relpath(Path(file).resolve(), folder)).as_posix()
            for file in structure_files
        ],
        names,
        name=_safe(name) if name else names[0],
        code=code,
        pseudopotentials=pseudopotentials,
        pseudo_dir=pseudo_folder,
        headers={
            symbol: read_upf_header(Path(pseudo_folder or "") / file)
            for symbol, file in pseudopotentials.items()
        },
        functional=next((f for f in map(_functional, pseudopotentials.values()) if f), ""),
        mixes=mixes,
        max_temperature=max_temperature,
        workers=workers or os.cpu_count() or 1,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(format_campaign(choices), encoding="utf-8")
    remarks = [
        f"`{file}` holds {len(images)} frames; the first is taken"
        for file, images in zip(structure_files, frames, strict=True)
        if len(images) > 1
    ]
    remarks += [
        f"`{structure_files[a]}` and `{structure_files[b]}` hold the same structure"
        for a, b in repeated_structures(structures)
    ]
    return dataclasses.replace(choices, remarks=tuple(remarks))


def found_pseudopotentials(
    elements: Sequence[str], folder: str | Path | None
) -> tuple[str | None, dict[str, str]]:
    """Return a folder that has a UPF file for every element, and the files; PBE ones first.

    The files are of one functional, as far as their names say: labels cannot mix two.

    Returns
    -------
    tuple
        The folder and a file name per element; None and nothing where there is no such folder.
    """
    folders = [str(folder)] if folder else [os.environ.get("ESPRESSO_PSEUDO", ""), *_PSEUDO_FOLDERS]
    for candidate in (Path(item) for item in folders if item):
        files = sorted(candidate.glob("*.[uU][pP][fF]")) if candidate.is_dir() else []
        for functional in _FUNCTIONALS:
            chosen = {}
            for symbol in elements:
                own = [f.name for f in files if re.match(rf"{symbol}[._-]", f.name, re.IGNORECASE)]
                own = [name for name in own if _functional(name) in (functional, "")]
                own.sort(key=lambda name: (_functional(name) == "", len(name), name))
                if own:
                    chosen[symbol] = own[0]
            if len(chosen) == len(elements):
                return str(candidate), chosen
    return None, {}


def _functional(file: str) -> str:
    """Return the functional that a UPF file's name tells; empty where it tells none."""
    tokens = re.split(r"[._-]+", file.lower())
    return next((token for token in tokens[1:] if token in _FUNCTIONALS), "")


def _distinct_names(files: Sequence[str | Path]) -> tuple[str, ...]:
    names: list[str] = []
    for file in files:
        path = Path(file)
        name = path.parent.resolve().name if path.stem in {"POSCAR", "CONTCAR"} else path.stem
        name = _safe(name)
        while name in names:
            name = f"{name}-{names.count(name) + 1}"
        names.append(name)
    return tuple(names)


def _safe(name: str) -> str:
    return _UNSAFE.sub("-", name).strip("-.+_")[:60] or "campaign"


__all__ = ["found_pseudopotentials", "init_campaign"]
