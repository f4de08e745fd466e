"""ONNX's own node test models through `simplify`: as they are, and with their inputs as initializers, so that they fold."""

from __future__ import annotations

from typing import Any

import onnx
import pytest

from graphopt import ir
from graphopt.passes.simplify import Simplify
from graphopt.pipeline import Context

from .node_cases import node_cases, with_initializers
from .oracle import assert_equal, operators, run

RANDOM = ("bernoulli", "training_dropout", "multinomial", "random")
FOLDABLE = ("test_abs", "test_matmul_2d", "test_reshape_reordered_all_dims", "test_conv_with_strides_no_padding", "test_gather_0")
SAMPLE = 40


def simplified(name: str, model: onnx.ModelProto, inputs: dict[str, Any]) -> ir.Graph | None:
    """The graph after the pass, if ONNX Runtime knows the model; compared with the model as it was."""
    try:
        ir.verify(ir.Graph.from_proto(model))
        before = run(model, inputs)
    except Exception:  # ONNX Runtime's errors have no other base in common
        return None
    graph = ir.Graph.from_proto(model)
    result = Simplify().apply(graph, Context())
    ir.verify(graph)
    after = graph.to_proto()
    assert list(after.graph.output) == list(model.graph.output)
    assert len(after.SerializeToString()) <= len(model.SerializeToString()) + 128 * int(result.summary.get("folded", 0))
    if not any(word in name for word in RANDOM):
        # ONNX Runtime computes half precision in float32 and rounds where other nodes follow.
        assert_equal(before, run(after, inputs), tolerance=1e-3 if "16" in name else 1e-5)
    return graph


def check(names: list[str]) -> tuple[int, int]:
    """How many models ONNX Runtime knows, and how many of those fold to a constant."""
    known = folded = 0
    for name in names:
        model, inputs = node_cases()[name]
        plain = simplified(name, model, dict(zip((info.name for info in model.graph.input), inputs, strict=False)))
        full = simplified(name, *with_initializers(model, inputs))
        known += plain is not None
        folded += full is not None and operators(full) == ["Constant"]
    return known, folded


def test_a_sample() -> None:
    names = sorted(node_cases())
    known, folded = check(names[::SAMPLE])
    assert known > len(names) / SAMPLE / 2
    assert folded > len(names) / SAMPLE / 3


@pytest.mark.parametrize("name", FOLDABLE)
def test_operators_on_constants_become_a_constant(name: str) -> None:
    assert check([name]) == (1, 1)


@pytest.mark.slow
def test_all() -> None:
    names = list(node_cases())
    known, folded = check(names)
    assert known > len(names) * 0.6
    assert folded > len(names) * 0.5
