"""A network whose padding is computed from the size of its picture, as PyTorch exports TensorFlow's SAME padding."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def same_padded(
    height: int, width: int, kernel: int, stride: int, elem_type: int = TensorProto.FLOAT, batch: int | str = 1
) -> onnx.ModelProto:
    """x [batch, 3, height, width] → Pad → Conv (8 filters) → Relu → y [batch, 8, ceil(height / stride), ceil(width / stride)]. Opset 17.

    The padding of an axis is max((ceil(size / stride) - 1) * stride + kernel - size, 0), half before and half after, in numbers of `elem_type`.
    """
    nodes = [helper.make_node("Shape", ["x"], ["shape"])]
    weights = [numpy_helper.from_array(np.ones((8, 3, kernel, kernel), np.float32), "w")]
    dtype = helper.tensor_dtype_to_np_dtype(elem_type)
    numbers = {"stride": stride, "kernel": kernel, "one": 1, "two": 2, "zero": 0}
    weights += [numpy_helper.from_array(np.asarray(number, dtype), name) for name, number in numbers.items()]
    weights += [numpy_helper.from_array(np.array([axis]), f"axis{axis}") for axis in (0, 2, 3)]
    weights.append(numpy_helper.from_array(np.zeros(2, np.int64), "none"))

    def add(op_type: str, inputs: list[str], output: str, **attributes: object) -> None:
        nodes.append(helper.make_node(op_type, inputs, [output], output, **attributes))

    for axis in (2, 3):
        add("Gather", ["shape", f"axis{axis}"], f"whole{axis}")
        add("Cast", [f"whole{axis}"], f"size{axis}", to=elem_type)
        add("Div", [f"size{axis}", "stride"], f"parts{axis}")
        add("Ceil", [f"parts{axis}"], f"steps{axis}")
        add("Sub", [f"steps{axis}", "one"], f"hops{axis}")
        add("Mul", [f"hops{axis}", "stride"], f"reach{axis}")
        add("Add", [f"reach{axis}", "kernel"], f"wanted{axis}")
        add("Sub", [f"wanted{axis}", f"size{axis}"], f"lack{axis}")
        add("Clip", [f"lack{axis}", "zero"], f"pad{axis}")
        add("Div", [f"pad{axis}", "two"], f"half{axis}")
        add("Cast", [f"half{axis}"], f"before{axis}", to=TensorProto.INT64)
        add("Cast", [f"before{axis}"], f"left{axis}", to=elem_type)
        add("Sub", [f"pad{axis}", f"left{axis}"], f"right{axis}")
        add("Cast", [f"right{axis}"], f"after{axis}", to=TensorProto.INT64)
    add("Concat", ["none", "before2", "before3", "none", "after2", "after3"], "pads", axis=0)
    add("Pad", ["x", "pads"], "padded")
    add("Conv", ["padded", "w"], "conv", strides=[stride, stride])
    add("Relu", ["conv"], "y")
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, height, width])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 8, None, None])]
    graph = helper.make_graph(nodes, "same_padded", inputs, outputs, weights)
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)], producer_name="tests")
