"""Dead workers are told from those that live."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from types import SimpleNamespace

import pytest

from graphopt.search.study import liveness
from graphopt.search.study.liveness import GRACE_SECONDS, Pulse, this_worker

_here = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only beats are looked at")


@_here
def test_a_process_of_this_machine() -> None:
    me = this_worker()
    assert not Pulse().is_dead(1, me, 0)
    assert Pulse().is_dead(1, {**me, "began": "1"}, 0)  # its number went to another process

    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    process.start()
    assert process.pid is not None
    other = {**me, "pid": process.pid, "began": liveness._began(process.pid)}
    assert not Pulse().is_dead(1, other, 0)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert Pulse().is_dead(1, other, 0)  # a process that has ended and that its parent has not asked for yet
    process.join()
    assert Pulse().is_dead(1, other, 0)


def test_a_worker_elsewhere_lives_while_its_heart_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(liveness, "time", SimpleNamespace(monotonic=lambda: clock.now))
    worker, pulse = {"host": "far", "pid": os.getpid(), "began": "0", "space": "another boot"}, Pulse()
    for beat in range(5):
        assert not pulse.is_dead(1, worker, beat)
        clock.now += GRACE_SECONDS - 1
        assert not pulse.is_dead(1, worker, beat)
    clock.now += 2
    assert pulse.is_dead(1, worker, 4)
    assert not pulse.is_dead(2, worker, 4)  # a trial that is seen for the first time
    assert not pulse.is_dead(1, worker, 5)  # it was only slow


def test_without_process_numbers_beats_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "_space", lambda: "")
    assert not Pulse().is_dead(1, {"host": "x", "pid": 1, "began": "none", "space": ""}, 0)
