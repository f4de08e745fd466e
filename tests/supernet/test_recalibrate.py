"""Batch normalization statistics anew."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import graphopt
from graphopt.errors import DataError, SupernetError
from graphopt.quality import run, session
from graphopt.supernet import recalibrate

from .test_families import supernet


def chain(opset: int) -> graphopt.Graph:
    """x [N, 2, 3, 3] → BatchNormalization → times 2, squared → BatchNormalization; both share one mean."""
    text = f"""<ir_version: 8, opset_import: ["" : {opset}]> g (float[N,2,3,3] x) => (float[N,2,3,3] y)
        {{ a = BatchNormalization <epsilon = 0.01> (x, scale, bias, mean, var)  b = Mul (a, a)
        y = BatchNormalization <epsilon = 0.01> (b, scale, bias, mean, var2) }}"""
    model = onnx.parser.parse_model(text)
    for name, array in {"scale": [2, 3], "bias": [1, -1], "mean": [9, 9], "var": [9, 9], "var2": [9, 9]}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(array, np.float32), name))
    return graphopt.Graph.from_proto(model)


def normalized(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
    column = (slice(None), None, None)
    y = (x - mean[column]) / np.sqrt(var[column] + 0.01) * np.array([2, 3])[column] + np.array([1, -1])[column]
    return y, mean, var


@pytest.mark.parametrize("opset", [13, 15, 18])
def test_each_normalization_gets_the_statistics_of_its_batches_behind_renewed_ones(opset: int) -> None:
    x = np.random.default_rng(0).normal(2, 3, (100, 2, 3, 3)).astype(np.float32)  # two runs: 64 and 36 samples
    graph = chain(opset)
    assert recalibrate(graph, {"x": x}) == 2
    graphopt.verify(graph)
    expected = np.zeros((4, 2))
    for part in (x[:64], x[64:]):
        first, mean1, var1 = normalized(part)
        _, mean2, var2 = normalized(first**2)
        expected += np.stack([mean1, var1, mean2, var2]) * len(part) / 100
    first, second = (node for node in graph.nodes if node.op_type == "BatchNormalization")
    found = [graph.constant(node.inputs[slot]) for node in (first, second) for slot in (3, 4)]
    np.testing.assert_allclose(np.array(found), expected, rtol=1e-4)
    assert {value.name for value in graph.initializers} >= {"scale", "bias", "mean", "var", "var2"}


def test_a_whole_subnet_normalizes_its_data_afterwards() -> None:
    graph = supernet("ofa_mbv3", "kept, awkward")[0].copy()
    x = np.random.default_rng(0).normal(size=(16, 3, 64, 64)).astype(np.float32)
    before = run(session(graph, threads=1), {"input": x})["output"]
    assert recalibrate(graph, {"input": x}) == sum(node.op_type == "BatchNormalization" for node in graph.nodes)
    graphopt.verify(graph)
    after = run(session(graph, threads=1), {"input": x})["output"]
    assert np.abs(after - before).max() > 1e-3
    again = graph.copy()
    recalibrate(again, {"input": x})
    np.testing.assert_allclose(run(session(again, threads=1), {"input": x})["output"], after, atol=1e-4 * np.abs(after).max())


def test_what_cannot_be_recalibrated() -> None:
    with pytest.raises(SupernetError, match="recalibrate needs BatchNormalization nodes, and this model has none: they were folded"):
        recalibrate(supernet("ofa_resnet", "folded")[0].copy(), {"input": np.zeros((1, 3, 64, 64), np.float32)})
    with pytest.raises(DataError, match="'x'"):
        recalibrate(chain(18), {"image": np.zeros((1, 2, 3, 3), np.float32)})
