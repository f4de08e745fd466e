from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graphopt.cost.profile import SESSIONS
from graphopt.cost.profile.store import Record
from graphopt.cost.target import Target

from ..cost.fakes import FakeMachine
from .conftest import Invoke


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    return FakeMachine(monkeypatch)


def test_a_profile_for_a_model_says_how_to_use_it(model: Path, machine: FakeMachine, invoke: Invoke) -> None:
    result = invoke("profile", "--for", model, "-o", "board")
    assert f"graphopt predict {model} --target ./board" in result.stdout
    assert "whole networks" in result.stdout
    assert Target.load("board").name == "board"
    assert "ms" in invoke("predict", model, "--target", "./board").stdout


def test_json_tells_the_folder_the_host_and_what_was_measured(model: Path, machine: FakeMachine, invoke_json: Callable[..., Any]) -> None:
    found = invoke_json("profile", "--for", model)
    assert found["folder"] == "model-cpu"
    assert found["host"]["provider"] == "CPUExecutionProvider"
    assert found["kernels"] > 5
    assert found["networks"] > 5


def test_a_generic_profile_goes_to_a_folder_called_after_the_provider(model: Path, machine: FakeMachine, invoke: Invoke) -> None:
    invoke("profile", "--generic", "--seconds", "5")
    assert Target.load("cpu").kernels


def test_open_dimensions_are_fixed_as_asked(model: Path, machine: FakeMachine, invoke: Invoke) -> None:
    invoke("profile", "--for", model, "--shape", "batch=5", "-o", "five")
    assert {sig.outputs[0].shape[0] for sig, _ in Target.load("five").networks[0].kernels} == {5}


def test_the_same_command_goes_on_and_does_nothing_twice(model: Path, machine: FakeMachine, invoke: Invoke) -> None:
    invoke("profile", "--for", model)
    count = len(machine.kernels)
    invoke("profile", "--for", model)
    assert len(machine.kernels) == count


def test_rounds_that_are_left_are_said(model: Path, machine: FakeMachine, invoke: Invoke) -> None:
    once = invoke("profile", "--for", model, "--rounds", "1")
    assert f"{SESSIONS - 1} of {SESSIONS} rounds are left" in once.stderr
    assert "rounds are left" not in invoke("profile", "--for", model, "--rounds", SESSIONS - 1).stderr


def test_a_provider_that_is_not_installed_is_an_error_that_lists_those_that_are(model: Path, invoke: Invoke) -> None:
    result = invoke("profile", "--for", model, "--provider", "warp", status=2)
    assert "offers no provider 'warp'" in result.stderr
    assert "CPUExecutionProvider" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "either --for MODEL or --generic"),
        (["--for", "model.onnx", "--generic"], "either --for MODEL or --generic"),
        (["--generic", "--seconds", "5", "--minutes", "1"], "give one of them"),
        (["--for", "missing.onnx"], "missing.onnx"),
        (["--for", "model.onnx", "-o", "model.onnx"], "a target is a folder"),
        (["--for", "model.onnx", "-o", "nowhere/board"], "there is no folder"),
        (["--for", "model.onnx", "--shape", "nothing=3"], "nothing"),
        (["--generic", "--precision", "int3"], "int3"),
    ],
)
def test_bad_usage_is_said_before_anything_is_measured(
    model: Path, machine: FakeMachine, invoke: Invoke, arguments: list[str], words: str
) -> None:
    assert words in invoke("profile", *arguments, status=2).stderr
    assert machine.kernels == []


def test_a_folder_of_another_runtime_version_is_refused(model: Path, machine: FakeMachine, invoke: Invoke, monkeypatch: Any) -> None:
    invoke("profile", "--for", model)
    monkeypatch.setattr("onnxruntime.__version__", "0.0.1")
    assert "write to another folder" in invoke("profile", "--for", model, status=2).stderr
    assert Record.load(Path("model-cpu")) is not None


def test_a_runtime_that_fuses_otherwise_than_the_rules_is_noted(
    model: Path, machine: FakeMachine, invoke: Invoke, invoke_json: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "rules" not in invoke("profile", "--for", model, "-o", "before").output
    machine.fuse_otherwise(monkeypatch)
    assert "the fusion rules onnxruntime-cpu differ from onnxruntime" in " ".join(invoke("profile", "--for", model).output.split())
    found = invoke_json("profile", "--for", model)["rules"]
    assert 0 < found["differing"] < found["kernels"]
