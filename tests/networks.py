"""A small network that several test files optimize, and data for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS = 64


def network(seed: int = 0) -> onnx.ModelProto:
    """image [batch, 3, 8, 8] → Conv, BatchNormalization, Relu → Conv, Relu → pool → Gemm → logits [batch, 4]. Opset 17."""
    rng = np.random.default_rng(seed)

    def weight(name: str, *shape: int, scale: float = 0.2, shift: float = 0.0) -> onnx.TensorProto:
        return numpy_helper.from_array((rng.normal(size=shape) * scale + shift).astype(np.float32), name)

    weights = [
        weight("conv1.weight", CHANNELS, 3, 3, 3),
        weight("conv2.weight", CHANNELS, CHANNELS, 3, 3),
        weight("conv2.bias", CHANNELS),
        weight("head.weight", 4, CHANNELS),
        weight("head.bias", 4),
        *(weight(f"bn.{part}", CHANNELS, scale=0.05, shift=shift) for part, shift in {"scale": 1, "bias": 0, "mean": 0, "var": 1}.items()),
    ]
    nodes = [
        helper.make_node("Conv", ["image", "conv1.weight"], ["c1"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c1", "bn.scale", "bn.bias", "bn.mean", "bn.var"], ["b1"], "bn"),
        helper.make_node("Relu", ["b1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "conv2.weight", "conv2.bias"], ["c2"], "conv2", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"], "relu2"),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "head.weight", "head.bias"], ["logits"], "head", transB=1),
    ]
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 8, 8])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4])]
    graph = helper.make_graph(nodes, "network", inputs, outputs, weights)
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)], producer_name="tests")


def write_network(path: Path, seed: int = 0) -> Path:
    path.write_bytes(network(seed).SerializeToString())
    return path


def write_data(path: Path, samples: int = 12, labels: bool = True) -> Path:
    """An .npz file for the network; the labels are random."""
    rng = np.random.default_rng(1)
    arrays = {"image": rng.normal(size=(samples, 3, 8, 8)).astype(np.float32)}
    if labels:
        arrays["labels"] = rng.integers(0, 4, samples)
    np.savez(path, **arrays)
    return path
