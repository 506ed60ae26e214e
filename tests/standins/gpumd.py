#!/usr/bin/env python3
"""A stand-in for GPUMD's `gpumd`: the same files, messages and exit codes, computed on the CPU.

It reads run.in, model.xyz, the potentials and the active set in the working directory, as strictly
as the program does, runs this package's own engine, and writes thermo.out, extrapolation_dump.xyz,
active.out and active.xyz, and what the program prints. Written from GPUMD's documentation; formats
and messages are facts, nothing else is GPUMD's.

Environment
-----------
STANDIN_VERSION       version it claims (5.6); from 5.7 on the grading keyword must name the model
STANDIN_FAULT         oom | no_gpu | nan | segfault | killed | hang | truncated | short |
                      silent | abort
STANDIN_FAULT_COUNT   file holding how many more runs the fault befalls; absent: all of them
STANDIN_FAULT_GRADED  1: self-tests (`run 1`) are spared
STANDIN_GRADE_FACTOR  factor on every grade, and every deviation of a committee, it writes
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
from ase.data import atomic_masses

from nepal_flows.core.elements import SYMBOLS, atomic_number
from nepal_flows.core.extrapolation import structure_grades
from nepal_flows.core.gate import PhysicsGate
from nepal_flows.core.md.dynamics import Dynamics, Stretch
from nepal_flows.core.nep.potential import predict
from nepal_flows.core.nep.projections import projection_factors
from nepal_flows.core.structure import Structure
from nepal_flows.io.asi import inverses_by_type, read_asi
from nepal_flows.io.nep_txt import read_nep_txt
from nepal_flows.units import EV_PER_CUBIC_ANGSTROM_TO_GPA

KNOWN = {
    "potential", "velocity", "time_step", "ensemble", "run", "dump_thermo", "dump_xyz",
    "active", "compute_extrapolation", "minimize", "change_box", "deform", "mc", "fix",
    "correct_velocity", "replicate", "dump_restart", "compute_msd",
}  # fmt: skip
VERSION = os.environ.get("STANDIN_VERSION", "5.6")
NAMES_MODEL = tuple(int(part) for part in VERSION.split(".")[:2]) > (5, 6)
NAMES_UNCERTAINTY = tuple(int(part) for part in VERSION.split(".")[:2]) >= (4, 4)
NO_GATE = PhysicsGate(volume_ratio=(0.0, 1e9), temperature_margin=1e12)


def fail(kind: str, text: str, code: int = 1, line: int = 100) -> None:
    """End as the program's error macros do."""
    sys.stdout.flush()
    print(f"{kind}:\n    File:       standin\n    Line:       {line}", file=sys.stderr)
    if kind == "CUDA Error":
        print("    Error code: 2", file=sys.stderr)
    print(f"    Error text: {text}", file=sys.stderr, flush=True)
    raise SystemExit(code)


def input_error(text: str) -> None:
    """Refuse the input."""
    fail("Input Error", text)


