#!/usr/bin/env python3
"""A stand-in for GPUMD's `nep`: the same files, messages and exit codes, trained on the CPU.

It reads nep.in, train.xyz, and nep.restart, nep.txt or a foundation model where the input asks for
them, as strictly as the program does, runs this package's own trainer, and writes nep.txt,
nep.restart and loss.out. Written from GPUMD's documentation; formats and messages are facts,
nothing else is GPUMD's.

Environment
-----------
STANDIN_VERSION       version it claims (5.6); older ones know no output_interval, import_q_scaler
STANDIN_NEP_FAULT     oom | nan | segfault | killed | hang | silent | truncated | stale
STANDIN_FAULT_COUNT   file holding how many more runs the fault befalls; absent: all of them
STANDIN_LOG           file to which it appends what it was called with
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from nepal_flows.engines.kernel_cache import use_kernel_cache

use_kernel_cache()  # before anything compiled is imported

# ruff: noqa: E402
import numpy as np

from nepal_flows.core.nep.model import NepModel, model_from_parameters
from nepal_flows.core.nep.training import TrainingSettings, train_model
from nepal_flows.io.nep_in import read_nep_in
from nepal_flows.io.nep_txt import format_nep_txt, read_nep_txt
from nepal_flows.io.structures import read_labelled

_LIST = """
    model_type mode prediction version type cutoff n_max basis_size l_max neuron batch population
    generation lambda_1 lambda_2 lambda_e lambda_f lambda_v lambda_q lambda_z lambda_shear
    type_weight force_delta zbl sigma0 atomic_v use_typewise_cutoff_zbl output_descriptor
    charge_mode fine_tune save_potential
"""
KNOWN = set(_LIST.split())
VERSION = os.environ.get("STANDIN_VERSION", "5.6")
if tuple(int(part) for part in VERSION.split(".")[:2]) >= (5, 6):
    KNOWN |= {"output_interval", "import_q_scaler"}
N_FOUNDATION_TYPES = 89
N_PARTS = 4


def fail(kind: str, text: str) -> None:
    """End as the program's error macros do."""
    sys.stdout.flush()
    print(f"{kind}:\n    File:       standin\n    Line:       1", file=sys.stderr)
    print(f"    Error text: {text}", file=sys.stderr, flush=True)
    raise SystemExit(1)


def checked_lines() -> dict[str, list[str]]:
    """Return the values of nep.in by keyword; unknown keywords end the program."""
    values = {}
    for line in Path("nep.in").read_text().splitlines():
        words = line.split("#", 1)[0].split()
        if words:
            if words[0] not in KNOWN:
                fail("Input Error", f"'{words[0]}' is an invalid keyword.")
            values[words[0]] = words[1:]
    if "type" not in values:
        fail("Input Error", "type in nep.in has not been set.")
    return values


def restart_rows(path: str, n: int) -> np.ndarray:
    """Return mean and width of every parameter."""
    rows = np.loadtxt(path, ndmin=2)
    if rows.shape != (n, 2):
        print(f"{path} holds {len(rows)} rows but nep.in implies {n} parameters.")
        fail("Input Error", "nep.restart does not match the model implied by nep.in.")
    return rows


def from_foundation(architecture, files: list[str]) -> NepModel:
    """Return the part of a foundation model that concerns the elements at hand."""
    foundation = read_nep_txt(Path(files[0]))
    theirs = foundation.architecture
    if theirs.n_types != N_FOUNDATION_TYPES:
        fail("Input Error", "the foundation model must have 89 elements.")
    for name in ("n_max_radial", "basis_size_radial", "l_max", "n_neurons"):
        if getattr(theirs, name) != getattr(architecture, name):
            fail("Input Error", f"nep.in is inconsistent with {files[0]}.")
    rows = restart_rows(files[1], theirs.n_parameters)
    whole = model_from_parameters(theirs, rows[:, 0], foundation.q_scaler)
    types = [theirs.elements.index(symbol) for symbol in architecture.elements]
    pairs = np.ix_(types, types)
    return NepModel(
        architecture=architecture,
        w0=whole.w0[types],
        b0=whole.b0[types],
        w1=whole.w1[types],
        b1=0.0,
        c_radial=whole.c_radial[(..., *pairs)],
        c_angular=whole.c_angular[(..., *pairs)],
        q_scaler=foundation.q_scaler,
    )


