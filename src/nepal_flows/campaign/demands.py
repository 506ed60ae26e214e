"""What of a campaign file makes a difference to results, for keys.

Settings of an engine that does not run, limits of time, and keys that are younger than stored
documents and not set, are left out, so that keys stay what they were.
"""

from collections.abc import Collection
from typing import Any

from nepal_flows.campaign.model import Campaign


def demanded_sections(campaign: Campaign, sections: Collection[str]) -> dict[str, Any]:
    """Return sections of a campaign as plain JSON values, without what changes no result."""
    dumped = campaign.model_dump(mode="json", include=set(sections))
    exploration = dumped.get("exploration")
    if exploration is not None:
        del exploration["gpumd"]
        for condition in exploration["conditions"]:
            if condition["run_in"] is None:
                del condition["run_in"]
    training = dumped.get("training")
    if training is not None:
        if campaign.training.trainer == "native":
            del training["nep"]
        else:
            for name in ("time_limit_s", "checkpoint_interval_s"):
                del training["nep"][name]
    selection = dumped.get("selection")
    for name in ("bayes", "committee"):
        if selection is not None and name not in campaign.selection.criteria:
            selection.pop(name, None)
    return dumped


def demanded_criterion(campaign: Campaign) -> dict[str, Any]:
    """Return the criteria with their limits as plain JSON values; nothing for the grade alone."""
    selection = campaign.selection
    if selection.criterion == "grade":
        return {}
    limits = {
        "grade": {},  # its limits are in the section `exploration`
        "bayes": selection.bayes.model_dump(mode="json"),
        "committee": selection.committee.model_dump(mode="json"),
    }
    return {"criterion": {name: limits[name] for name in selection.criteria}}


__all__ = ["demanded_criterion", "demanded_sections"]
