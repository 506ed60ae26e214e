"""Change the budget in a campaign file, and leave everything else in it as it is."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from nepal_flows.campaign.read import LoadedCampaign, load_campaign
from nepal_flows.errors import CampaignError
from nepal_flows.io.replacing import replaced_text

_WIDE = 4096


def change_budget(path: str | Path, **budget: float | None) -> LoadedCampaign:
    """Write a budget into a campaign file, comments kept, and return the campaign.

    Parameters
    ----------
    path
        The campaign file.
    **budget
        New values of the keys of its ``budget`` section; None leaves one as it is.

    Raises
    ------
    CampaignError
        If the file cannot be used, before or after; it is then as it was.
    """
    load_campaign(path)
    changes = {name: value for name, value in budget.items() if value is not None}
    if not changes:
        return load_campaign(path)
    before = Path(path).read_text(encoding="utf-8")
    yaml = YAML()
    yaml.width = _WIDE
    yaml.preserve_quotes = True
    content: Any = yaml.load(before)
    content.setdefault("budget", {}).update(changes)
    with replaced_text(path) as stream:
        yaml.dump(content, stream)
    try:
        return load_campaign(path)
    except CampaignError:
        with replaced_text(path) as stream:
            stream.write(before)
        raise


__all__ = ["change_budget"]
