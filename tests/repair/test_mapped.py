"""Arrays that are mapped from files give back the memory, and are read again as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import graphopt.ir as ir
from graphopt.repair import calibration
from graphopt.repair.mapped import let_go, runs
from tests.networks import network


@pytest.fixture
def file(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((70, 3, 8, 8), np.float32))
    return tmp_path / "x.npy"


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_what_was_read_or_written_stays(file: Path, mode: str) -> None:
    array = np.load(file, mmap_mode=mode)
    if mode != "r":
        array[3] = 7
    wanted = np.array(array)
    let_go([array, array[2:5], np.asarray(array)[1:], np.zeros(3)])
    assert np.array_equal(array, wanted)


def test_runs_are_those_of_the_data(file: Path) -> None:
    array = np.load(file, mmap_mode="r")
    data = calibration(ir.Graph.from_proto(network()), {"image": array})
    assert np.array_equal(np.concatenate([feeds["image"] for feeds in runs(data)]), np.load(file))


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="tells by Linux's own account")
def test_nothing_that_was_read_stays_in_memory(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((2000, 3, 8, 8), np.float32))
    array = np.load(tmp_path / "x.npy", mmap_mode="r")

    def resident() -> int:
        lines = iter(Path("/proc/self/smaps").read_text().splitlines())
        return sum(int(next(line for line in lines if line.startswith("Rss:")).split()[1]) for line in lines if line.endswith("/x.npy"))

    assert float(array.sum()) == array.size
    before = resident()
    data = calibration(ir.Graph.from_proto(network()), {"image": array})
    for _ in runs(data):
        pass
    assert resident() < before / 4
