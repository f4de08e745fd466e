"""Random models for property tests: element-wise, shape and constant operators, with what `simplify` looks for sown in."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

UNARY = ("Relu", "Tanh", "Abs", "Neg", "Identity", "Exp", "Sigmoid")
BINARY = ("Add", "Mul", "Sub", "Max", "Min")
NEUTRAL = (("Add", 0), ("Sub", 0), ("Mul", 1), ("Div", 1), ("Pow", 1), ("Mul", 2))
KINDS = ("unary", "binary", "neutral", "reshape", "transpose", "cast", "constant", "shape", "split", "squeeze")
SHAPES = ((2, 6), (3, 4), (12,), (2, 1, 6), (4, 3))


@st.composite
def models(draw: st.DrawFn) -> onnx.ModelProto:
    """Up to 25 nodes from inputs of 12 elements and constants; some of what they write are outputs, much is dead."""
    builder = Builder()
    for place in range(draw(st.integers(1, 25))):
        builder.add(draw, f"v{place}")
    return builder.model(draw(st.lists(st.sampled_from(builder.written or ["v"]), min_size=1, max_size=4, unique=True)))


class Builder:
    """The nodes so far. Every value is float and has 12 elements."""

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {"x": (2, 6), "z": (2, 6)}
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    @property
    def written(self) -> list[str]:
        return [name for name in self.shapes if name.startswith("v")]

    def add(self, draw: st.DrawFn, name: str) -> None:
        """A node that writes `name`, or a constant."""
        source = draw(st.sampled_from(list(self.shapes)))
        shape = self.shapes[source]
        match draw(st.sampled_from(KINDS)):
            case "unary":
                self.node(draw(st.sampled_from(UNARY)), [source], name, shape)
            case "binary":
                other = draw(st.sampled_from([value for value, its in self.shapes.items() if its == shape]))
                self.node(draw(st.sampled_from(BINARY)), [source, other], name, shape)
            case "neutral":
                operator, number = draw(st.sampled_from(NEUTRAL))
                neutral = np.full(draw(st.sampled_from(((), (1,)))), number, np.float32)
                self.node(operator, [source, self.constant(neutral)], name, shape)
            case "reshape":
                target = draw(st.sampled_from(SHAPES))
                self.node("Reshape", [source, self.constant(np.array(target))], name, target)
            case "transpose":
                perm = draw(st.permutations(range(len(shape))))
                self.node("Transpose", [source], name, tuple(shape[axis] for axis in perm), perm=perm)
            case "cast":
                self.node("Cast", [source], name, shape, to=TensorProto.FLOAT)
            case "constant":
                chosen = draw(st.sampled_from(SHAPES))
                self.shapes[self.constant(np.linspace(-1, 1, 12, dtype=np.float32).reshape(chosen))] = chosen
            case "shape":
                self.nodes.append(helper.make_node("Shape", [source], [f"{name}_shape"]))
                self.node("Reshape", [source, f"{name}_shape"], name, shape)
            case "split":
                self.nodes.append(helper.make_node("Split", [source], [f"{name}_part"], axis=0, num_outputs=1))
                self.node("Concat", [f"{name}_part"], name, shape, axis=0)
            case _:
                axes = self.constant(np.array([0]))
                self.nodes.append(helper.make_node("Unsqueeze", [source, axes], [f"{name}_one"]))
                self.node("Squeeze", [f"{name}_one", axes], name, shape)

    def node(self, operator: str, inputs: list[str], name: str, shape: tuple[int, ...], **attributes: Any) -> None:
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        self.shapes[name] = shape

    def constant(self, array: npt.NDArray[Any]) -> str:
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def model(self, outputs: list[str]) -> onnx.ModelProto:
        if not self.written:
            self.node("Relu", ["x"], "v", self.shapes["x"])
        infos = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in self.shapes.items()}
        graph = helper.make_graph(self.nodes, "random", [infos["x"], infos["z"]], [infos[name] for name in outputs], self.initializers)
        return helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 18)])
