"""Copper and copper-gold labelled by ASE's EMT: crystals, strained, 300 to 1500 K, and melts.

Frames to test on are from trajectories of their own, with other strains, temperatures and, in the
alloy, compositions.
"""

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

from nepal_flows.core.structure import LabelledStructure
from nepal_flows.io.nep_in import NepInput
from nepal_flows.io.structures import labelled_from_atoms

COPPER = NepInput(
    type=("Cu",), cutoff=(6.0, 5.0), n_max=(4, 4), basis_size=(8, 8), l_max=(4, 2, 0), neuron=30
)
COPPER_GOLD = NepInput(
    type=("Cu", "Au"), cutoff=(6.0, 5.0), n_max=(4, 4), basis_size=(8, 8), l_max=(4, 2, 0),
    neuron=30,
)  # fmt: skip
_EDGE, _GOLDEN_EDGE = 3.61, 4.06  # Å
_MELTING_K = 3500.0


def copper() -> tuple[list[LabelledStructure], list[LabelledStructure]]:
    """Return 80 frames of 32 atoms to train on, and 32 to test on."""
    return _frames(10, 8, seed=1), _frames(8, 4, seed=2)


def copper_gold() -> tuple[list[LabelledStructure], list[LabelledStructure]]:
    """Return 128 frames of 32 atoms to train on, and 32 to test on."""
    return _frames(16, 8, seed=1, alloy=True), _frames(8, 4, seed=2, alloy=True)


def _frames(
    n_runs: int, n_frames: int, *, seed: int, alloy: bool = False
) -> list[LabelledStructure]:
    """Return the frames of runs, each with its own strain, temperature and composition."""
    rng = np.random.default_rng(seed)
    frames = []
    for run in range(n_runs):
        is_melt = run % 4 == 3
        atoms = bulk("Cu", cubic=True, a=_EDGE) * (2, 2, 2)
        stretch = np.eye(3)
        if alloy:
            share = rng.uniform()
            atoms.numbers[rng.permutation(len(atoms))[: round(share * len(atoms))]] = 79
            stretch *= 1.0 + share * (_GOLDEN_EDGE / _EDGE - 1.0)
        temperature = rng.uniform(1300.0, 2200.0) if is_melt else rng.uniform(300.0, 1500.0)
        strain = (0.0 if is_melt else 0.02) * rng.normal(size=(3, 3))
        volume = rng.uniform(0.02, 0.06) if is_melt else rng.uniform(-0.02, 0.04)
        stretch = stretch @ ((1.0 + volume) * np.eye(3) + 0.5 * (strain + strain.T))
        atoms.set_cell(atoms.cell.array @ stretch, scale_atoms=True)
        frames += _trajectory(atoms, temperature, n_frames, rng, is_melt=is_melt)
    return frames


def _trajectory(
    atoms: Atoms, temperature: float, n_frames: int, rng: np.random.Generator, *, is_melt: bool
) -> list[LabelledStructure]:
    """Return frames of one run at constant volume, 60 fs apart."""
    atoms.calc = EMT()
    MaxwellBoltzmannDistribution(atoms, temperature_K=2.0 * temperature, rng=rng)
    run = Langevin(
        atoms,
        3.0 * units.fs,
        temperature_K=_MELTING_K if is_melt else temperature,
        friction=0.02 / units.fs,
        rng=rng,
        fixcm=False,
    )
    if is_melt:
        run.run(300)
        run.set_temperature(temperature_K=temperature)
    run.run(100)
    frames = []
    for _ in range(n_frames):
        run.run(20)
        frame = atoms.copy()
        frame.calc = EMT()
        frame.get_stress()
        frames.append(labelled_from_atoms(frame))
    return frames
