"""A site with workers of three kinds, as a group has it: configurations, a database, rockets.

Commands and workers are processes of their own, called as a person calls them.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from fireworks import LaunchPad
from jobflow import JobStore
from maggma.stores import GridFSStore, MongoStore
from pymongo.database import Database
from pymongo.uri_parser import parse_uri

from mongo_servers import Server
from nepal_flows.campaign.read import load_campaign
from nepal_flows.cluster.configuration import KINDS, cluster_answers, write_cluster_files
from nepal_flows.cluster.launchpad import site_launchpad
from nepal_flows.cluster.queue import CampaignQueue, campaign_queue
from nepal_flows.cluster.submit import Submission, submit_campaign
from nepal_flows.records import Records
from nepal_flows.schemas import CampaignDoc
from nepal_flows.settings import Settings

SECRET = "sw0rdfish"
"""Stands in every configuration beside the password: where it comes to light, that would too."""

BIN = Path(sys.executable).parent
LOST_AFTER_S = 90.0
"""Silence after which a run counts as lost here: a tenth of what configurations say."""

NEPAL = (sys.executable, "-W", "ignore", "-m", "nepal_flows")


class Site:
    """Configuration folders of a login node and three kinds of workers, and a database.

    Parameters
    ----------
    folder
        Where configurations and launches are.
    server
        Holds the database.
    database
        Its name.
    answers
        To further questions of `nepal init --cluster`.
    """

    def __init__(
        self, folder: Path, server: Server, database: str, *, answers: Sequence[str] = ()
    ) -> None:
        self.folder, self.server, self.name = folder, server, database
        self.answers = answers
        self.settings: dict[str, str] = {}
        self.client = server.client()
        self.configs = folder / "configs"
        self._write_configs()

    @property
    def database(self) -> Database:
        """The database, of FireWorks and of the stores alike."""
        return self.client[self.name]

    def nepal(self, *arguments: object, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run a command as on the login node."""
        command = [*NEPAL, *map(str, arguments)]
        process = subprocess.run(
            command,
            env=self.environment("login"),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            cwd=self.folder,
        )
        if code is not None:
            assert process.returncode == code, process.stdout + process.stderr
        return process

    def nepal_json(self, *arguments: object, code: int = 0) -> dict[str, Any]:
        """Return the JSON document of a command."""
        answer: dict[str, Any] = json.loads(self.nepal(*arguments, "--json", code=code).stdout)
        return answer

    @cached_property
    def launchpad(self) -> LaunchPad:
        """The FireWorks database, for use in this process."""
        return site_launchpad(self.configs / "login" / "my_launchpad.yaml")

    @cached_property
    def records(self) -> Records:
        """The store of workers, for use in this process."""
        self.job_store.connect()
        return Records(self.job_store)

    @cached_property
    def job_store(self) -> JobStore:
        """What jobflow.yaml of the workers makes."""
        where = {"database": self.name, "uri": self.server.uri}
        return JobStore(
            MongoStore(collection_name="outputs", **where),
            {
                "records": MongoStore(collection_name="records", **where),
                "blobs": GridFSStore(collection_name="blobs", **where),
            },
        )

    def submit(self, path: Path) -> Submission:
        """Submit a campaign file, without the start of a process that `nepal submit` takes."""
        settings = Settings(label_bundle=2, explore_bundle=1)
        loaded = load_campaign(path)
        return submit_campaign(self.launchpad, self.records, loaded, settings=settings)

    def queue(self) -> CampaignQueue:
        """Return what is in the queue, of the only campaign here."""
        (document,) = self.campaigns()
        return self.queue_of(document.key)

    def queue_of(self, campaign_id: str) -> CampaignQueue:
        """Return what of a campaign is in the queue."""
        return campaign_queue(self.launchpad, campaign_id)

    def campaigns(self) -> list[CampaignDoc]:
        """Return the campaigns on record."""
        return list(self.records.query(CampaignDoc))

    def lpad(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of FireWorks as on the login node."""
        command = [str(BIN / "lpad"), "-c", str(self.configs / "login"), *arguments]
        return subprocess.run(
            command,
            env=self.environment("login"),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def environment(self, kind: str) -> dict[str, str]:
        """Return the environment in which a kind of worker, or the login node, works."""
        folder = self.configs / kind
        return os.environ | {
            "FW_CONFIG_FILE": str(folder / "FW_config.yaml"),
            "JOBFLOW_CONFIG_FILE": str(folder / "jobflow.yaml"),
            "NEPAL_LAUNCHPAD_FILE": str(folder / "my_launchpad.yaml"),
            "PYTHONWARNINGS": "ignore",
            **self.settings,
        }

    def start_worker(self, kind: str, *, name: str = "") -> subprocess.Popen:
        """Start a worker that takes jobs of its kind until it is ended."""
        launches = self.folder / f"launches-{kind}{name}"
        launches.mkdir(exist_ok=True)
        command = [str(BIN / "rlaunch"), "-c", str(self.configs / kind), "rapidfire"]
        with (self.folder / f"worker-{kind}{name}.log").open("ab") as log:
            return subprocess.Popen(
                [*command, "--nlaunches", "infinite", "--sleep", "1"],
                env=self.environment(kind),
                cwd=launches,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start_queue_launcher(self, kind: str) -> subprocess.Popen:
        """Start `qlaunch` for a kind of worker, as its my_qadapter.yaml says."""
        launches = self.folder / f"launches-{kind}"
        launches.mkdir(exist_ok=True)
        reserves = [] if kind == "cpu" else ["-r"]
        most = "1" if kind == "cpu" else "2"
        command = [str(BIN / "qlaunch"), "-c", str(self.configs / kind), *reserves, "rapidfire"]
        with (self.folder / f"qlaunch-{kind}.log").open("ab") as log:
            return subprocess.Popen(
                [*command, "--nlaunches", "infinite", "--sleep", "1", "-m", most],
                env=self.environment(kind),
                cwd=launches,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @contextmanager
    def workers(self, kinds: Sequence[str] = KINDS) -> Iterator[list[subprocess.Popen]]:
        """Let workers of these kinds work while the block lasts."""
        processes = [self.start_worker(kind, name=str(i)) for i, kind in enumerate(kinds)]
        try:
            yield processes
        finally:
            for process in processes:
                end_group(process)

    def wait(self, *, timeout_s: float = 400.0) -> CampaignDoc:
        """Return the only campaign here once nothing of it is queued any more.

        Raises
        ------
        AssertionError
            If a job that failed holds it up, or it takes too long.
        """
        began = time.monotonic()
        while True:
            queue = self.queue()
            if queue.is_empty:
                return self.campaigns()[0]
            if queue.is_blocked or time.monotonic() - began > timeout_s:
                raise AssertionError(f"The campaign does not go on: {queue}\n{self.logs()}")
            time.sleep(0.5)

    def logs(self) -> str:
        """Return the ends of the workers' logs."""
        patterns = ("worker-*.log", "launches-*/**/*.error")
        files = sorted(file for pattern in patterns for file in self.folder.glob(pattern))
        return "\n".join(f"== {file.name}\n{file.read_text()[-2500:]}" for file in files)

    def close(self) -> None:
        """Drop the database."""
        self.client.drop_database(self.name)
        self.client.close()
        if "launchpad" in vars(self):
            self.launchpad.connection.close()
        if "job_store" in vars(self):
            for store in (self.job_store.docs_store, *self.job_store.additional_stores.values()):
                store.close()

    def _write_configs(self) -> None:
        """Write what `nepal init --cluster` writes, with the password where there is one."""
        place = parse_uri(self.server.uri)
        ((host, port),) = place["nodelist"]
        given = [f"host={host}", f"port={port}", f"database={self.name}"]
        given += [f"user={place['username']}"] if place["username"] else []
        files = write_cluster_files(cluster_answers([*given, *self.answers]), self.configs)
        options = place["options"]
        for file in files:
            text = file.read_text()
            text = re.sub("password:.*", f"password: {place['password']}", text)
            text = re.sub("auth_?source:.*", _auth_source(file, options), text)
            text = re.sub(r"({| )(serverSelectionTimeoutMS: \d+)(}?)", _with_secret, text)
            text = text.replace("QUEUE_UPDATE_INTERVAL: 5", "QUEUE_UPDATE_INTERVAL: 1")
            text = text.replace("PING_TIME_SECS: 60 ", "PING_TIME_SECS: 10 ")
            file.write_text(
                text.replace("RUN_EXPIRATION_SECS: 900 ", f"RUN_EXPIRATION_SECS: {LOST_AFTER_S:g} ")
            )


def _with_secret(found: re.Match[str]) -> str:
    """Return an option of the driver with another behind it, in a line or as a block."""
    before, option, after = found.groups()
    return (
        f"{before}{option}, appname: {SECRET}{after}"
        if after
        else (f" appname: {SECRET}\n  {option}")
    )


def _auth_source(file: Path, options: Mapping[str, Any]) -> str:
    name = "authsource" if file.name == "my_launchpad.yaml" else "auth_source"
    return f"{name}: {options.get('authSource', 'admin')}"


def end_group(process: subprocess.Popen) -> None:
    """End a process, and what it started, at once."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


__all__ = ["KINDS", "SECRET", "Site", "end_group"]
