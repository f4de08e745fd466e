"""`graphopt optimize --supernet`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import graphopt
from graphopt.report import schema
from graphopt.supernet import schema as supernet_schema

from .conftest import Invoke

EXAMPLES = Path(__file__).parents[2] / "examples" / "supernets"
MODEL, SIDE_FILE = EXAMPLES / "hat_encoder.onnx", EXAMPLES / "hat_encoder.supernet.json"


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke) -> Any:
    """The command for a target that is predicted, with few trials and options more."""
    monkeypatch.chdir(tmp_path)
    np.savez("data.npz", tokens=np.random.default_rng(0).integers(0, 40, (12, 16)))

    def run(*more: str, status: int = 0, to: str = "sub.onnx") -> Any:
        fixed = ("--supernet", SIDE_FILE, "--target", "jetson-nano", "--trials", "8", "--data", "data.npz", "-o", to)
        return invoke("optimize", MODEL, *fixed, *more, status=status)

    return run


def test_a_subnet_with_its_configuration(call: Any, invoke: Invoke) -> None:
    result = call("--speedup", "1.2", "--report", "r.json")
    assert "predicted for jetson-nano" in result.stdout
    assert "the best of 8 subnets that were run" in result.stdout
    assert "wrote sub.onnx and sub.config.json" in result.stdout
    graphopt.verify(graphopt.load("sub.onnx"))
    config, report = json.loads(Path("sub.config.json").read_text()), json.loads(Path("r.json").read_text())
    jsonschema.validate(config, supernet_schema("config"))
    jsonschema.validate(report, schema())
    assert report["after"]["latency_ms"] <= report["before"]["latency_ms"] / 1.2
    (step,) = report["steps"]
    assert "config=sub.config.json" in step["pass"]
    invoke("extract", MODEL, "--supernet", SIDE_FILE, "--config", "sub.config.json", "-o", "again.onnx")
    assert Path("again.onnx").read_bytes() == Path("sub.onnx").read_bytes()


def test_json(call: Any) -> None:
    record = json.loads(call("--speedup", "1.2", "--json", "--strategy", "random", "--judge", "evaluator").stdout)
    assert record["missed"] is None
    assert len(record["subnets"]) <= 8
    assert record["rank_correlation"] is None
    assert record["config"] == json.loads(Path("sub.config.json").read_text())


def test_a_budget_that_is_missed(call: Any) -> None:
    result = call("--speedup", "100", status=1)
    assert "the budget is missed: no subnet was found that takes 1/100 of the original's time: the fastest, layers=1" in result.stderr
    assert not Path("sub.onnx").exists()
    assert not Path("sub.config.json").exists()
    assert "holds the best subnet all the same" in call("--speedup", "100", "--best-effort", status=1).stderr
    assert json.loads(Path("sub.config.json").read_text())["layers"] == 1


def test_options_that_do_not_go_together(call: Any, invoke: Invoke) -> None:
    result = call("--speedup", "1.2", "--params", "2M", "--workers", "2", status=2)
    assert "--params, --workers cannot be combined with --supernet" in " ".join(result.stderr.split())
    result = invoke("optimize", MODEL, "--judge", "evaluator", "--speedup", "2", "-o", "x.onnx", status=2)
    assert "--judge says something about subnets, so it needs --supernet" in " ".join(result.stderr.split())
    assert "give --latency or --speedup" in call(status=2).stderr
    assert "there are evolve, random, tpe" in call("--speedup", "1.2", "--strategy", "grid", status=2).stderr
    assert "is no list of image sizes" in call("--speedup", "1.2", "--image-sizes", "a,b", status=2).stderr
    assert "input is missing, and image sizes are to be chosen from" in call("--speedup", "1.2", "--image-sizes", "32", status=2).stderr
    assert "cannot both be written" in call("--speedup", "1.2", "--report", "sub.config.json", status=2).stderr
