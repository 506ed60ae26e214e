"""Which campaign a command is about where a server holds those of everybody."""

import pytest

from nepal_flows.cli import locate
from nepal_flows.errors import CampaignError


class Shared:
    """A store with campaigns of others."""

    def rows(self, _):
        return [{"name": "iron"}, {"name": "copper"}]


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(locate, "uses_server", lambda: True)
    monkeypatch.setattr(locate, "server_records", Shared)
    return tmp_path


def test_nothing_named_is_the_file_of_the_working_directory(server, monkeypatch):
    (server / "campaign.yaml").write_text("version: 1\nname: mine\n")
    asked = []

    def directory(target, *, takes_names):
        asked.append((target, takes_names))
        raise CampaignError("far enough")

    monkeypatch.setattr(locate, "_directory", directory)
    with pytest.raises(CampaignError, match="far enough"):
        locate.located_campaign(None)
    assert asked == [(server / "campaign.yaml", True)]


def test_no_campaign_of_others_is_taken_where_nothing_is_named(server):
    with pytest.raises(CampaignError, match=r"no campaign.yaml.*on record: copper, iron"):
        locate.located_campaign(None)
