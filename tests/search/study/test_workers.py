"""Several processes on one study share the work: nothing twice, nothing lost but what a killed one was at."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

import pytest

from graphopt.errors import DataError
from graphopt.search.study import Lost, Record, Study, run_workers

from . import toy

_TRIALS = 16


def _shared(place: str, workers: int, dying: str = "") -> tuple[tuple[Record, ...], tuple[Lost, ...]]:
    """The trials of a study that `workers` processes made, and the workers that were lost."""
    ticks = []
    barrier = multiprocessing.get_context("spawn").Barrier(workers)
    lost = run_workers(workers, toy.share, (place, _TRIALS, barrier, dying), tick=lambda: ticks.append(1))
    assert ticks
    with Study.load(toy.place(place)) as study:
        return study.trials(), lost


def test_two_workers_on_a_file(tmp_path: Path) -> None:
    trials, lost = _shared(str(tmp_path / "study.db"), 2)
    assert not lost
    assert [trial.state for trial in trials] == ["complete"] * _TRIALS
    assert {trial.pipeline for trial in trials} == {f"p{number}" for number in range(_TRIALS)}
    assert len({trial.worker for trial in trials}) == 2


def test_four_workers_on_a_server_of_which_one_is_killed(postgresql: str, tmp_path: Path) -> None:
    trials, lost = _shared(f"{postgresql}?study=four", 4, str(tmp_path / "dying"))
    assert len(lost) == 1
    assert lost[0].worker == 0
    assert "killed by SIGKILL" in lost[0].why
    states = Counter(trial.state for trial in trials)
    assert states == {"complete": _TRIALS, "abandoned": 1}
    complete = [trial for trial in trials if trial.state == "complete"]
    assert len({trial.pipeline for trial in complete}) == _TRIALS
    assert len({trial.worker for trial in trials}) == 4
    [dead] = [trial for trial in trials if trial.state == "abandoned"]
    assert sum(trial.worker == dead.worker for trial in complete) == 1  # what it had finished before


def test_workers_that_all_fail() -> None:
    with pytest.raises(DataError, match="no such data"):
        run_workers(3, _fail)


def _fail(index: int) -> NoReturn:
    if index == 0:
        raise DataError("no such data")
    if index == 1:
        raise ValueError("a defect")
    os._exit(3)


def test_an_interrupt_ends_the_workers(tmp_path: Path) -> None:
    def tick() -> None:
        if len(list(tmp_path.iterdir())) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_workers(2, _stay, (str(tmp_path),), tick=tick)
    assert not multiprocessing.active_children()


@pytest.mark.skipif(os.name == "nt", reason="processes are killed by signals")
def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    parent = multiprocessing.get_context("spawn").Process(target=run_workers, args=(1, _stay, (str(tmp_path),)))
    parent.start()
    _wait(lambda: any(tmp_path.iterdir()))
    [file] = tmp_path.iterdir()
    parent.kill()
    parent.join()
    _wait(lambda: not _lives(int(file.name)))


def _stay(index: int, folder: str) -> None:
    Path(folder, str(os.getpid())).touch()
    time.sleep(600)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def _wait(happened: Any) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)
