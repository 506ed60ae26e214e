"""Who holds a claim or a lock: a process, and whether it still lives."""

import os
import socket
from pathlib import Path


def this_process() -> str:
    """Return a name of this process that no other process ever had: host, boot, pid, start."""
    return f"{_machine()}/{_boot()}/{os.getpid()}/{_start_time(os.getpid())}"


def is_known_dead(owner: str) -> bool:
    """Return whether the process of that name is certainly gone.

    Only processes of this host can be judged; of others the answer is no, their lease decides.
    """
    host, boot, pid, started = [*owner.split("/"), "", "", ""][:4]
    if host != _machine() or not pid.isdigit():
        return False
    return boot != _boot() or _start_time(int(pid)) != started


def process_id_here(owner: str) -> int | None:
    """Return the id of the process of that name, None if it is gone or of another host."""
    host, boot, pid, started = [*owner.split("/"), "", "", ""][:4]
    lives = host == _machine() and boot == _boot() and pid.isdigit()
    return int(pid) if lives and _start_time(int(pid)) == started else None


def _machine() -> str:
    """Return the name of this host, and what tells it from the `node1` of another cluster."""
    file = Path("/etc/machine-id")
    try:
        identity = file.read_text().strip()[:8]
    except OSError:
        identity = ""
    return f"{socket.gethostname()}#{identity}" if identity else socket.gethostname()


def _boot() -> str:
    file = Path("/proc/sys/kernel/random/boot_id")
    return file.read_text().strip()[:8] if file.exists() else "-"


def _start_time(pid: int) -> str:
    """Return when a process began, in clock ticks since boot; empty when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "" if Path("/proc/self/stat").exists() else _alive_without_proc(pid)
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]


def _alive_without_proc(pid: int) -> str:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        return "-"
    return "-"


__all__ = ["is_known_dead", "process_id_here", "this_process"]
