"""Configuration folders of the login node and of three kinds of workers, from a few answers."""

import re
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import jinja2

from nepal_flows.errors import SettingsError
from nepal_flows.io.replacing import replaced_text

KINDS = ("gpu", "dft", "cpu")

_TEMPLATES = Path(__file__).with_name("templates")
_OF_LOGIN = ("FW_config.yaml", "my_launchpad.yaml", "jobflow.yaml", "env.sh")
_OF_WORKERS = (
    "FW_config.yaml",
    "my_launchpad.yaml",
    "jobflow.yaml",
    "my_fworker.yaml",
    "my_qadapter.yaml",
)
_TAKES = {
    "gpu": "exploration by GPUMD and training by `nep`",
    "dft": "labels",
    "cpu": "everything that is short: seeds, training on CPUs, grades, selection, verdicts",
}
_WALLTIME = re.compile(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)")
_MARGIN_S = 600


def _answer(default: str, question: str) -> Any:
    return field(default=default, metadata={"question": question})


@dataclass(frozen=True)
class ClusterAnswers:
    """What `nepal init --cluster` asks; each has a default, and none is a secret."""

    host: str = _answer("localhost", "Host of MongoDB")
    port: str = _answer("27017", "Its port")
    database: str = _answer("nepal_flows", "Name of the database")
    user: str = _answer("", "Your user name there, empty where nobody asks")
    activate: str = _answer("", "Command that activates the Python environment")
    account: str = _answer("", "Account that node hours are booked to")
    gpu_partition: str = _answer("gpu", "Partition of GPU nodes")
    gpu_walltime: str = _answer("24:00:00", "Longest run there")
    gpu_cores: str = _answer("8", "Cores beside one GPU")
    dft_partition: str = _answer("cpu", "Partition for labels")
    dft_walltime: str = _answer("24:00:00", "Longest run there")
    dft_cores: str = _answer("32", "MPI ranks of a label")
    cpu_partition: str = _answer("cpu", "Partition for everything else")
    cpu_walltime: str = _answer("24:00:00", "Longest run there")
    cpu_cores: str = _answer("8", "Cores, at least the campaign's `resources.workers`")


def questions() -> Iterator[tuple[str, str, str]]:
    """Yield name, question and default of every answer."""
    for item in fields(ClusterAnswers):
        yield item.name, item.metadata["question"], str(item.default)


def cluster_answers(given: Sequence[str]) -> ClusterAnswers:
    """Return the answers of ``name=value`` texts; what is not given has its default.

    Raises
    ------
    SettingsError
        If a name is unknown, or a number or time is none.
    """
    known = {name for name, _, _ in questions()}
    answers = {"activate": f"source {sys.prefix}/bin/activate"} if _in_environment() else {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or name not in known:
            raise SettingsError(
                f"`--set {text}` is not one of the questions. Write --set NAME=VALUE with one of: "
                f"{', '.join(sorted(known))}."
            )
        answers[name] = value.strip()
    checked = ClusterAnswers(**answers)
    for name in ("port", "gpu_cores", "dft_cores", "cpu_cores"):
        if not getattr(checked, name).isdigit():
            raise SettingsError(
                f"`{name}` is {getattr(checked, name)!r}; a whole number is needed."
            )
    if set(checked.host) & set("/:@"):  # not shown: a password may be in it
        raise SettingsError(
            "`host` is not the name of a machine. Give an address (mongodb://...) in parts: --set "
            "host=NAME --set port=NUMBER --set user=NAME; the password goes into the files alone."
        )
    for kind in KINDS:
        _seconds(getattr(checked, f"{kind}_walltime"), f"{kind}_walltime")
    return checked


def cluster_files(answers: ClusterAnswers, directory: str | Path) -> dict[str, str]:
    """Return the configuration files by their path below a directory.

    Parameters
    ----------
    answers
        What fills them in.
    directory
        Where they will be, as they refer to one another.
    """
    folders = {"login": _OF_LOGIN, **dict.fromkeys(KINDS, _OF_WORKERS)}
    return {
        f"{kind}/{name}": _rendered(name, kind, answers, str(directory))
        for kind, names in folders.items()
        for name in names
    }


def write_cluster_files(
    answers: ClusterAnswers, directory: str | Path, *, overwrite: bool = False
) -> list[Path]:
    """Write the configuration folders and return the files; those for a password are yours alone.

    Raises
    ------
    SettingsError
        If a file is there already and may not be replaced.
    """
    base = Path(directory).expanduser().resolve()
    contents = {base / name: text for name, text in cluster_files(answers, base).items()}
    there = [path for path in contents if path.exists()]
    if there and not overwrite:
        raise SettingsError(
            f"{there[0]} is there already. Give another folder with --out, or --overwrite it."
        )
    for path, text in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced_text(path) as stream:
            stream.write(text)
        if path.name in ("my_launchpad.yaml", "jobflow.yaml"):
            path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    return list(contents)


def _rendered(name: str, kind: str, answers: ClusterAnswers, directory: str) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    is_login = kind == "login"
    patience_ms = 5000 if is_login else 120000
    values: dict[str, Any] = {item.name: getattr(answers, item.name) for item in fields(answers)}
    values |= {
        "kind": kind,
        "directory": directory,
        "patience_ms": patience_ms,
        "patience_why": "commands give up soon" if is_login else "an outage is waited out",
        "place": lambda indent: _place(answers, indent, patience_ms),
    }
    if not is_login:
        values |= _of_worker(values, kind)
    return environment.get_template(name).render(values)


def _of_worker(values: Mapping[str, Any], kind: str) -> dict[str, Any]:
    walltime = values[f"{kind}_walltime"]
    return {
        "takes": _TAKES[kind],
        "partition": values[f"{kind}_partition"],
        "walltime": walltime,
        "cores": values[f"{kind}_cores"],
        "timeout_s": max(60, _seconds(walltime, f"{kind}_walltime") - _MARGIN_S),
        "mode": "rapidfire -m 1" if kind == "cpu" else "-r rapidfire",
    }


def _place(answers: ClusterAnswers, indent: int, patience_ms: int) -> str:
    lines = [f"database: {answers.database}", f"host: {answers.host}", f"port: {answers.port}"]
    if answers.user:
        lines += [f"username: {answers.user}", "password:   # yours, and chmod 600"]
        lines += [f"auth_source: {answers.database}"]
    lines += [f"mongoclient_kwargs: {{serverSelectionTimeoutMS: {patience_ms}}}"]
    return "\n".join(" " * indent + line for line in lines)


def _seconds(walltime: str, name: str) -> int:
    match = _WALLTIME.fullmatch(walltime)
    if match is None:
        raise SettingsError(f"`{name}` is {walltime!r}; write it as 24:00:00 or 2-00:00:00.")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((24 * days + hours) * 60 + minutes) * 60 + seconds


def _in_environment() -> bool:
    return (Path(sys.prefix) / "bin" / "activate").is_file()


__all__ = [
    "KINDS",
    "ClusterAnswers",
    "cluster_answers",
    "cluster_files",
    "questions",
    "write_cluster_files",
]
