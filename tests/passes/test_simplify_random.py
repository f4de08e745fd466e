"""Property: whatever the graph, `simplify` keeps results, outputs and names of outputs, and a second run finds nothing more."""

from __future__ import annotations

import onnx
from hypothesis import HealthCheck, given, settings

from graphopt.passes.simplify import Simplify
from graphopt.pipeline import Context

from .oracle import check
from .random_models import models


@given(models())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_results_stay(model: onnx.ModelProto) -> None:
    graph, result = check(Simplify(), model)
    assert len(graph.nodes) <= len(model.graph.node)
    assert len(graph.to_proto().SerializeToString()) <= len(model.SerializeToString()) + 128 * int(result.summary.get("folded", 0))
    assert not Simplify().apply(graph, Context()).changed
