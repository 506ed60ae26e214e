"""A server that speaks MongoDB's protocol, for tests: 127.0.0.1, a free port, a temporary folder.

The first of these that can be had:

1. what ``NEPAL_TEST_MONGO_URI`` names (a service in a hosted CI; each test has its own database);
2. ``mongod``, where it is on PATH: the real thing;
3. mongo-java-server with its H2 back end (BSD, from Maven Central; needs a JDK and Maven).

What was measured of the stand-ins, with FireWorks 2.1 and four processes side by side:

- mongo-java-server 1.47 is atomic in ``find_one_and_update`` and ``replace_one`` (1200 of 1200
  values of a counter distinct, no job taken twice); it knows ``$lookup``, ``$elemMatch`` of
  documents, partial and unique indexes, GridFS, and the driver refuses documents above 16 MB. It
  lacks the stage ``$set`` of aggregations, so that `lpad get_fws` and `get_wflows` fail when they
  sort by date (``-s created_on``), and the command ``hello``. A write is on disk within a second:
  after kill -9 of the server the last second may be gone, where MongoDB loses at most 100 ms.
- FerretDB 1.24 with SQLite runs a single worker, but is not used here: it is *not* atomic (433 of
  1200 values distinct; 300 jobs were taken 839 times; 509 of 300 claims granted), and it lacks
  ``$lookup`` and ``$elemMatch`` of documents (`lpad detect_lostruns`, `detect_unreserved`) and
  partial indexes.
"""

import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pymongo import MongoClient
from pymongo.errors import PyMongoError

URI_VARIABLE = "NEPAL_TEST_MONGO_URI"
JAVA_SERVER = Path(__file__).with_name("mongo_java_server")
HOST = "127.0.0.1"


class NoServerError(RuntimeError):
    """No server can be had on this machine."""


@dataclass
class Server:
    """A server, which can be killed and started again on its port and data.

    Attributes
    ----------
    kind
        ``uri``, ``mongod`` or ``mongo-java-server``.
    uri
        Where it is.
    command, log
        How it is started, and where its output goes; no command for a server of others.
    """

    kind: str
    uri: str
    command: tuple[str, ...] = ()
    log: Path | None = None
    process: subprocess.Popen | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it, and return once it answers."""
        if self.command:
            assert self.log is not None
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(
                    self.command, stdout=log, stderr=log, start_new_session=True
                )
        began = time.monotonic()
        while True:
            try:
                with MongoClient(self.uri, serverSelectionTimeoutMS=1000) as client:
                    client.admin.command("ping")
            except PyMongoError as error:
                died = self.process is not None and self.process.poll() is not None
                if died or time.monotonic() - began > 60.0:
                    output = self.log.read_text()[-2000:] if self.log else ""
                    raise NoServerError(
                        f"{self.kind} does not answer: {error}\n{output}"
                    ) from error
                time.sleep(0.1)
            else:
                return

    def stop(self, *, kill: bool = False) -> None:
        """End it, politely or with kill -9; by its own process id."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def client(self) -> MongoClient:
        """Return a client of it."""
        return MongoClient(self.uri, serverSelectionTimeoutMS=5000)


@contextmanager
def running_server(folder: Path) -> Iterator[Server]:
    """Yield the first server that can be had; ours ends with the block.

    Raises
    ------
    NoServerError
        If there is none; the message says what to install.
    """
    server = _server(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _server(folder: Path) -> Server:
    if os.environ.get(URI_VARIABLE):
        return Server("uri", os.environ[URI_VARIABLE])
    port = free_port()
    uri = f"mongodb://{HOST}:{port}/"
    log = folder / "server.log"
    if shutil.which("mongod"):
        data = folder / "data"
        data.mkdir()
        command = ("mongod", "--bind_ip", HOST, "--port", str(port), "--dbpath", str(data))
        return Server("mongod", uri, command, log)
    if shutil.which("javac") and shutil.which("mvn"):
        jars = java_server_jars()
        start = ("java", "-Xmx512m", "-cp", f"{jars}/*", str(JAVA_SERVER / "Server.java"))
        return Server("mongo-java-server", uri, (*start, str(port), str(folder / "data.mv")), log)
    raise NoServerError(
        f"No server of MongoDB's protocol: set {URI_VARIABLE}, or install mongod, or a JDK and "
        "Maven (Debian: default-jdk-headless maven)."
    )


def java_server_jars() -> Path:
    """Return the folder with mongo-java-server and what it needs, fetched once per user."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "nepal_flows" / "mongo-java-server-1.47.0"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    fetched = folder.with_name(f"{folder.name}.{os.getpid()}")
    command = [
        "mvn",
        "-q",
        "-B",
        "-f",
        str(JAVA_SERVER / "pom.xml"),
        "dependency:copy-dependencies",
    ]
    process = subprocess.run(
        [*command, f"-DoutputDirectory={fetched}", "-DincludeScope=runtime"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if process.returncode:
        raise NoServerError(f"mvn could not fetch mongo-java-server:\n{process.stdout[-2000:]}")
    if not folder.is_dir():  # somebody else may have been quicker
        fetched.rename(folder)
    return folder


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def listening_addresses(pid: int) -> set[str]:
    """Return the addresses at which a process waits for connections."""
    sockets = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            sockets.add(str(descriptor.readlink()))
        except OSError:  # closed meanwhile
            continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENS and f"socket:[{fields[9]}]" in sockets:
                found.add(_address(fields[1].split(":")[0]))
    return found


_LISTENS = "0A"


def _address(text: str) -> str:
    """Return an address of /proc/net/tcp: words of four bytes, each in this machine's order."""
    words = [bytes.fromhex(text[i : i + 8])[::-1] for i in range(0, len(text), 8)]
    address = ipaddress.ip_address(b"".join(words))
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
