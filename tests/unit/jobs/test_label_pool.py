"""How many labels are made side by side is the site's to say; one where each takes all cores."""

from types import SimpleNamespace

import pytest

from nepal_flows.engines.pool import close_shared_pool
from nepal_flows.jobs.labeler import label_pool


@pytest.fixture(autouse=True)
def closed():
    yield
    close_shared_pool()


@pytest.mark.parametrize(
    ("code", "site", "expected"),
    [("vasp", None, 1), ("cp2k", None, 3), ("cp2k", "1", 1), ("vasp", "2", 2), ("ase", None, 3)],
)
def test_labels_under_mpi_do_not_share_a_job_side_by_side(monkeypatch, code, site, expected):
    if site is not None:
        monkeypatch.setenv("NEPAL_LABEL_WORKERS", site)
    campaign = SimpleNamespace(
        labels=SimpleNamespace(code=code), resources=SimpleNamespace(workers=3)
    )
    assert label_pool(campaign).n_workers == expected
