"""A foundation model that is to be fine-tuned: does it fit the campaign?"""

from pathlib import Path

from nepal_flows.campaign.model import Campaign
from nepal_flows.campaign.nep_input import nep_input_of
from nepal_flows.errors import InputError, ModelError
from nepal_flows.io.nep_restart import parsed_restart
from nepal_flows.io.nep_txt import read_nep_txt

N_FOUNDATION_ELEMENTS = 89
"""Elements of the one foundation model that `nep` takes: it finds rows by this number."""

_COMPARED = {
    "n_max_radial": "n_max",
    "n_max_angular": "n_max",
    "basis_size_radial": "basis_size",
    "basis_size_angular": "basis_size",
    "l_max": "l_max",
    "has_q_222": "l_max",
    "has_q_1111": "l_max",
    "n_neurons": "neuron",
    "zbl": "zbl",
}


def foundation_problem(campaign: Campaign, folder: Path) -> str | None:
    """Return why the foundation model of a campaign cannot be fine-tuned; None if it can.

    Parameters
    ----------
    campaign
        The campaign, ``model.elements`` filled in.
    folder
        Of the campaign file.
    """
    files = campaign.training.nep.fine_tune
    if campaign.training.trainer != "nep" or files is None:
        return None
    try:
        foundation = read_nep_txt(folder / files.model)
        rows = (folder / files.restart).read_bytes()
        parsed_restart(rows, foundation.architecture.n_parameters)
    except (ModelError, InputError, OSError) as error:
        return str(error)
    theirs, ours = foundation.architecture, nep_input_of(campaign).architecture
    if theirs.n_types != N_FOUNDATION_ELEMENTS:
        return (
            f"`nep` fine-tunes a foundation model of {N_FOUNDATION_ELEMENTS} elements; "
            f"{files.model} has {theirs.n_types}. Leave `fine_tune` out."
        )
    missing = sorted(set(ours.elements) - set(theirs.elements))
    if missing:
        return f"{files.model} does not know {', '.join(missing)}."
    differing = {
        key: (getattr(ours, name), getattr(theirs, name))
        for name, key in _COMPARED.items()
        if getattr(ours, name) != getattr(theirs, name)
    }
    cutoffs = (ours.radial_cutoffs[0], ours.angular_cutoffs[0])
    others = {*zip(theirs.radial_cutoffs, theirs.angular_cutoffs, strict=True)}
    if others != {cutoffs}:
        differing["cutoff_A"] = (cutoffs, sorted(others))
    if not differing:
        return None
    found = "; ".join(f"`model.{key}` is {a}, not {b}" for key, (a, b) in differing.items())
    return f"the shape of a model cannot be changed by fine-tuning {files.model}: {found}"


__all__ = ["N_FOUNDATION_ELEMENTS", "foundation_problem"]
