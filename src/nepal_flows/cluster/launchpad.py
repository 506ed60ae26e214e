"""The FireWorks database of a site."""

import contextlib
import io
from pathlib import Path

from fireworks import LaunchPad, fw_config
from pymongo.errors import PyMongoError
from ruamel.yaml.error import YAMLError

from nepal_flows.cluster.queue_database import require_answer
from nepal_flows.errors import SettingsError
from nepal_flows.settings import read_settings


def site_launchpad(file: str | Path | None = None) -> LaunchPad:
    """Return the LaunchPad of this site, which answers.

    Parameters
    ----------
    file
        A my_launchpad.yaml; where not given that of the site's settings, or the one that FireWorks
        itself finds (``FW_CONFIG_FILE``, the working directory, ``~/.fireworks``).

    Raises
    ------
    SettingsError
        If there is no such file, or it cannot be read.
    StoreUnavailableError
        If the database does not answer.
    """
    place = launchpad_file(file)
    if place is None:
        raise SettingsError(
            "FireWorks' database is not configured: no my_launchpad.yaml was found. `nepal init "
            "--cluster` writes one; then set NEPAL_LAUNCHPAD_FILE to it, or `launchpad_file` in "
            "~/.nepal_flows.yaml."
        )
    try:
        launchpad = LaunchPad.from_file(str(place))
    except YAMLError as error:
        raise SettingsError(
            f"{place} is not YAML{_line_of(error)}. A password with special characters stands "
            "between quotes."
        ) from None  # the error shows the line, and a password may be in it
    except (OSError, ValueError, KeyError, TypeError, PyMongoError) as error:
        raise SettingsError(
            f"{place} cannot be used: {type(error).__name__}: {error}. Compare "
            "fireworker_configs/login/my_launchpad.yaml."
        ) from error
    launchpad.m_logger.setLevel("WARNING")
    require_answer(launchpad, place)
    return launchpad


def _line_of(error: YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return "" if mark is None else f", see its line {mark.line + 1}"


def launchpad_file(file: str | Path | None = None) -> Path | None:
    """Return the my_launchpad.yaml that would be used, None if there is none."""
    given = file or read_settings().launchpad_file or fw_config.LAUNCHPAD_LOC
    return Path(given).expanduser() if given else None


def prepare_database(launchpad: LaunchPad) -> None:
    """Make an empty database ready to take workflows, and index what campaigns are found by."""
    if launchpad.fw_id_assigner.find_one() is None:
        with contextlib.redirect_stdout(io.StringIO()):
            launchpad.reset("", require_password=False, max_reset_wo_password=0)
    launchpad.workflows.create_index("metadata.campaign_id")


__all__ = ["launchpad_file", "prepare_database", "site_launchpad"]
