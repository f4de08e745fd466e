"""The generic side file, on the networks of examples/supernets, against what their papers define, computed with numpy."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphopt
from graphopt.errors import SupernetError
from graphopt.quality import run, session
from graphopt.supernet import extract, parse_config, parse_generic

FOLDER = Path(__file__).parents[2] / "examples" / "supernets"
TOKENS = np.random.default_rng(0).integers(0, 40, (2, 16))
Array = Any


def extracted(name: str, config: dict[str, Any], document: dict[str, Any] | None = None) -> graphopt.Graph:
    graph = graphopt.load(FOLDER / f"{name}.onnx")
    document = document or json.loads((FOLDER / f"{name}.supernet.json").read_text())
    extract(graph, parse_generic(document), parse_config(config))
    return graph


def outputs(graph: graphopt.Graph) -> Array:
    return run(session(graph, threads=1), {"tokens": TOKENS})["encoded"]


def weights(name: str) -> dict[str, Array]:
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(FOLDER / f"{name}.onnx").graph.initializer}


def normed(x: Array, scale: Array, bias: Array) -> Array:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * scale + bias


def hat(embed: int, ffn: list[int], heads: list[int]) -> Array:
    """The encoder with these settings per layer, by its definition: prefixes of the full weights, and all of Q, K and V in fewer heads."""
    w = weights("hat_encoder")
    x = w["embedding.weight"][TOKENS][..., :embed] * np.sqrt(embed) + w["positions.weight"][:, :embed]
    for layer, (hidden, count) in enumerate(zip(ffn, heads, strict=True)):
        name = f"layer{layer}"

        def projected(part: str, x: Array = x, name: str = name, count: int = count) -> Array:
            y = x @ w[f"{name}/{part}.weight"][:embed] + w[f"{name}/{part}.bias"]
            return y.reshape(2, 16, count, -1).transpose(0, 2, 1, 3)

        q, k, v = (projected(part) for part in "qkv")
        scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(32 / count)
        attention = np.exp(scores - scores.max(-1, keepdims=True))
        attention /= attention.sum(-1, keepdims=True)
        y = (attention @ v).transpose(0, 2, 1, 3).reshape(2, 16, -1)
        y = y @ w[f"{name}/out.weight"][:, :embed] + w[f"{name}/out.bias"][:embed]
        x = normed(x + y, w[f"{name}/norm1.scale"][:embed], w[f"{name}/norm1.bias"][:embed])
        y = np.maximum(x @ w[f"{name}/ffn1.weight"][:embed, :hidden] + w[f"{name}/ffn1.bias"][:hidden], 0)
        y = y @ w[f"{name}/ffn2.weight"][:hidden, :embed] + w[f"{name}/ffn2.bias"][:embed]
        x = normed(x + y, w[f"{name}/norm2.scale"][:embed], w[f"{name}/norm2.bias"][:embed])
    return x


def matformer(ffn: dict[int, int]) -> Array:
    """The blocks that stay, by place, with the hidden width of each."""
    w = weights("matformer")
    x = w["embedding.weight"][TOKENS]
    for layer, hidden in ffn.items():
        name = f"layer{layer}"
        y = normed(x, w[f"{name}/norm.scale"], w[f"{name}/norm.bias"])
        gate, up = y @ w[f"{name}/gate.weight"][:, :hidden], y @ w[f"{name}/up.weight"][:, :hidden]
        x = x + (gate / (1 + np.exp(-gate)) * up) @ w[f"{name}/down.weight"][:hidden]
    return x


def check(graph: graphopt.Graph, expected: Array) -> None:
    graphopt.verify(graph)
    np.testing.assert_allclose(outputs(graph), expected, atol=1e-4 * np.abs(expected).max())
    read = {value for node in graph.nodes for value in node.inputs}
    assert set(graph.initializers) <= read


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_hat_encoder(data: st.DataObject) -> None:
    layers = data.draw(st.integers(1, 3))
    embed = data.draw(st.sampled_from([8, 16, 24, 32]))
    ffn = data.draw(st.lists(st.sampled_from([16, 32, 48, 64]), min_size=layers, max_size=layers))
    heads = data.draw(st.lists(st.sampled_from([1, 2, 4]), min_size=layers, max_size=layers))
    check(extracted("hat_encoder", {"embed": embed, "ffn": ffn, "heads": heads, "layers": layers}), hat(embed, ffn, heads))


def test_hat_encoder_as_it_is() -> None:
    whole = outputs(graphopt.load(FOLDER / "hat_encoder.onnx"))
    np.testing.assert_allclose(whole, hat(32, [64] * 3, [4] * 3), atol=1e-4)
    np.testing.assert_array_equal(whole, outputs(extracted("hat_encoder", {"embed": 32, "ffn": 64, "heads": 4, "layers": 3})))


@settings(max_examples=20, deadline=None)
@given(st.sets(st.integers(0, 3)).filter(len), st.data())
def test_matformer_keeps_any_set_of_layers_with_a_width_for_each(kept: set[int], data: st.DataObject) -> None:
    ffn = {layer: data.draw(st.sampled_from([8, 16, 32, 48])) for layer in sorted(kept)}
    check(extracted("matformer", {"layers": list(ffn), "ffn": list(ffn.values())}), matformer(ffn))


def test_the_example_configurations() -> None:
    hat_config = json.loads((FOLDER / "hat_encoder.config.json").read_text())
    assert hat_config.pop("layers") == 2
    check(extracted("hat_encoder", {**hat_config, "layers": 2}), hat(**hat_config))
    config = json.loads((FOLDER / "matformer.config.json").read_text())
    check(extracted("matformer", config), matformer(dict(zip(config["layers"], config["ffn"], strict=True))))


def test_the_script_makes_the_examples(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(FOLDER / "make_supernets.py"), "--out", str(tmp_path)], check=True, capture_output=True)
    made = sorted(path.name for path in tmp_path.iterdir())
    assert made == [f"{name}{end}" for name in ("hat_encoder", "matformer") for end in (".config.json", ".onnx", ".supernet.json")]
    for name in made:
        if name.endswith(".json"):
            assert (tmp_path / name).read_text() == (FOLDER / name).read_text()
            continue
        new, shipped = onnx.load(tmp_path / name).graph, onnx.load(FOLDER / name).graph
        assert new.node == shipped.node
        for ours, theirs in zip(new.initializer, shipped.initializer, strict=True):  # libraries of mathematics differ in the last bit
            np.testing.assert_allclose(onnx.numpy_helper.to_array(ours), onnx.numpy_helper.to_array(theirs), rtol=1e-5, atol=1e-6)


def packed(heads: int, unit: object) -> tuple[graphopt.Graph, dict[str, Any]]:
    """x [1, 4] times packed [Q | K | V] weights of 3 heads with head_dim 2, and the sum of the three parts by hand."""
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 18]>
        g (float[1,4] x) => (float[1,N] y) { packed = MatMul (x, w)  q, k, v = Split <axis = 1, num_outputs = 3> (packed)
        qk = Add (q, k)  y = Add (qk, v) }"""
    )
    for node, name in zip(model.graph.node, ("qkv", "split", "qk", "sum"), strict=True):
        node.name = name
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.arange(72, dtype=np.float32).reshape(4, 18), "w"))
    edit = {"node": "qkv", "input": 1, "axis": 1, "keep": "heads", "segments": 3, "unit": unit}
    return graphopt.Graph.from_proto(model), {"schema": "elastic-graph/1", "edits": [edit], "head_dim": 2}


