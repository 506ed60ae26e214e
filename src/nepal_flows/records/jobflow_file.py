"""What is wrong with a jobflow.yaml, in words, and without what it holds: it has passwords."""

import os
import re
from pathlib import Path

from pydantic import ValidationError

from nepal_flows.errors import SettingsError

_SETTINGS_CLASS = "JobflowSettings"
_SETTINGS_MODULE = ("jobflow", "settings.py")


def jobflow_file_error(error: BaseException) -> SettingsError | None:
    """Return what a person can do about an error, if jobflow raised it as it read its settings.

    jobflow reads them whenever it is first imported, hence in many places.

    Parameters
    ----------
    error
        Any error.
    """
    if isinstance(error, ValidationError):
        if error.title != _SETTINGS_CLASS:
            return None
    elif not _passed_settings(error):
        return None
    file = os.environ.get("JOBFLOW_CONFIG_FILE") or str(Path("~/.jobflow.yaml").expanduser())
    return SettingsError(
        f"{file} cannot be used: {_reason(error)}. It must be YAML with `JOB_STORE`, in it "
        "`docs_store` and `additional_stores` (`records`, `blobs`, `data`), each with its `type` "
        "(MongoStore, GridFSStore) and that type's options. Correct it after "
        "fireworker_configs/login/jobflow.yaml, or set NEPAL_STORE=embedded and move it away."
    )


def _passed_settings(error: BaseException) -> bool:
    """Return whether an error went through the code in which jobflow reads its settings."""
    trace = error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).parts[-2:] == _SETTINGS_MODULE:
            return True
        trace = trace.tb_next
    return False


def _reason(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(
            f"`{'.'.join(map(str, item['loc']))}` is no key of it"
            if item["type"] == "extra_forbidden"
            else _words(item["msg"])
            for item in error.errors(include_input=False, include_url=False)
        )
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        return f"it is not YAML: line {mark.line + 1}: {getattr(error, 'problem', '')}"
    if isinstance(error, KeyError):
        name = error.args[0] if error.args else error
        return f"`{name}` is no type of store, or is missing"
    lacking = re.search(r"(\w+)\.__init__\(\) missing .*?: (.+)", str(error))
    if lacking:
        return f"a {lacking[1]} lacks {lacking[2].replace(chr(39), '`')}"
    option = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    return f"`{option[1]}` is no option of its store" if option else str(error)


def _words(message: str) -> str:
    """Return what a validator of jobflow says, where it can be said better."""
    if "Unrecognised database file format" in message:
        return "`JOB_STORE` has no `docs_store`"
    if "encountered while parsing" in message:
        return "it is not a mapping of keys to values"
    return message.removeprefix("Value error, ").rstrip(".")


__all__ = ["jobflow_file_error"]
