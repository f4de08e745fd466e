"""A small model with data, and ways to call the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import graphopt
from graphopt.cli import main

from ..networks import write_data, write_network
from ..search.fakes import computed_target, fake_cpu

Invoke = Callable[..., Result]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The network of tests/networks.py in the current folder."""
    monkeypatch.chdir(tmp_path)
    return write_network(Path("model.onnx"))


@pytest.fixture
def data(model: Path) -> Path:
    return write_data(Path("data.npz"))


@pytest.fixture
def invoke() -> Invoke:
    """`invoke("run", path, ..., status=0)`: the result of a command, whose exit status is checked; a traceback never shows."""

    def call(*arguments: object, status: int = 0) -> Result:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == status, result.output
        assert "Traceback" not in result.output
        return result

    return call


@pytest.fixture
def invoke_json(invoke: Invoke) -> Callable[..., Any]:
    """The same with --json: what stdout, all of it, holds."""
    return lambda *arguments, status=0: json.loads(invoke(*arguments, "--json", status=status).stdout)


@pytest.fixture
def computed(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`optimize` computes latency and quality from the MACs, and predictions by a formula."""
    computed_target(monkeypatch)
    monkeypatch.setattr("graphopt.search.setup.CpuBench", fake_cpu(graph=graphopt.load(model)))
