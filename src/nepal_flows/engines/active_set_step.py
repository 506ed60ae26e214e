"""The active set of a potential and a file of training frames, from files to a file."""

from dataclasses import dataclass
from pathlib import Path

from nepal_flows.core.active_set import ActiveSet, build_active_set
from nepal_flows.core.nep.projections import projection_factors
from nepal_flows.engines.input_frames import Pairs, Progress, by_frame, repeated_frames
from nepal_flows.errors import ActiveSetError, InputError
from nepal_flows.io.asi import MASTER_SUFFIX, write_active_set
from nepal_flows.io.nep_txt import model_sha256, read_nep_txt
from nepal_flows.io.structures import read_frames


@dataclass(frozen=True, eq=False)
class ActiveSetFile:
    """What ``active_set_file`` made.

    Attributes
    ----------
    path
        The .asi file; the master beside it has the ending ``.npz``.
    active_set
        The active set.
    repeated
        Training frames with one structure, as (first, repeated).
    """

    path: Path
    active_set: ActiveSet
    repeated: Pairs


def active_set_file(
    model_path: str | Path,
    train_path: str | Path,
    out: str | Path,
    *,
    variant: str = "subspace",
    rcond: float | None = None,
    memory_limit_MB: float = 2000.0,
    n_threads: int = 1,
    progress: Progress | None = None,
) -> ActiveSetFile:
    """Write the active set of a model and its training frames, as GPUMD reads it.

    A compressed master of the same name, ending in ``.npz``, is written beside it: it binds the
    active set to the model by its hash.

    Parameters
    ----------
    model_path
        The nep.txt.
    train_path
        Training frames, any format ASE reads, oldest first. Labels are not needed; those that are
        there must not contradict each other.
    out
        The .asi file to write.
    variant, rcond
        ``subspace`` or ``full``, and the cut of singular values; see ``build_active_set``.
    memory_limit_MB
        Bound on the working memory.
    n_threads
        Threads.
    progress
        Called after every structure.

    Raises
    ------
    InputError, ModelError, ActiveSetError
        If a file or an option cannot be used.
    """
    out = Path(out)
    if out.suffix == MASTER_SUFFIX:
        raise InputError(
            f"`{out}` would be overwritten by the compressed master of the same name. "
            "Give `--out` the ending `.asi`."
        )
    if variant not in ("subspace", "full"):
        raise ActiveSetError(f"`variant` is {variant!r}, expected `subspace` or `full`.")
    model = read_nep_txt(model_path)
    frames = read_frames(train_path)
    structures = [frame.structure for frame in frames]
    labels = {k: frame.label for k, frame in enumerate(frames) if frame.label is not None}
    repeated = repeated_frames(structures, labels, source=train_path)
    active_set = build_active_set(
        by_frame(
            lambda structure: projection_factors(model, structure),
            structures,
            source=train_path,
            n_threads=n_threads,
            progress=progress,
        ),
        model.elements,
        variant="subspace" if variant == "subspace" else "full",
        rcond=rcond,
        model_sha256=model_sha256(Path(model_path).read_bytes()),
        memory_limit_MB=memory_limit_MB,
        n_threads=n_threads,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_active_set(active_set, out)
    return ActiveSetFile(out, active_set, repeated)


__all__ = ["ActiveSetFile", "active_set_file"]
