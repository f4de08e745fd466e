from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper

from graphopt.search import Effort

from ..networks import CHANNELS, network
from .conftest import Invoke

Json = Callable[..., Any]


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure shortly: no test looks at how long anything took."""
    monkeypatch.setattr("graphopt.cli.compare.SURE", Effort(2, 0.01, 1.0))


@pytest.fixture
def smaller(model: Path, invoke: Invoke) -> Path:
    invoke("run", model, "-p", "prune-channels", "-o", "smaller.onnx")
    return Path("smaller.onnx")


def test_a_model_is_like_itself(model: Path, invoke_json: Json) -> None:
    found = invoke_json("compare", model, model, "--threads", "1")
    assert found["fidelity"] == 1
    assert found["outputs"] == [{"name": "logits", "largest": 0, "fidelity": 1}]
    assert found["measured"]["threads"] == 1
    assert "no data was given: outputs are compared on made-up inputs, which is only an indication" in found["notes"]
    assert {name: value for name, value in found["before"].items() if name != "latency_ms"} == {
        name: value for name, value in found["after"].items() if name != "latency_ms"
    }


def test_a_smaller_model(model: Path, smaller: Path, data: Path, invoke: Invoke, invoke_json: Json) -> None:
    found = invoke_json("compare", model, smaller, "--data", data)
    assert found["after"]["macs"] < found["before"]["macs"]
    assert 0 <= found["fidelity"] < 1
    assert found["outputs"][0]["largest"] > 0
    assert found["before"]["quality"] == 1
    assert found["after"]["quality"] == found["fidelity"]
    assert found["samples"] == 12
    text = invoke("compare", model, smaller, "--data", data).stdout
    for words in ("fidelity", "MACs", "parameters", "size", "as fast", "logits", "12 samples"):
        assert words in text


def test_a_metric(model: Path, smaller: Path, data: Path, invoke_json: Json) -> None:
    found = invoke_json("compare", model, smaller, "--data", data, "--metric", "top1")
    with np.load(data) as arrays:
        classes = len(arrays["labels"])
    assert found["metric"] == "top1"
    assert (found["before"]["quality"] * classes) == pytest.approx(round(found["before"]["quality"] * classes))
    assert found["notes"] == ["MACs are counted with dimension 'batch' taken as 1"]


def test_an_output_of_another_shape(model: Path, invoke: Invoke) -> None:
    other = network()
    for name, shape in (("head.weight", (3, CHANNELS)), ("head.bias", (3,))):
        tensor = next(tensor for tensor in other.graph.initializer if tensor.name == name)
        tensor.CopyFrom(numpy_helper.from_array(np.zeros(shape, np.float32), name))
    other.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3
    Path("other.onnx").write_bytes(other.SerializeToString())
    line = next(line for line in invoke("compare", model, "other.onnx").stdout.splitlines() if line.startswith("logits"))
    assert line.split() == ["logits", "-", "0"]
