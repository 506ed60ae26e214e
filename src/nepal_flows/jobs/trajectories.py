"""Trajectories of dynamic training: where they were interrupted, and what interrupts them."""

import numpy as np

from nepal_flows.campaign import Campaign
from nepal_flows.campaign.criterion import EV_PER_MEV, believed_ratio
from nepal_flows.core.structure import Structure
from nepal_flows.engines.trigger import MdState, Trigger
from nepal_flows.io.frames import pack_arrays, unpack_arrays
from nepal_flows.records import Records
from nepal_flows.schemas import BlobRef, CampaignState, ExplorationDoc, IterationDoc


def interrupted_runs(
    records: Records, campaign: Campaign, state: CampaignState
) -> dict[tuple[str, int], ExplorationDoc]:
    """Return the runs of the last iteration that go on in this one, by condition and replica.

    A confirmation begins anew, in larger cells and with unused seeds.
    """
    if campaign.exploration.dynamic is None or state.phase == "confirmation":
        return {}
    if state.previous_iteration_key is None:
        return {}
    before = records.load(IterationDoc, state.previous_iteration_key)
    runs = [records.load(ExplorationDoc, key) for key in before.exploration_keys]
    return {
        (run.condition, run.replica): run
        for run in runs
        if run.end_state is not None and not run.is_confirmation
    }


def trigger_of(campaign: Campaign, state: CampaignState) -> Trigger | None:
    """Return what interrupts the trajectories of a round; nothing does in a confirmation."""
    section = campaign.exploration.dynamic
    if section is None or state.phase == "confirmation":
        return None
    return Trigger(
        limit=EV_PER_MEV * section.limit_meV_per_A,
        gap_steps=section.gap_steps,
        factor=section.factor if section.rule == "relative" else None,
        floor=EV_PER_MEV * section.floor_meV_per_A,
        average_steps=section.average_steps,
        score=believed_ratio(campaign),
    )


def stored_state(records: Records, state: MdState | None) -> BlobRef | None:
    """Return where the state of an interrupted trajectory was stored."""
    if state is None:
        return None
    structure = state.structure
    arrays = {
        "numbers": structure.numbers,
        "positions": structure.positions,
        "cell": structure.cell,
        "pbc": np.array(structure.pbc),
        "velocities": state.velocities,
        "step": np.array([state.step]),
        "first_volume": np.array([state.first_volume]),
    }
    return records.blobs.put(pack_arrays(arrays), "state.npz")


def loaded_state(records: Records, run: ExplorationDoc | None) -> MdState | None:
    """Return where an interrupted run stands."""
    if run is None or run.end_state is None:
        return None
    arrays = unpack_arrays(records.blobs.get(run.end_state))
    x, y, z = (bool(value) for value in arrays["pbc"])
    structure = Structure(arrays["numbers"], arrays["positions"], arrays["cell"], (x, y, z))
    first_volume = float(arrays["first_volume"][0])
    return MdState(structure, arrays["velocities"], int(arrays["step"][0]), first_volume)


__all__ = ["interrupted_runs", "loaded_state", "stored_state", "trigger_of"]
