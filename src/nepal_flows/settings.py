"""Site settings: where programs, data and scratch space are on this machine.

They describe a site, never the science: a run is reproducible without them. Each is taken from the
first place that has it: an argument, the environment (``NEPAL_N_WORKERS=4``), the settings file
(``~/.nepal_flows.yaml``, or the one that ``NEPAL_SETTINGS_FILE`` names), its default. Importing
this module reads nothing; ``read_settings`` does.
"""

import difflib
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from nepal_flows.errors import SettingsError

ENVIRONMENT_PREFIX = "NEPAL_"
FILE_VARIABLE = "NEPAL_SETTINGS_FILE"
DEFAULT_FILE = "~/.nepal_flows.yaml"

_OTHER_VARIABLES = (FILE_VARIABLE, "NEPAL_TEST_", "NEPAL_BENCH_")
_PSEUDO_DIRECTORIES = ("/usr/share/espresso/pseudo", "/usr/local/share/espresso/pseudo")
_CP2K_DATA_DIRECTORIES = ("/usr/share/cp2k/data", "/usr/share/cp2k", "/usr/local/share/cp2k/data")


def _n_usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cp2k_command() -> str:
    return os.environ.get("ATOMATE2_CP2K_CMD") or "cp2k.psmp"


def _existing(variable: str, candidates: tuple[str, ...], marker: str) -> Path | None:
    if os.environ.get(variable):
        return Path(os.environ[variable])
    found = (Path(name) for name in candidates if any(Path(name).glob(marker)))
    return next(found, None)