class Run:
    """The state between the lines of run.in."""

    def __init__(self) -> None:
        self.structure = read_model()
        self.model = None
        self.members: list = []
        self.potential = None
        self.time_step = 1.0
        self.temperature, self.seed = 300.0, int(time.time())
        self.velocities = None
        self.properties: dict[str, list[str]] = {}
        self.ensemble: list[str] | None = None
        self.mc = False
        self.n_runs = 0

    def execute(self, words: list[str]) -> None:
        """Execute one line."""
        keyword = words[0]
        if keyword not in KNOWN:
            input_error(f"'{keyword}' is an invalid keyword.")
        if len(words) > 32:
            input_error("The number of parameters should be less than 32.")
        getattr(self, f"do_{keyword}", self.do_other)(words)

    def do_other(self, words: list[str]) -> None:
        """Accept a keyword that changes nothing here."""

    def do_potential(self, words: list[str]) -> None:
        if len(words) != 2 or not Path(words[1]).exists():
            print(f"Failed to open {words[1:]}")
            raise SystemExit(1)
        member = read_nep_txt(Path(words[1]))
        unknown = {SYMBOLS[n] for n in self.structure.numbers} - set(member.elements)
        if unknown:
            input_error("There is atom in model.xyz that is not allowed in the used potential.")
        self.members.append(member)
        if self.model is None:  # the first moves the atoms
            self.model, self.potential = member, words[1]

    def do_velocity(self, words: list[str]) -> None:
        if len(words) not in (2, 4) or (len(words) == 4 and words[2] != "seed"):
            input_error("velocity should have 1 or 2 parameters.")
        self.temperature = real(words[1], "initial temperature should be a real number.")
        if self.temperature <= 0.0:
            input_error("initial temperature should be a positive number.")
        if len(words) == 4:
            self.seed = integer(words[3], "seed should be a positive integer.")

    def do_time_step(self, words: list[str]) -> None:
        if len(words) not in (2, 3):
            input_error("time_step should have 1 or 2 parameters.")
        self.time_step = real(words[1], "time_step should be a real number.")

    def do_ensemble(self, words: list[str]) -> None:
        style, values = words[1], words[2:]
        orthogonal = not self.structure.cell[~np.eye(3, dtype=bool)].any()
        if style == "nve":
            if values:
                input_error("ensemble nve should have 0 parameter.")
        elif style in ("nvt_lan", "nvt_ber", "nvt_nhc", "nvt_bdp", "nvt_bao"):
            if len(values) != 3:
                input_error(f"ensemble {style} should have 3 parameters.")
            self.check_temperatures(values)
        elif style in ("npt_scr", "npt_ber"):
            if len(values) not in (6, 10, 16):
                input_error(f"ensemble {style} should have 6, 10, or 16 parameters.")
            if len(values) == 6 and not orthogonal:
                input_error("Cannot use triclinic box with only 1 target pressure component.")
            self.check_temperatures(values)
        elif style == "npt_mttk":
            self.check_mttk(values)
        else:
            input_error("Invalid ensemble type.")
        self.ensemble = [style, *values]

    def check_temperatures(self, values: list[str]) -> None:
        for value in values[:2]:
            if real(value, "Temperature should be a number.") <= 0.0:
                input_error("Initial temperature should > 0.")
        if real(values[2], "Temperature coupling should be a number.") < 1.0:
            input_error("Temperature coupling should >= 1.")

    def check_mttk(self, values: list[str]) -> None:
        position = 0
        lengths = {"temp": 3, "iso": 3, "aniso": 3, "tri": 3, "tperiod": 2, "pperiod": 2}
        while position < len(values):
            name = values[position]
            if name not in lengths:
                input_error("Wrong input parameters.")
            if name == "pperiod" and float(values[position + 1]) < 200:
                input_error("pperiod should >= 200 timestep.")
            position += lengths[name]

    def do_dump_thermo(self, words: list[str]) -> None:
        if len(words) != 2 or integer(words[1], "thermo dump interval should be an integer.") < 1:
            input_error("dump_thermo should have 1 parameter.")
        self.properties["thermo"] = words

    def do_dump_xyz(self, words: list[str]) -> None:
        if len(words) < 3:
            input_error("dump_xyz should have at least 2 parameters.")

    def do_mc(self, words: list[str]) -> None:
        self.mc = True

    def do_compute_extrapolation(self, words: list[str]) -> None:
        allowed = {"asi_file", "gamma_low", "gamma_high", "check_interval", "dump_interval"}
        allowed |= {"nep_file"} if NAMES_MODEL else set()
        if len(words) % 2 == 0 or set(words[1::2]) - allowed:
            input_error("Wrong input parameter!")
        if NAMES_MODEL and "nep_file" not in words:
            input_error("compute_extrapolation needs nep_file.")
        self.properties["extrapolation"] = words

    def do_active(self, words: list[str]) -> None:
        n_arguments = 5 if NAMES_UNCERTAINTY else 4
        if len(words) != 1 + n_arguments:
            input_error(f"active should have {n_arguments} parameters.")
        if integer(words[1], "interval should be an integer.") < 1:
            input_error("interval should > 0.")
        if any(word not in ("0", "1") for word in words[2:-1]):
            input_error("flags of active should be 0 or 1.")
        if real(words[-1], "threshold should be a real number.") < 0.0:
            input_error("threshold should >= 0.")
        if len(self.members) < 2:
            input_error("active needs more than one potential.")
        self.properties["active"] = words

    def do_run(self, words: list[str]) -> None:
        n_steps = integer(
            words[1] if len(words) == 2 else "", "number of steps should be an integer."
        )
        if self.model is None or self.ensemble is None:
            input_error("potential and ensemble must be set before run.")
        print(f"Run {n_steps} steps.")
        perform(self, n_steps)
        self.properties, self.ensemble, self.mc = {}, None, False
        self.n_runs += 1


