"""The rules beside ONNX Runtime itself."""

from __future__ import annotations

from collections import Counter

from graphopt.cost.fusion import kernels, load_rules
from graphopt.cost.profile import asked
from graphopt.cost.profile.host import channel_block
from graphopt.ir import Graph

RULES = load_rules("onnxruntime-cpu").with_block(channel_block())


def assert_as_the_runtime(graph: Graph) -> None:
    ours = Counter(str(kernel.signature) for kernel in kernels(graph, RULES))
    assert ours == Counter(map(str, asked(graph)))
