"""A server of MongoDB's protocol and a site with workers, for all tests of the cluster."""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster_site import Site
from mongo_servers import NoServerError, Server, running_server
from slurm_site import Slurm, running_slurm, why_no_slurm


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server; in CI there must be one."""
    folder = tmp_path_factory.mktemp("server")
    try:
        with running_server(folder) as running:
            yield running
    except NoServerError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def make_site(server: Server) -> Iterator[Callable[..., Site]]:
    """Return a function that sets a site up in a folder, with a database of its own."""
    sites = []

    def make(folder: Path, *answers: str) -> Site:
        name = f"nepal_test_{uuid.uuid4().hex[:12]}"
        sites.append(Site(folder, server, name, answers=answers))
        return sites[-1]

    yield make
    for site in sites:
        site.close()


@pytest.fixture
def site(make_site: Callable[..., Site], tmp_path: Path) -> Site:
    """A site of the test's own."""
    return make_site(tmp_path)


@pytest.fixture
def own_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Return a function that sets a site up with a server of its own, which may be killed."""
    try:
        with running_server(tmp_path) as server:
            if not server.command:
                pytest.skip("the server is not ours to kill")
            sites: list[Site] = []

            def make(*answers: str) -> Site:
                sites.append(Site(tmp_path, server, "nepal_test", answers=answers))
                return sites[-1]

            yield make
            if server.process is None:
                server.start()
            for site in sites:
                site.close()
    except NoServerError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """SLURM's daemons."""
    why_not = why_no_slurm()
    if why_not is not None:
        pytest.skip(why_not)
    with running_slurm(tmp_path_factory.mktemp("slurm")) as running:
        yield running
