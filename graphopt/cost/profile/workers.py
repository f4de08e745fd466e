"""Jobs for worker processes, and what comes back of them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from graphopt.errors import DefectError

_STALLED = 120.0  # seconds without a result after which a worker is given up
_CRASHED = "it ended the process (ONNX Runtime crashed)"
_SLOW = f"no result within {_STALLED:g} s"


def kernel_results(signatures: Sequence[str], settings: Mapping[str, Any]) -> Generator[Mapping[str, Any], None, None]:
    """Results for all signatures, whatever happens to the process: `signature` with `ms`, `runs` and the `canary` then, or with `error`."""
    left = list(signatures)
    while left:
        at: str | None = None
        why = _CRASHED
        for result in _lines({"do": "kernels", "signatures": left, **settings}):
            if "stalled" in result:
                why = _SLOW
            elif "start" in result:
                at = result["signature"]
            elif "signature" in result:
                left.remove(result["signature"])
                at = None
                yield result
        if not left:
            return
        if at is None:
            raise DefectError(
                "the process that measures kernels ended before it began; run `python -m graphopt.cost.profile.worker` to see why"
            )
        left.remove(at)
        yield {"signature": at, "error": why}


def network_results(paths: Sequence[str], settings: Mapping[str, Any]) -> Generator[Mapping[str, Any], None, None]:
    """Results for all files: `path` with `runs` and the `canary` beside them, or with `error`; and `loaded` once before."""
    left = list(paths)
    while left:
        at: str | None = None
        finished = False
        why = _CRASHED
        for result in _lines({"do": "networks", "paths": left, **settings}):
            if "stalled" in result:
                why = _SLOW
            elif "start" in result:
                at = result["path"]
            elif "path" in result:
                left.remove(result["path"])
                yield result
            elif "loaded" in result:
                yield result
            finished = finished or "done" in result
        if finished or not left:
            return
        if at is None or at not in left:
            raise DefectError("the process that measures networks ended early; run `python -m graphopt.cost.profile.worker` to see why")
        left.remove(at)
        yield {"path": at, "error": why}


def _lines(job: Mapping[str, Any]) -> Generator[dict[str, Any], None, None]:
    """What a worker writes, until it ends; `stalled` where it was ended because nothing came any more."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as stdin:
        stdin.write(json.dumps(job))
        stdin.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-m", "graphopt.cost.profile.worker"],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
        )
    assert process.stdout is not None
    stalled = threading.Event()

    def give_up() -> None:
        stalled.set()
        process.kill()

    patience = _STALLED + float(job.get("seconds", 0.0))
    try:
        timer = _timer(patience, give_up)
        for line in process.stdout:
            timer.cancel()
            with suppress(json.JSONDecodeError):  # half a line of a process that was killed
                yield json.loads(line)
            timer = _timer(patience, give_up)
        timer.cancel()
        if stalled.is_set():
            yield {"stalled": True}
    finally:
        timer.cancel()
        process.kill()
        process.stdout.close()
        process.wait()


def _timer(seconds: float, give_up: Any) -> threading.Timer:
    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    return timer
