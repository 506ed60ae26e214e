"""`nepal init --cluster`: a few questions, and the configuration of a site from the answers."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import typer

from nepal_flows.cli.output import note, print_json, print_lines


def init_cluster(out: Path, given: Sequence[str], *, overwrite: bool, as_json: bool) -> None:
    """Write configuration folders; a person at a terminal is asked what was not given.

    Parameters
    ----------
    out
        Folder to write.
    given
        Answers as ``name=value``.
    overwrite
        Whether files that are there may be replaced.
    as_json
        Whether to print one JSON document, and ask nothing.
    """
    from nepal_flows.cluster.configuration import cluster_answers, write_cluster_files

    known = list(given)
    cluster_answers(known)  # what was given is wrong: say so before asking for the rest
    if sys.stdin.isatty() and not as_json:
        known += _asked(known)
    answers = cluster_answers(known)
    files = write_cluster_files(answers, out, overwrite=overwrite)
    if as_json:
        print_json("init", {"out": out, "choices": answers, "files": files})
        return
    secret = " and write your password into my_launchpad.yaml and jobflow.yaml" * bool(answers.user)
    base = out.expanduser().resolve()
    print_lines(
        f"{base}: {len(files)} files for login, gpu, dft and cpu",
        f"Look through them{secret}, then: source {base}/login/env.sh; nepal doctor",
        "How to go on is in docs/how-to/cluster.md.",
    )


def _asked(known: Sequence[str]) -> Iterator[str]:
    from nepal_flows.cluster.configuration import cluster_answers, questions

    defaults = cluster_answers(known)
    answered = {text.partition("=")[0] for text in known}
    for name, question, _ in questions():
        if name not in answered:
            yield _answer(name, question, str(getattr(defaults, name)))


def _answer(name: str, question: str, default: str) -> str:
    """Return one answer, asked again until it can be used."""
    from nepal_flows.cluster.configuration import cluster_answers
    from nepal_flows.errors import SettingsError

    while True:
        text = f"{name}={typer.prompt(question, default=default, err=True)}"
        try:
            cluster_answers([text])
        except SettingsError as error:
            note(str(error))
        else:
            return text


__all__ = ["init_cluster"]