def real(text: str, message: str) -> float:
    try:
        return float(text)
    except ValueError:
        return input_error(message)


def integer(text: str, message: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        return input_error(message)


def read_model() -> Structure:
    """Return the structure of model.xyz."""
    lines = Path("model.xyz").read_text().splitlines()
    if len(lines[0].split()) != 1:
        input_error("The first line for the xyz file should have one value.")
    n_atoms = int(lines[0])
    if n_atoms < 2:
        input_error("Number of atoms should >= 2.")
    comment = lines[1].lower()
    if 'lattice="' not in comment:
        input_error("'lattice' is missing in the second line of the model file.")
    if "properties=species:s:1:pos:r:3" not in comment:
        input_error("'species' or 'properties' is missing in the model file.")
    cell = np.array(comment.split('lattice="')[1].split('"')[0].split(), dtype=float)
    pbc = comment.split('pbc="')[1].split('"')[0].split() if 'pbc="' in comment else ["t"] * 3
    rows = [line.split() for line in lines[2 : 2 + n_atoms]]
    if any(len(row) != 4 for row in rows):
        input_error("number of columns does not match properties.")
    return Structure(
        np.array([atomic_number(row[0]) for row in rows]),
        np.array([[float(x) for x in row[1:]] for row in rows]),
        cell.reshape(3, 3),
        tuple(flag == "t" for flag in pbc),
    )


def stretch_of(run: Run, n_steps: int) -> Stretch:
    """Return this package's equivalent of an ensemble line."""
    style, *values = run.ensemble
    temperature, pressure, kind = (run.temperature, run.temperature), (0.0, 0.0), "nve"
    thermostat = 100.0
    if style.startswith("nvt"):
        kind = "nvt"
    elif style.startswith("npt"):
        kind = "npt"
    if style == "npt_mttk":
        at = values.index("temp")
        temperature = (float(values[at + 1]), float(values[at + 2]))
        at = values.index("iso")
        pressure = (float(values[at + 1]), float(values[at + 2]))
    elif kind != "nve":
        temperature, thermostat = (float(values[0]), float(values[1])), float(values[2])
        if kind == "npt":
            pressure = (float(values[3]), float(values[3]))
    return Stretch(
        ensemble=kind,
        temperature=temperature,
        n_steps=n_steps,
        pressure=tuple(p / EV_PER_CUBIC_ANGSTROM_TO_GPA for p in pressure),
        time_step=max(run.time_step, 1e-9),
        thermostat_time=thermostat * max(run.time_step, 1e-9),
    )


class Grader:
    """The property that `compute_extrapolation` adds to a run."""

    def __init__(self, run: Run, words: list[str]) -> None:
        options = dict(zip(words[1::2], words[2::2], strict=True))
        if not Path(options["asi_file"]).exists():
            input_error("Fail to open ASI file!")
        model = read_nep_txt(Path(options.get("nep_file", run.potential)))
        print(f"The length of B vector for each atom: {model.architecture.n_projection}")
        self.model = model
        self.inverses = inverses_by_type(read_asi(options["asi_file"]), model.elements)
        self.low = float(options.get("gamma_low", 0))
        self.high = float(options.get("gamma_high", 1e30))
        self.interval = int(options.get("check_interval", 1))
        self.dump_interval = int(options.get("dump_interval", 1))
        self.last = 0
        self.stream = Path("extrapolation_dump.xyz").open("a")  # noqa: SIM115
        self.factor = float(os.environ.get("STANDIN_GRADE_FACTOR", "1"))

    def process(self, step: int, structure: Structure, *, is_nan: bool) -> None:
        """Do what is done after a step of the loop, counted from 0."""
        if step % self.interval:
            return
        if is_nan:
            grades = np.zeros(structure.n_atoms)
        else:
            factors = projection_factors(self.model, structure)
            grades = self.factor * structure_grades(self.inverses, factors)
        gamma = max(0.0, float(grades.max()))
        if gamma > self.high:
            self.dump(structure, grades, gamma, is_nan=is_nan)
            self.stream.flush()
            print(f"Current step: {step}, gamma = {gamma:f}")
            fail(
                "Runtime Error",
                "The extrapolation grade exceeds the upperlimit. Terminating the simulation.",
            )
        if gamma >= self.low and (step == 0 or step - self.last >= self.dump_interval):
            self.last = step
            self.dump(structure, grades, gamma, is_nan=is_nan)

    def dump(self, structure: Structure, grades: np.ndarray, gamma: float, *, is_nan: bool) -> None:
        """Write one frame."""
        flags = " ".join("T" if flag else "F" for flag in structure.pbc)
        lattice = " ".join(f"{x:.8f}" for x in structure.cell.ravel())
        self.stream.write(
            f'{structure.n_atoms}\nmax_gamma={gamma:.8f} pbc="{flags}" Lattice="{lattice}" '
            "Properties=species:S:1:pos:R:3:gamma:R:1\n"
        )
        for number, position, grade in zip(
            structure.numbers, structure.positions, grades, strict=True
        ):
            xyz = " ".join("-nan" if is_nan else f"{x:.8f}" for x in position)
            self.stream.write(f"{SYMBOLS[number]} {xyz} {grade:8f}\n")


class Comparison:
    """The property that `active` adds to a run: formulas and files as documented."""

    def __init__(self, run: Run, words: list[str]) -> None:
        self.members = run.members
        self.interval, self.threshold = int(words[1]), float(words[-1])
        self.time_step = run.time_step
        self.factor = float(os.environ.get("STANDIN_GRADE_FACTOR", "1"))
        self.stream = Path("active.out").open("a")  # noqa: SIM115

    def process(self, step: int, time_fs: float, structure: Structure, *, is_nan: bool) -> None:
        """Do what is done after a step of the loop, counted from 0."""
        if (step + 1) % self.interval:
            return
        deviation = -1.0
        if not is_nan:
            forces = np.array([predict(member, structure).forces for member in self.members])
            variances = np.mean(forces**2, axis=0) - np.mean(forces, axis=0) ** 2
            deviation = self.factor * float(np.sqrt(variances.sum(axis=1)).max())
        self.stream.write(f"{time_fs:20.10e}{deviation:20.10e}\n")
        if deviation > self.threshold:
            with Path("active.xyz").open("a") as stream:
                flags = " ".join("T" if flag else "F" for flag in structure.pbc)
                lattice = " ".join(f"{x:.8f}" for x in structure.cell.ravel())
                stream.write(
                    f'{structure.n_atoms}\nTime={time_fs:.8f} pbc="{flags}" Lattice="{lattice}" '
                    f"uncertainty={deviation:.8f} Properties=species:S:1:pos:R:3\n"
                )
                for number, position in zip(structure.numbers, structure.positions, strict=True):
                    xyz = " ".join(f"{x:.8f}" for x in position)
                    stream.write(f"{SYMBOLS[number]} {xyz}\n")


def perform(run: Run, n_steps: int) -> None:  # noqa: PLR0912
    """Do one ``run``."""
    fault = fault_of_this_run(n_steps)
    if fault == "oom":
        fail("CUDA Error", "out of memory")
    grader = None
    if "extrapolation" in run.properties:
        grader = Grader(run, run.properties["extrapolation"])
    comparison = None
    if "active" in run.properties:
        comparison = Comparison(run, run.properties["active"])
    thermo, interval = None, 0
    if "thermo" in run.properties:
        interval = int(run.properties["thermo"][1])
        thermo = Path("thermo.out").open("a")  # noqa: SIM115
        if tuple(int(part) for part in VERSION.split(".")[:2]) >= (5, 6):
            thermo.write(f"# dump_thermo {interval}\n# format_version 1\n")
    start = run.structure
    dynamics = Dynamics(
        run.model,
        start,
        masses=atomic_masses[start.numbers],
        temperature=run.temperature,
        seed=run.seed + run.n_runs,
        gate=NO_GATE,
        check_interval=1,
        with_factors=False,
        velocities=run.velocities,
    )
    stretch = stretch_of(run, n_steps)
    base = max(1, n_steps // 10)
    is_nan = False
    for step in range(n_steps):
        checks = dynamics.run(stretch, n_done=step, n_steps=1)
        frame = dynamics.structure
        if fault == "nan" and step >= n_steps // 2:
            is_nan = True
        if fault in ("segfault", "killed", "abort", "hang") and step == n_steps // 2:
            die(fault, [thermo, grader and grader.stream, comparison and comparison.stream])
        if thermo is not None and (step + 1) % interval == 0:
            write_thermo(thermo, checks, frame, is_nan=is_nan)
        if grader is not None:
            grader.process(step, frame, is_nan=is_nan)
        if comparison is not None:
            comparison.process(step, (step + 1) * run.time_step, frame, is_nan=is_nan)
        if (step + 1) % base == 0:
            print(f"    {step + 1} steps completed.", flush=True)
    run.structure, run.velocities = dynamics.structure, dynamics.velocities
    for stream in (thermo, grader and grader.stream, comparison and comparison.stream):
        if stream:
            stream.close()
    if fault in ("truncated", "short"):
        path = Path("extrapolation_dump.xyz" if comparison is None else "active.xyz")
        content = path.read_bytes()
        path.write_bytes(content[: int(0.6 * len(content))] if fault == "truncated" else b"")
    if fault == "silent":
        raise SystemExit(0)


def write_thermo(stream, checks, frame: Structure, *, is_nan: bool) -> None:
    """Write one row of thermo.out."""
    pressure = checks.pressure[-1] * EV_PER_CUBIC_ANGSTROM_TO_GPA
    values = [
        checks.temperature[-1], checks.kinetic_energy[-1], checks.potential_energy[-1],
        pressure, pressure, pressure, 0.0, 0.0, 0.0,
    ]  # fmt: skip
    if is_nan:
        values = [float("nan")] * 9
    stream.write("".join(f"{value:20.10e}" for value in [*values, *frame.cell.ravel()]) + "\n")
    stream.flush()


def fault_of_this_run(n_steps: int) -> str | None:
    """Return the fault to be injected now."""
    fault = os.environ.get("STANDIN_FAULT")
    if fault is None or (os.environ.get("STANDIN_FAULT_GRADED") and n_steps == 1):
        return None
    counter = os.environ.get("STANDIN_FAULT_COUNT")
    if counter is not None:
        left = int(Path(counter).read_text()) if Path(counter).exists() else 0
        if left < 1:
            return None
        Path(counter).write_text(str(left - 1))
    return fault


def die(fault: str, streams: list) -> None:
    """End in the middle of a run, with what was flushed until then on the disk."""
    for stream in filter(None, streams):
        stream.flush()
    if fault == "hang":
        time.sleep(600)
    if fault == "abort":
        fail("CUDA Error", "an illegal memory access was encountered")
    os.kill(os.getpid(), {"segfault": signal.SIGSEGV, "killed": signal.SIGTERM}[fault])
    time.sleep(5)


def main() -> None:
    """Run as the program does."""
    log = os.environ.get("STANDIN_LOG")
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
    if log:
        with Path(log).open("a") as stream:
            stream.write(json.dumps({"gpus": gpus, "run_in": Path("run.in").read_text()}) + "\n")
    print("*" * 63)
    print("*                 Welcome to use GPUMD                        *")
    print(f"*                     version {VERSION}                             *")
    print("*              This is the gpumd executable                   *")
    print("*" * 63)
    if os.environ.get("STANDIN_FAULT") == "no_gpu" or gpus == "":
        fail("CUDA Error", "no CUDA-capable device is detected")
    run = Run()
    if gpus is not None and "," in gpus and "compute_extrapolation" in Path("run.in").read_text():
        input_error("This potential cannot be used to calculate the extrapolation grade!")
    for line in Path("run.in").read_text().splitlines():
        words = line.split()
        comment = next((i for i, word in enumerate(words) if word.startswith("#")), len(words))
        if words[:comment]:
            run.execute(words[:comment])
    print("Finished executing the commands in run.in.")
    print("Finished running GPUMD.", flush=True)


if __name__ == "__main__":
    main()
