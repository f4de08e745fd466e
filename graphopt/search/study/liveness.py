"""Whether the worker of a running trial still lives."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

BEAT_SECONDS = 20.0  # how often a worker says that it lives
GRACE_SECONDS = 120.0  # a worker that was silent for so long is dead


def this_worker() -> dict[str, str | int]:
    """This process, so that others can tell whether it lives: host, process, when it began, and whose process numbers these are.

    The numbers are those of one boot and one process namespace: a container of the same machine counts its own.
    """
    pid = os.getpid()
    return {"host": socket.gethostname(), "pid": pid, "began": _began(pid) or "", "space": _space()}


def shown(worker: Mapping[str, Any]) -> str:
    return f"{worker.get('host', '?')}:{worker.get('pid', '?')}"


class Pulse:
    """Tells dead workers by what this process sees of them.

    A worker whose process numbers are ours is looked up: it is dead where the process is gone, or another has its number. Of any other
    worker only beats are seen; it is dead once its beat has stood still for `GRACE_SECONDS` of our clock. Clocks of two machines are never
    compared.
    """

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, float]] = {}  # by trial: its last beat, and when we first saw that

    def is_dead(self, trial: int, worker: Mapping[str, Any], beat: int) -> bool:
        """Whether the worker of `trial` is dead, whose last beat is the count `beat`."""
        space = _space()
        if space and worker.get("space") == space:
            return not _runs(int(worker["pid"]), str(worker["began"]))
        now = time.monotonic()
        last, since = self._seen.get(trial, (-1, now))
        if last != beat:
            since = now
        self._seen[trial] = beat, since
        return now - since > GRACE_SECONDS


@cache
def _space() -> str:
    """What process numbers of this process mean: the boot and the process namespace; empty where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return ""


def _runs(pid: int, began: str) -> bool:
    try:
        os.kill(pid, 0)  # signal 0 only asks; not so on Windows, which has no `_space` and does not come here
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    found = _began(pid)
    return found is None or found == began


def _began(pid: int) -> str | None:
    """When a process began, in ticks since the boot; "dead" for one that has ended and is only kept for its parent; None where unknown."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *rest = text.rpartition(")")[2].split()  # the name before it may hold anything
    return "dead" if state in "ZX" else rest[18]
