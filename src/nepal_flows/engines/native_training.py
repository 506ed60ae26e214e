"""Train a NEP on the CPU, from files to files: what `nep` does, with exact gradients.

A run leaves nep.txt, loss.out, reference_energies.json and the tables of energies, forces,
virials and stresses in one folder. Every file appears complete or not at all, nep.txt last.
Tables keep the order of the frames.
"""

import contextlib
import dataclasses
import errno
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.potential import Prediction, predict_many
from nepal_flows.core.nep.training import (
    Progress,
    TrainingResult,
    TrainingSettings,
    reference_energy,
    train_model,
)
from nepal_flows.core.repeats import repeated_structures
from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.engines.input_frames import Pairs, repeated_frames, require_elements
from nepal_flows.errors import EngineError, InputError, NepInputError, StoreUnavailableError
from nepal_flows.io.nep_in import NepInput, read_nep_in
from nepal_flows.io.nep_outputs import write_loss, write_parity_tables
from nepal_flows.io.nep_txt import format_nep_txt, model_sha256, read_nep_txt
from nepal_flows.io.structures import read_labelled

logger = logging.getLogger(__name__)

_QUANTITIES = ("energy", "force", "virial", "stress")


@dataclass(frozen=True, eq=False)
class NativeTrainingRun:
    """A finished training and where its files are.

    Attributes
    ----------
    result
        Model, history and errors. The model is the one in nep.txt, digit by digit.
    directory
        Folder with the files.
    files
        Names of what was written.
    model_sha256
        Hash of nep.txt.
    ignored_keywords
        Keywords of the nep.in that mean nothing to this trainer.
    n_train, n_test
        Frames trained on and held out.
    repeated
        Training frames with one structure, as (first, repeated).
    tested_on_training
        Test frames that are trained on too, as (training frame, test frame).
    """

    result: TrainingResult
    directory: Path
    files: tuple[str, ...]
    model_sha256: str
    ignored_keywords: tuple[str, ...]
    n_train: int
    n_test: int
    repeated: Pairs = ()
    tested_on_training: Pairs = ()


def run_native_training(
    nep_input: NepInput | str | Path,
    train_frames: Sequence[LabelledStructure] | str | Path,
    *,
    out_directory: str | Path,
    overwrite: bool = False,
    test_frames: Sequence[LabelledStructure] | str | Path | None = None,
    warm_start: NepModel | str | Path | None = None,
    reference_energies: Mapping[str, float] | None = None,
    settings: TrainingSettings | None = None,
    seed: int = 0,
    n_threads: int = 1,
    progress: Progress | None = None,
) -> NativeTrainingRun:
    """Train a potential and write its files.

    Parameters
    ----------
    nep_input
        Hyper-parameters, or the path of a nep.in.
    train_frames
        Labelled frames, or a file of them that ASE reads.
    out_directory
        Folder to write to; made if it does not exist.
    overwrite
        Whether the files of an earlier training in the folder may be replaced. Files that a
        training does not write are never touched.
    test_frames
        Frames whose errors are written beside those of the training frames. As with `nep`, they
        change nothing.
    warm_start
        Potential to start from, or the path of a nep.txt.
    reference_energies
        Symbol to eV per atom, taken off before fitting; fitted when None. In a warm start give
        those of the first training.
    settings
        Steps, rates and batches. Weights of the loss that the nep.in names take precedence.
    seed
        Same seed, input and number of threads: the same files.
    n_threads
        Threads to train with.
    progress
        Called with step, number of steps and the latest row of the history by column.

    Raises
    ------
    InputError
        If a file cannot be read or does not hold what is needed, or the folder holds a nep.txt
        that may not be replaced.
    ModelError
        If frames hold elements that the nep.in does not name, or the nep.txt is unusable.
    TrainingError
        If the training cannot start or diverges.
    EngineError
        If the folder cannot be written.
    StoreUnavailableError
        If its disk is full.
    """
    given = nep_input if isinstance(nep_input, NepInput) else read_nep_in(nep_input)
    if given.prediction:
        raise NepInputError(
            "`prediction` is 1: the nep.in asks for predictions only. Set it to 0 to train, or "
            "use `nepal predict`."
        )
    train = _frames(train_frames)
    test = [] if test_frames is None else _frames(test_frames)
    train_name, test_name = _name(train_frames, "train"), _name(test_frames, "test")
    trained, tested = [f.structure for f in train], [f.structure for f in test]
    require_elements(given.architecture, trained, source=train_name)
    require_elements(given.architecture, tested, source=test_name)
    repeated = repeated_frames(trained, dict(enumerate(train)), source=train_name)
    repeated_frames(tested, dict(enumerate(test)), source=test_name)
    missing = sorted(set(given.architecture.elements) - set(reference_energies or ()))
    if reference_energies is not None and missing:
        raise InputError(
            f"The reference energies lack {', '.join(missing)} of the nep.in. Name every element."
        )
    initial = warm_start
    if initial is not None and not isinstance(initial, NepModel):
        initial = read_nep_txt(initial)
    directory = Path(out_directory)
    if (directory / "nep.txt").exists() and not overwrite:
        raise InputError(
            f"`{directory}` holds the nep.txt of an earlier training. Give another folder, or "
            "allow it to be replaced (`--overwrite`)."
        )
    with _writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    result = train_model(
        train,
        given.architecture,
        training_settings(given, settings),
        test=test,
        initial=initial,
        reference_energies=reference_energies,
        seed=seed,
        n_threads=n_threads,
        progress=progress,
    )
    text = format_nep_txt(result.model)
    result = dataclasses.replace(result, model=read_nep_txt(text))
    with _writing(directory):
        files = _write_files(directory, text, result, train, test, n_threads)
    run = NativeTrainingRun(
        result=result,
        directory=directory,
        files=files,
        model_sha256=model_sha256(text),
        ignored_keywords=given.ignored_by_native,
        n_train=len(train),
        n_test=len(test),
        repeated=repeated,
        tested_on_training=_in_both(trained, tested),
    )
    logger.info(
        "trained on %d frames in %d steps, force error %.1f meV/Å",
        len(train),
        result.n_steps,
        1e3 * result.training_errors.total_force_rmse,
    )
    return run


