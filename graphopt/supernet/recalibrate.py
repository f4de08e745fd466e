"""Batch normalization statistics of a subnet from data: those that extraction copies are the supernet's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from graphopt.errors import SupernetError
from graphopt.ir import ArrayTensor, Graph, Node
from graphopt.quality import load_data, session
from graphopt.quality import run as run_session
from graphopt.supernet.clean import remove_dead
from graphopt.supernet.operands import give_operand, stored
from graphopt.supernet.rewrite import take_names

Array = npt.NDArray[Any]

_MEAN, _VARIANCE = 3, 4  # input slots


def recalibrate(graph: Graph, data: Mapping[str, Array]) -> int:
    """Compute mean and variance of every BatchNormalization anew; the number of them.

    One run over `data` (arrays by input name), each normalization using its own batch's statistics. What is stored is the average of the
    batches' means and biased variances, weighted by their sizes. Raises SupernetError for a model without BatchNormalization.
    """
    nodes = [node for node in graph.nodes if _can_change(node)]
    if not nodes:
        raise SupernetError("recalibrate needs BatchNormalization nodes, and this model has none: they were folded into its convolutions")
    model = _with_batch_statistics(graph.to_proto(), {node.output().name for node in nodes})
    opened = session(model)
    sums: dict[str, Array] = {}
    samples = 0
    first = next(iter(graph.inputs)).name
    for feeds in load_data(data, graph).runs():
        rows = len(feeds[first]) if feeds[first].ndim else 1
        found = run_session(opened, feeds)
        for node in nodes:
            for part in ("mean", "variance"):
                name = _name(node.output().name, part)
                sums[name] = sums.get(name, 0) + rows * found[name].reshape(-1).astype(np.float64)
        samples += rows
    renames = []
    for node in nodes:
        for part, slot in (("mean", _MEAN), ("variance", _VARIANCE)):
            value = node.inputs[slot]
            old = None if value is None else stored(value)
            assert old is not None
            contents = sums[_name(node.output().name, part)] / samples
            dtype = helper.tensor_dtype_to_np_dtype(old.elem_type)
            renames.append(give_operand(graph, node, slot, ArrayTensor(contents.astype(dtype), old.elem_type)))
    remove_dead(graph)
    take_names(graph, [rename for rename in renames if rename is not None])
    return len(nodes)


def _can_change(node: Node) -> bool:
    """Whether it is a BatchNormalization at inference whose statistics the file holds."""
    if node.op_type != "BatchNormalization" or node.domain or node.attributes.get("training_mode", 0):
        return False
    return all(value is not None and stored(value) is not None for value in (node.input(_MEAN), node.input(_VARIANCE)))


def _name(output: str, part: str) -> str:
    return f"{output}/batch_{part}"


def _with_batch_statistics(model: onnx.ModelProto, outputs: set[str]) -> onnx.ModelProto:
    """The model with the normalizations that write `outputs` spelled out, each with its own batch's statistics, which are outputs too."""
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    graph, nodes = model.graph, []
    for node in graph.node:
        if node.op_type == "BatchNormalization" and node.output[0] in outputs:
            nodes += _spelled_out(graph, node, opset)
        else:
            nodes.append(node)
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    for output in sorted(outputs):
        for part in ("mean", "variance"):
            graph.output.append(onnx.ValueInfoProto(name=_name(output, part)))
    return model


def _spelled_out(graph: onnx.GraphProto, node: onnx.NodeProto, opset: int) -> list[onnx.NodeProto]:
    x, scale, bias = node.input[:3]
    y = node.output[0]
    mean, variance = _name(y, "mean"), _name(y, "variance")
    epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)

    def constant(part: str, array: Array) -> str:
        graph.initializer.append(numpy_helper.from_array(array, f"{y}/{part}"))
        return f"{y}/{part}"

    def averaged(source: str, target: str) -> onnx.NodeProto:
        if opset >= 18:
            return helper.make_node("ReduceMean", [source, f"{y}/axes"], [target], keepdims=1)
        return helper.make_node("ReduceMean", [source], [target], axes=[0, 2, 3], keepdims=1)

    column = constant("column", np.array([-1, 1, 1], np.int64))
    constant("axes", np.array([0, 2, 3], np.int64))
    small = constant("epsilon", np.array(epsilon, np.float32))
    return [
        averaged(x, mean),
        helper.make_node("Sub", [x, mean], [f"{y}/centred"]),
        helper.make_node("Mul", [f"{y}/centred", f"{y}/centred"], [f"{y}/squared"]),
        averaged(f"{y}/squared", variance),
        helper.make_node("Add", [variance, small], [f"{y}/above"]),
        helper.make_node("Sqrt", [f"{y}/above"], [f"{y}/deviation"]),
        helper.make_node("Div", [f"{y}/centred", f"{y}/deviation"], [f"{y}/normal"]),
        helper.make_node("Reshape", [scale, column], [f"{y}/scale"]),
        helper.make_node("Reshape", [bias, column], [f"{y}/bias"]),
        helper.make_node("Mul", [f"{y}/normal", f"{y}/scale"], [f"{y}/scaled"]),
        helper.make_node("Add", [f"{y}/scaled", f"{y}/bias"], [y]),
    ]
