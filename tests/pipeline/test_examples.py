"""The example plug-ins load through the same doors as any other, and do what their docstrings say."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import graphopt.ir as ir
from graphopt.errors import UnsupportedError
from graphopt.pipeline import PassResult, Registry, Skip, StopAfter, VerifyEach, parse_pipeline, run_pipeline

from .passes import identities

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(graph: ir.Graph, text: str, registry: Registry, *more: StopAfter) -> PassResult:
    (record,) = run_pipeline(graph, parse_pipeline(text, registry), None, [VerifyEach(), *more])
    return record.result


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A registry that sees examples/plugin_package as an editable installation would show it."""
    source = EXAMPLES / "plugin_package"
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    info = tmp_path / "site" / "graphopt_clip_weights-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    entries = project["entry-points"]["graphopt.passes"]
    (info / "entry_points.txt").write_text("[graphopt.passes]\n" + "\n".join(f"{name} = {value}" for name, value in entries.items()))
    monkeypatch.setattr(sys, "path", [str(info.parent), str(source), *sys.path])
    yield Registry.installed()
    sys.modules.pop("graphopt_clip_weights", None)


@pytest.fixture
def single() -> Registry:
    registry = Registry()
    assert registry.load_plugin(EXAMPLES / "single_file_pass.py") == ("swap-activation", "name-nodes")
    return registry


def dense(path: Path, weights: np.ndarray) -> ir.Graph:
    """The chain of `identities` with a MatMul of `weights` (4 x n) after its first node."""
    graph = identities(path, ["one"])
    weight = graph.add_initializer("w", weights)
    product = graph.add_node("MatMul", [graph.value("v0"), weight], ["product"])
    graph.set_input(next(node for node in graph.nodes if node.name == "one"), 0, product.output())
    return graph


def weights_of(graph: ir.Graph) -> np.ndarray:
    tensor = graph.value("w").tensor
    assert tensor is not None
    return tensor.numpy()


def test_clip_weights_clips_outliers_and_nothing_else(tmp_path: Path, package: Registry) -> None:
    weights = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    weights[1, 2], weights[3, 0] = 9.0, -9.0
    mean, deviation = weights.mean(dtype=np.float64), weights.std(dtype=np.float64)
    graph = dense(tmp_path / "m.onnx", weights)
    assert run(graph, "clip-weights{limit=2}", package) == PassResult(changed=True, summary={"tensors": 1, "values": 2})
    clipped = weights_of(graph)
    assert clipped[1, 2] == np.float32(mean + 2 * deviation)
    assert clipped[3, 0] == np.float32(mean - 2 * deviation)
    assert np.array_equal(np.delete(clipped, [6, 12]), np.delete(weights, [6, 12]))
    ir.save(graph, tmp_path / "out.onnx")
    assert np.array_equal(weights_of(ir.load(tmp_path / "out.onnx")), clipped)


def test_clip_weights_leaves_alone_what_it_cannot_or_may_not_clip(tmp_path: Path, package: Registry) -> None:
    weights = np.eye(4, dtype=np.float32)
    assert run(dense(tmp_path / "m.onnx", weights), "clip-weights", package) == PassResult(
        changed=False, summary={"tensors": 0, "values": 0}
    )
    graph = dense(tmp_path / "m.onnx", weights)
    assert not run(graph, "clip-weights{limit=1}", package, StopAfter(0)).changed
    assert np.array_equal(weights_of(graph), weights)
    weights[0, 0] = np.nan
    result = run(dense(tmp_path / "m.onnx", weights), "clip-weights", package)
    assert result.skipped == (Skip("w", "its contents are not finite floating-point numbers"),)


def test_clip_weights_is_listed_with_its_distribution(package: Registry) -> None:
    info = next(info for info in package.describe() if info.name == "clip-weights")
    assert info.source == "graphopt-clip-weights 0.1.0 (graphopt_clip_weights:ClipWeights)"
    assert (info.summary, info.problem) == ("Clip each weight tensor to `limit` of its standard deviations around its mean.", "")


def test_swap_activation_swaps_inner_nodes_and_skips_an_output(tmp_path: Path, single: Registry) -> None:
    graph = identities(tmp_path / "m.onnx")
    assert run(graph, "swap-activation{old=Relu new=HardSwish}", single) == PassResult(changed=True, summary={"replaced": 1})
    assert [node.op_type for node in graph.nodes] == ["HardSwish", "Identity", "Identity", "Identity", "Sigmoid"]
    assert graph.nodes[0].name == "first"
    result = run(graph, "swap-activation{old=Sigmoid}", single)
    assert (result.changed, result.skipped) == (False, (Skip("'last' (Sigmoid)", "it writes an output of the model"),))


def test_swap_activation_needs_the_opset_of_the_new_operator(tmp_path: Path, single: Registry) -> None:
    with pytest.raises(UnsupportedError, match="Gelu needs opset 20, and the model has 17"):
        run(identities(tmp_path / "m.onnx"), "swap-activation{old=Relu new=Gelu}", single)


def test_name_nodes_names_the_nameless_and_keeps_the_others(tmp_path: Path, single: Registry) -> None:
    graph = identities(tmp_path / "m.onnx", ["", "Identity_0", ""])
    assert run(graph, "name-nodes", single).changed
    assert [node.name for node in graph.nodes] == ["first", "Identity_1", "Identity_0", "Identity_2", "last"]
    assert not run(graph, "name-nodes{prefix=x}", single).changed
