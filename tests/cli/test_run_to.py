"""`graphopt run` with a pass that is given a goal."""

from __future__ import annotations

from pathlib import Path

from graphopt.cost import find_target, predict
from tests.networks import write_network

from .conftest import Invoke

TARGET = "raspberry-pi-4"


def test_a_goal_is_met_on_the_target(tmp_path: Path, invoke: Invoke) -> None:
    model, output = write_network(tmp_path / "model.onnx"), tmp_path / "small.onnx"
    done = invoke("run", model, "-p", "prune-channels{to=0.6x}", "--target", TARGET, "-o", output)
    assert "predicted latency" in done.output
    target = find_target(TARGET)
    assert predict(output, target).ms <= 0.6 * predict(model, target).ms


def test_a_goal_out_of_reach_is_a_missed_budget(tmp_path: Path, invoke: Invoke) -> None:
    model = write_network(tmp_path / "model.onnx")
    done = invoke("run", model, "-p", "prune-channels{to=0.0001ms}", "--target", TARGET, "-o", tmp_path / "small.onnx", status=1)
    assert "the least that can be reached is" in done.output
    assert not (tmp_path / "small.onnx").exists()


def test_a_goal_that_says_nothing_is_shown_in_the_text(tmp_path: Path, invoke: Invoke) -> None:
    model = write_network(tmp_path / "model.onnx")
    done = invoke("run", model, "-p", "prune-channels{to=soon}", "-o", tmp_path / "small.onnx", status=2)
    assert "'soon'" in done.output