@pytest.mark.parametrize("unit", [2, "head_dim"])
def test_heads_of_a_packed_projection(unit: object) -> None:
    graph, document = packed(2, unit)
    w = np.arange(72, dtype=np.float32).reshape(4, 3, 3, 2)[:, :, :2]
    extract(graph, parse_generic(document), parse_config({"heads": 2}))
    x = np.ones((1, 4), np.float32)
    np.testing.assert_array_equal(run(session(graph), {"x": x})["y"], (x @ w.reshape(4, 12)).reshape(1, 3, 4).sum(1))


def test_units_by_number() -> None:
    graph, document = packed(2, 2)
    extract(graph, parse_generic(document), parse_config({"heads": None}))
    assert graph.version == 0
    with pytest.raises(SupernetError, match="heads is 4, and must be a whole number from 1 to 3"):
        extract(graph, parse_generic(document), parse_config({"heads": 4}))
    extract(graph, parse_generic(document), parse_config({"heads": [0, 2][:1]}))
    assert graph.value("w").tensor.shape == (4, 6)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"embd": 8}, "unknown key 'embd'; this supernet knows layers, embed, heads, ffn"),
        ({"embed": 40}, "embed is 40, and must be a whole number from 1 to 32"),
        ({"ffn": [64, 80, 8]}, r"ffn\[1\] is 80, and must be a whole number from 1 to 64"),
        ({"heads": 3}, "heads is 3, which does not divide qkv = 32"),
        ({"heads": [4]}, "heads has 1 entries, and 'layer1/q/split'"),
        ({"layers": 4}, "layers is 4, and must be a whole number from 0 to 3"),
        ({"layers": [2, 1]}, "layers must list places from 0 to 2 in ascending order"),
        ({"embed": [8, 8]}, r"embed must list places|a list"),
        ({"sort_channels": "l1"}, "sort_channels is known for the Once-for-All families only"),
    ],
)
def test_configurations_that_do_not_fit(config: dict[str, Any], message: str) -> None:
    with pytest.raises(SupernetError, match=message):
        extracted("hat_encoder", config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["edits"][0].update(node="nowhere"), "an edit names node 'nowhere', which this model does not have"),
        (lambda d: d["edits"][0].update(axis=2), r"cuts axis 2 of input 0, whose shape is \[40, 32\]"),
        (lambda d: d["edits"][0].update(axis="1"), r"edits\[0\].axis must be a whole number"),
        (lambda d: d["edits"][1].update(scalar="cube"), r"edits\[1\].scalar must be one of value, sqrt"),
        (
            lambda d: d["edits"][1].update(keep="embed"),
            r"edits\[1\].keep or scalar or shape or kernel or group must be given, and only one",
        ),
        (lambda d: d.pop("qkv"), "needs head_dim = qkv / heads"),
        (lambda d: d["sequences"][0]["blocks"][2].update(output="nothing"), "slot 2 names tensor 'nothing'"),
        (lambda d: d["sequences"][0]["blocks"][2].update(slot=0), "have one slot twice"),
        (lambda d: d["edits"][1].update(node="positions", input=1), "should be one number"),
        (lambda d: d["edits"][4].update(node="layer0/merge", shape={"5": "heads"}), "should be a list of more than 5 sizes"),
        (lambda d: d["edits"][4].update(shape={"two": "heads"}), "must be the place of a size"),
        (lambda d: d["edits"][0].update(unit="dim"), "the side file has no number of that name"),
        (lambda d: d["edits"][0].update(segments=5), "axis 1 holds 32, which is no multiple of 5"),
        (lambda d: d["edits"][2].update(input=0), "input 0 of node 'positions' .* must be constant"),
    ],
)
def test_side_files_that_do_not_fit(change: Any, message: str) -> None:
    document = copy.deepcopy(json.loads((FOLDER / "hat_encoder.supernet.json").read_text()))
    change(document)
    with pytest.raises(SupernetError, match=message) as caught:
        extracted("hat_encoder", {"embed": 16, "heads": 2, "ffn": 32, "layers": 2}, document)
    assert "\n" not in str(caught.value)
