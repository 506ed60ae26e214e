"""Entries of CP2K's basis-set and potential files."""

from pathlib import Path

from nepal_flows.errors import LabelError


def data_entry(directory: Path, file: str, element: str, name: str) -> str:
    """Return the text of one entry of a data file, without comments.

    Parameters
    ----------
    directory
        CP2K's data directory.
    file
        Name of the file (``BASIS_MOLOPT``, ``GTH_POTENTIALS``), or a path.
    element
        Chemical symbol.
    name
        Name of the entry, or one of its aliases.

    Raises
    ------
    LabelError
        If there is no such file or entry; the names known for the element are listed.
    """
    path = directory / file
    if not path.is_file():
        raise LabelError(
            f"CP2K's data file {path} does not exist. Install CP2K's data, or say where they are "
            "in NEPAL_CP2K_DATA_DIRECTORY."
        )
    known: list[str] = []
    lines = [line.split("#")[0].split() for line in path.read_text(errors="replace").splitlines()]
    for start, words in enumerate(lines):
        if len(words) < 2 or words[0].lower() != element.lower():
            continue
        if name in words[1:]:
            body = []
            for following in lines[start + 1 :]:
                if following and following[0][0].isalpha():
                    break
                body.append(" ".join(following))
            return "\n".join([" ".join([element, name]), *filter(None, body)])
        known.append(words[1])
    raise LabelError(
        f"{path} has no `{name}` for {element}; it has {', '.join(known) or 'nothing for it'}. "
        "Name one under `labels.basis` or `labels.potentials`."
    )


__all__ = ["data_entry"]