def starting_model(architecture, values: dict[str, list[str]]) -> NepModel | None:
    """Return what the training begins from."""
    if "fine_tune" in values:
        return from_foundation(architecture, values["fine_tune"])
    if not Path("nep.restart").exists():
        return None
    rows = restart_rows("nep.restart", architecture.n_parameters)
    known = read_nep_txt(Path("nep.txt"))
    if known.architecture != architecture:
        fail("Input Error", "nep.in is inconsistent with nep.txt.")
    return model_from_parameters(architecture, rows[:, 0], known.q_scaler)


def fault_now() -> str | None:
    fault = os.environ.get("STANDIN_NEP_FAULT")
    counter = os.environ.get("STANDIN_FAULT_COUNT")
    if fault and counter is not None:
        left = int(Path(counter).read_text()) if Path(counter).exists() else 0
        if left < 1:
            return None
        Path(counter).write_text(str(left - 1))
    return fault


def write_state(model: NepModel, loss: np.ndarray, generations: range) -> None:
    """Write nep.txt, nep.restart and rows of loss.out."""
    Path("nep.txt").write_text(format_nep_txt(model))
    rows = [f"{mean:15.7e} {0.05:15.7e}\n" for mean in model.parameters()]
    Path("nep.restart").write_text("".join(rows))
    with Path("loss.out").open("a") as stream:
        for generation in generations:
            line = f"{generation:<8d}" + "".join(f"{value:<12.5f}" for value in loss)
            stream.write(line + "\n")
            print(line)


def die(fault: str) -> None:
    if fault == "hang":
        time.sleep(600)
    os.kill(os.getpid(), {"segfault": signal.SIGSEGV, "killed": signal.SIGTERM}[fault])
    time.sleep(5)


def main() -> None:
    """Train as the program does."""
    log = os.environ.get("STANDIN_LOG")
    if log:
        with Path(log).open("a") as stream:
            files = sorted(path.name for path in Path().iterdir())
            content = {"nep_in": Path("nep.in").read_text(), "files": files}
            stream.write(json.dumps(content) + "\n")
    print(f"*                     version {VERSION}                             *")
    print("*              This is the nep executable                     *")
    values = checked_lines()
    fault = fault_now()
    text = "\n".join(f"{name} {' '.join(words)}" for name, words in values.items()) + "\n"
    nep_input = read_nep_in(text)
    if fault == "oom":
        fail("CUDA Error", "out of memory")
    frames = read_labelled("train.xyz")
    model = starting_model(nep_input.architecture, values)
    zeros = dict.fromkeys(nep_input.type, 0.0)
    interval = int(values.get("output_interval", ["100"])[0])
    ends = list(range(interval, nep_input.generation + 1, interval))
    parts = [part for part in np.array_split(ends, N_PARTS) if len(part)]
    for number, part in enumerate(parts):
        settings = TrainingSettings(
            n_adam_steps=max(20, len(part) * interval // 10),
            lambda_v=nep_input.lambda_v,
            warm_learning_rate=5e-3,
        )
        result = train_model(
            frames, nep_input.architecture, settings, initial=model,
            reference_energies=zeros, seed=number,
        )  # fmt: skip
        model = result.model
        loss = result.history[-1, 1:].copy()
        if fault == "nan" and number == len(parts) // 2:
            loss[:] = np.nan
        if fault != "stale":
            write_state(model, loss, range(int(part[0]), int(part[-1]) + 1, interval))
        if fault in ("segfault", "killed", "hang") and number == len(parts) // 2:
            die(fault)
    if fault == "silent":
        raise SystemExit(0)
    if fault == "truncated":
        content = Path("nep.txt").read_text()
        Path("nep.txt").write_text(content[: len(content) // 2])
    print("Finished running nep.", flush=True)


if __name__ == "__main__":
    main()