class WorkerNames(BaseModel):
    """What a site calls its workers, by the kind of work they take."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gpu: str = Field("gpu", description="Exploration by GPUMD, training by `nep`.")
    dft: str = Field("dft", description="Labels.")
    cpu: str = Field("cpu", description="Everything else.")


class Settings(BaseSettings):
    """What a site says about itself; see the module for where values come from."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, extra="forbid", frozen=True, validate_default=False
    )

    n_workers: int = Field(
        default_factory=_n_usable_cores,
        ge=1,
        description="Processes that `nepal init` writes into a campaign file.",
    )
    n_threads: int = Field(
        default_factory=_n_usable_cores,
        ge=1,
        description="Threads of `nepal train`, `predict`, `grade` and their like.",
    )
    memory_limit_MB: int = Field(
        2000, ge=100, description="Memory that `nepal active-set` and `nepal select` may take."
    )
    store: Literal["auto", "jobflow", "embedded"] = Field(
        "auto",
        description="Where documents go: jobflow.yaml where there is one and else the campaign's "
        "directory (auto), or always one of them.",
    )
    numba_cache_directory: Path | None = Field(
        None,
        description="Where compiled kernels are kept; in the user's cache folder where not given. "
        "Choose a local disk where homes are on a network file system.",
    )
    cp2k_command: str = Field(
        default_factory=_cp2k_command,
        description="How CP2K is called; ATOMATE2_CP2K_CMD where that is set.",
    )
    cp2k_data_directory: Path | None = Field(
        default_factory=lambda: _existing(
            "CP2K_DATA_DIR", _CP2K_DATA_DIRECTORIES, "GTH_POTENTIALS"
        ),
        description="Where CP2K's basis sets and potentials are.",
    )
    gpumd_command: str = Field("gpumd", description="How GPUMD's `gpumd` is called.")
    nep_command: str = Field("nep", description="How GPUMD's `nep` is called.")
    scratch_directory: Path | None = Field(
        None,
        description="Where GPUMD's runs and trainings get their directories; the system's folder "
        "for temporary files where not given.",
    )
    pw_command: str = Field("pw.x", description="How Quantum ESPRESSO's pw.x is called.")
    pseudo_directory: Path | None = Field(
        default_factory=lambda: _existing("ESPRESSO_PSEUDO", _PSEUDO_DIRECTORIES, "*.[uU][pP][fF]"),
        description="Where the UPF files of pseudopotentials are.",
    )
    calculators: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Calculators that campaign files may name by import path: "
        "`package.module:Class`, or a module or package for all that is in it; in the environment "
        "with commas between. Those that ASE knows by name need none.",
    )
    commands: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Commands that campaign files may give as `labels.command` or "
        "`labels.gamma_command`, word for word; in the environment with commas between. All others "
        "are refused: campaign files run what this site says.",
    )
    vasp_command: str | None = Field(
        None,
        description="How VASP is called; where not given, VASP_CMD of atomate2 "
        "(ATOMATE2_VASP_CMD, ~/.atomate2.yaml).",
    )
    vasp_gamma_command: str | None = Field(
        None,
        description="How VASP for the Γ point alone is called; where not given, VASP_GAMMA_CMD of "
        "atomate2.",
    )
    vasp_potcar_spec: bool = Field(
        False,
        description="Whether POTCAR.spec is written in place of POTCAR, for stand-ins of VASP: "
        "VASP itself needs POTCARs, which pymatgen finds by PMG_VASP_PSP_DIR.",
    )
    launchpad_file: Path | None = Field(
        None,
        description="The my_launchpad.yaml of the FireWorks database that campaigns are submitted "
        "to; where FireWorks itself looks for it where not given.",
    )
    workers: WorkerNames = Field(
        default_factory=WorkerNames,
        description="Names of the workers (`name` in my_fworker.yaml) that take each kind of work: "
        "`{gpu: .., dft: .., cpu: ..}`, where they are not called by their kind.",
    )
    label_bundle: int | None = Field(
        None,
        ge=1,
        description="Labels per queued job; where not given one of DFT, and many of an ASE "
        "calculator.",
    )
    label_workers: int | None = Field(
        None,
        ge=1,
        description="Labels that are made side by side in one job: 1 for a code that runs under "
        "MPI on all its cores. Where not given 1 for VASP, else the campaign file's "
        "`resources.workers`.",
    )
    explore_bundle: int | None = Field(
        None,
        ge=1,
        description="Exploration runs per queued job; where not given one on a GPU, and else as "
        "many as the campaign file's `resources.workers`.",
    )
    iterations_per_workflow: int = Field(
        5,
        ge=1,
        description="Iterations after which a long campaign goes on in a new workflow: FireWorks "
        "slows down with workflows of many hundred jobs.",
    )

    @field_validator("calculators", "commands", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return tuple(filter(None, value.split(","))) if isinstance(value, str) else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take arguments, then the environment, then the file."""
        return (init_settings, env_settings, _FileSource(settings_cls))


class _FileSource(PydanticBaseSettingsSource):
    """The settings file."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        return _file_values()


def read_settings(**arguments: Any) -> Settings:
    """Return the settings of this site.

    Parameters
    ----------
    **arguments
        Values that win over the environment and the file; None counts as not given.

    Raises
    ------
    SettingsError
        If a key is unknown (the nearest known one is named), a value is wrong, or the file cannot
        be read.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    _refuse_unknown(given, "argument")
    variables = [
        name[len(ENVIRONMENT_PREFIX) :].lower()
        for name in os.environ
        if name.startswith(ENVIRONMENT_PREFIX) and not name.startswith(_OTHER_VARIABLES)
    ]
    _refuse_unknown(variables, "environment variable", prefix=ENVIRONMENT_PREFIX)
    _refuse_unknown(_file_values(), f"key in {settings_file()}")
    try:
        return Settings(**given)
    except ValidationError as error:
        problems = "; ".join(
            f"`{'.'.join(map(str, problem['loc']))}` is {problem['input']!r}: "
            + ("there is no such key" if problem["type"] == "extra_forbidden" else problem["msg"])
            for problem in error.errors()
        )
        raise SettingsError(
            f"{problems}. Correct it in the environment ({ENVIRONMENT_PREFIX}...) or in "
            f"{settings_file()}."
        ) from error


def settings_file() -> Path:
    """Return where the settings file is, or would be."""
    return Path(os.environ.get(FILE_VARIABLE) or DEFAULT_FILE).expanduser()


def _file_values() -> dict[str, Any]:
    file = settings_file()
    try:
        content = yaml.safe_load(file.read_text()) if file.exists() else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"The settings file {file} cannot be read: {error}.") from error
    if content is None:
        if FILE_VARIABLE in os.environ and not file.exists():
            raise SettingsError(f"{FILE_VARIABLE} names {file}, which does not exist.")
        return {}
    if not isinstance(content, dict):
        raise SettingsError(
            f"The settings file {file} holds {type(content).__name__}, expected lines such as "
            "`n_workers: 4`."
        )
    return {str(name): value for name, value in content.items()}


def _refuse_unknown(names: Any, what: str, *, prefix: str = "") -> None:
    for name in names:
        if name in Settings.model_fields or name.lower() in _lower_names():
            continue
        near = difflib.get_close_matches(name.lower(), _lower_names(), n=1, cutoff=0.5)
        hint = f"Did you mean `{_shown(near[0], prefix)}`?" if near else _known(prefix)
        raise SettingsError(f"`{_shown(name, prefix)}` is an unknown {what}. {hint}")


def _lower_names() -> list[str]:
    return [name.lower() for name in Settings.model_fields]


def _shown(name: str, prefix: str) -> str:
    if prefix:
        return f"{prefix}{name.upper()}"
    return next((known for known in Settings.model_fields if known.lower() == name), name)


def _known(prefix: str) -> str:
    return (
        "Known are "
        + ", ".join(f"`{_shown(n.lower(), prefix)}`" for n in Settings.model_fields)
        + "."
    )


__all__ = ["Settings", "WorkerNames", "read_settings", "settings_file"]
