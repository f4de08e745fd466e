from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

import graphopt
from graphopt.cost import count

from ..networks import CHANNELS, network
from .conftest import Invoke


def test_an_overview(model: Path, invoke: Invoke) -> None:
    text = invoke("inspect", model).stdout
    for words in (
        "IR 8, ai.onnx 17",
        "made by     tests",
        "image: float32 [batch, 3, 8, 8]",
        "logits: float32 [batch, 4]",
        "8: Conv 2, Relu 2, BatchNormalization 1",
        "prunable: 99 % of parameters",
    ):
        assert words in text
    assert "conv1" not in text


def test_nodes(model: Path, invoke: Invoke) -> None:
    lines = invoke("inspect", model, "--nodes").stdout.splitlines()
    conv = next(line for line in lines if line.startswith("conv2 "))
    assert conv.split() == ["conv2", "Conv", f"1x{CHANNELS}x8x8", f"{9 * CHANNELS**2 + CHANNELS:,}", f"{9 * CHANNELS**2 * 64:,}"]
    assert next(line for line in lines if line.startswith("pool ")).split() == ["pool", "GlobalAveragePool", f"1x{CHANNELS}x1x1"]


def test_groups(model: Path, invoke: Invoke) -> None:
    text = invoke("inspect", model, "--groups").stdout
    assert "conv1.weight:0" in text
    assert "graph output" in text
    assert "output 'logits'" in text
    assert text.rstrip().endswith("prunable: 99 % of parameters")


def test_json(model: Path, invoke_json: Callable[..., Any]) -> None:
    record = invoke_json("inspect", model, "--nodes", "--groups")
    counted = count(graphopt.load(model))
    assert (record["params"], record["macs"], record["bytes"]) == (counted.params, counted.macs, counted.bytes)
    assert record["opsets"] == {"ai.onnx": 17}
    assert record["operators"]["Conv"] == 2
    assert record["inputs"] == {"image": "float32 [batch, 3, 8, 8]"}
    assert [node["name"] for node in record["nodes"]][:2] == ["conv1", "bn"]
    assert sum(node["macs"] for node in record["nodes"]) == record["macs"]
    frozen = {group["name"]: group["frozen"] for group in record["groups"]}
    assert frozen["conv1.weight:0"] is None
    assert frozen["head.weight:0"] == {"where": "output 'logits'", "why": "graph output"}
    assert record["prunable"] == pytest.approx(record["prunable_params"] / record["params"])
    assert not {"nodes", "groups"} & set(invoke_json("inspect", model))


def test_old_files_list_their_weights_among_the_inputs(model: Path, invoke_json: Callable[..., Any]) -> None:
    old = network()
    old.ir_version = 3
    for tensor in old.graph.initializer:
        old.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    Path("old.onnx").write_bytes(old.SerializeToString())
    assert list(invoke_json("inspect", "old.onnx")["inputs"]) == ["image"]


def test_names_that_look_like_markup_or_cannot_be_shown(model: Path, invoke: Invoke) -> None:
    odd = network()
    odd.graph.node[0].name = "[bold]conv[/bold] :smile: \N{SNOWMAN}"
    Path("odd.onnx").write_bytes(odd.SerializeToString())
    assert "[bold]conv[/bold] :smile: \N{SNOWMAN}" in invoke("inspect", "odd.onnx", "--nodes").stdout


def test_what_cannot_be_counted_is_said(model: Path, invoke: Invoke) -> None:
    strange = network()
    strange.graph.node.add(op_type="Mystery", domain="com.example", input=["r1"], output=["s"])
    strange.opset_import.add(domain="com.example", version=1)
    Path("strange.onnx").write_bytes(strange.SerializeToString())
    result = invoke("inspect", "strange.onnx", "--nodes")
    assert "Note: MACs leave out nodes that cannot be counted: 1 x com.example.Mystery" in result.stderr
    assert next(line for line in result.stdout.splitlines() if "'→ s'" in line).split()[-1] == "?"


def test_the_coupling_as_a_picture(model: Path, invoke: Invoke) -> None:
    assert "wrote coupling.dot" in invoke("inspect", model, "--dot", "coupling.dot").stdout
    drawing = Path("coupling.dot").read_text()
    assert '"conv2.weight" -- g0' in drawing
    assert drawing.count("shape=ellipse") == 2  # the two groups that can be pruned
    assert "no folder" in invoke("inspect", model, "--dot", "nowhere/coupling.dot", status=2).output


def test_costs(model: Path, invoke: Invoke) -> None:
    result = invoke("inspect", model, "--cost")
    lines = result.stdout.splitlines()
    table = [line.split()[0] for line in lines[next(i for i, line in enumerate(lines) if line.startswith("node ")) + 1 :]]
    assert table[0] == "conv2"
    assert table[-1] == "flatten"
    assert any(line.startswith("peak of activations") and " at bn: " in line for line in lines)
    assert any(line.split() == ["assumed", "free", "1", "x", "Flatten"] for line in lines)


def test_costs_as_json(model: Path, invoke_json: Callable[..., Any]) -> None:
    found = invoke_json("inspect", model, "--cost")
    cost = found["cost"]
    assert (cost["macs"], cost["params"]) == (found["macs"], found["params"])
    plane = 4 * CHANNELS * 64
    assert cost["peak_memory"]["bytes"] == 2 * plane + 4 * 3 * 64
    assert cost["bytes_read"] == sum(node["bytes_read"] for node in cost["nodes"])
    assert cost["bytes_written"] == sum(node["bytes_written"] for node in cost["nodes"])
    assert sum(node["macs_share"] for node in cost["nodes"]) == pytest.approx(1)
    assert sum(node["bytes_share"] for node in cost["nodes"]) == pytest.approx(1)
    shares = [max(node["macs_share"], node["bytes_share"]) for node in cost["nodes"]]
    assert shares == sorted(shares, reverse=True)
    assert (cost["assumed_free"], cost["unknown"]) == ({"Flatten": 1}, {})


def test_unknown_costs_are_said(model: Path, invoke: Invoke) -> None:
    strange = network()
    strange.graph.node.add(op_type="Mystery", domain="com.example", input=["r1"], output=["s"])
    strange.opset_import.add(domain="com.example", version=1)
    Path("strange.onnx").write_bytes(strange.SerializeToString())
    result = invoke("inspect", "strange.onnx", "--cost")
    assert "Note: the cost leaves out what is unknown of these nodes: 1 x com.example.Mystery" in result.stderr
    assert "Note: the peak of activations leaves out 1 values of unknown size" in result.stderr
