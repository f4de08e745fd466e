"""A model with an operator of its own, `my.domain.ScaledRelu`, pruned through with a channel rule of ten lines.

    python examples/custom_operator.py

The operator is a function of the model here, so that ONNX Runtime can run it; a kernel of your own does as well.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

import graphopt
from graphopt.channels import Operator, analyse, channel_rule, cut


def scaled_relu(op: Operator) -> None:
    """x * scale, then ReLU: the scale's axis is the channel axis."""
    labels = op.input(0)  # one label per axis
    labels[1] = op.equate(labels[1], op.input(1)[0])  # they lose the same indices
    op.output(labels, zero=op.is_zero(0))  # zero stays zero


def make_model() -> onnx.ModelProto:
    """x (N, 4) -> MatMul (16 channels) -> ScaledRelu -> MatMul -> y (N, 3)."""
    body = [helper.make_node("Mul", ["x", "scale"], ["scaled"]), helper.make_node("Relu", ["scaled"], ["y"])]
    function = helper.make_function("my.domain", "ScaledRelu", ["x", "scale"], ["y"], body, [helper.make_opsetid("", 17)])
    nodes = [
        helper.make_node("MatMul", ["x", "expand"], ["wide"]),
        helper.make_node("ScaledRelu", ["wide", "scale"], ["active"], domain="my.domain", name="act"),
        helper.make_node("MatMul", ["active", "project"], ["y"]),
    ]
    rng = np.random.default_rng(0)
    shapes = {"expand": (4, 16), "scale": (16,), "project": (16, 3)}
    weights = [numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name) for name, shape in shapes.items()]
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", size]) for name, size in (("x", 4), ("y", 3)))
    graph = helper.make_graph(nodes, "example", [x], [y], weights)
    return helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("my.domain", 1)], functions=[function]
    )


def main() -> None:
    graph = graphopt.Graph.from_proto(make_model())

    held = analyse(graph).group("expand:1")
    assert held.frozen is not None
    print(f"without a rule: {held.size} channels frozen by {held.frozen.where}: {held.frozen.why}")

    channel_rule("my.domain", "ScaledRelu")(scaled_relu)
    analysis = analyse(graph)
    group = analysis.group("expand:1")
    print(f"with a rule: {group.size} channels in {', '.join(member.name for member in group.members)}")
    cut(analysis, {group.name: range(8)})

    session = ort.InferenceSession(graph.to_proto().SerializeToString(), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": np.ones((2, 4), np.float32)})
    print(f"cut to 8 channels: expand {graph.value('expand').tensor.shape}, project {graph.value('project').tensor.shape}, y {y.shape}")


if __name__ == "__main__":
    main()