def training_settings(
    nep_input: NepInput, settings: TrainingSettings | None = None
) -> TrainingSettings:
    """Return the settings with the weights of the loss that a nep.in names.

    Parameters
    ----------
    nep_input
        Only keywords the file gives are taken over; those of an object made in code always are
        where they are no defaults.
    settings
        Everything else; the trainer's defaults when None.
    """
    settings = settings or TrainingSettings()
    changes: dict[str, object] = {}
    for name in (
        "lambda_e",
        "lambda_f",
        "lambda_v",
        "lambda_shear",
        "lambda_1",
        "lambda_2",
        "force_delta",
    ):
        value = getattr(nep_input, name)
        default = NepInput.__dataclass_fields__[name].default
        if value is not None and (name in nep_input.given or value != default):
            changes[name] = value
    if nep_input.type_weight:
        changes["type_weights"] = nep_input.type_weight
    return dataclasses.replace(settings, **changes)  # type: ignore[arg-type]


def _frames(source: Sequence[LabelledStructure] | str | Path) -> list[LabelledStructure]:
    if isinstance(source, str | Path):
        return read_labelled(source)
    return list(source)


def _name(source: object, name: str) -> str:
    return str(source) if isinstance(source, str | Path) else name


def _in_both(trained: Sequence[Structure], tested: Sequence[Structure]) -> Pairs:
    """Return the test frames that are trained on, as (training frame, test frame)."""
    n = len(trained)
    pairs = repeated_structures([*trained, *tested])
    return tuple((first, second - n) for first, second in pairs if first < n <= second)


@contextlib.contextmanager
def _writing(directory: Path) -> Iterator[None]:
    """Say which folder could not be written when the file system refuses."""
    try:
        yield
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise (StoreUnavailableError if is_full else EngineError)(
            f"The folder `{directory}` cannot be written ({error}). Give another folder, or make "
            "room."
        ) from error


def _write_files(
    directory: Path,
    text: str,
    result: TrainingResult,
    train: Sequence[LabelledStructure],
    test: Sequence[LabelledStructure],
    n_threads: int,
) -> tuple[str, ...]:
    """Write everything to a folder of its own, then move it in place, nep.txt last."""
    with tempfile.TemporaryDirectory(dir=directory, prefix=".writing-") as temporary:
        room = Path(temporary)
        for name, frames in (("train", train), ("test", test)):
            if frames:
                predictions = _predictions(result, frames, n_threads)
                write_parity_tables(frames, predictions, room, name=name)
        write_loss(result.history, room / "loss.out")
        (room / "reference_energies.json").write_text(
            json.dumps(result.reference_energies, indent=2) + "\n", encoding="utf-8"
        )
        names = sorted(path.name for path in room.iterdir())
        for name in names:
            (room / name).replace(directory / name)
        if not test:
            for quantity in _QUANTITIES:
                (directory / f"{quantity}_test.out").unlink(missing_ok=True)
        (room / "nep.txt").write_text(text, encoding="ascii")
        (room / "nep.txt").replace(directory / "nep.txt")
    return (*names, "nep.txt")


def _predictions(
    result: TrainingResult, frames: Sequence[LabelledStructure], n_threads: int
) -> list[Prediction]:
    """Return predictions with the zero of the frames' energies."""
    structures = [frame.structure for frame in frames]
    predictions = predict_many(result.model, structures, n_threads=n_threads)
    return [
        dataclasses.replace(
            prediction,
            atomic_energies=prediction.atomic_energies
            + reference_energy(structure, result.reference_energies) / structure.n_atoms,
        )
        for structure, prediction in zip(structures, predictions, strict=True)
    ]


__all__ = ["NativeTrainingRun", "run_native_training", "training_settings"]
