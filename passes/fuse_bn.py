"""The pass that folds batch normalizations into the layers before them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from graphopt.ir import Graph, LazyTensor, Node, Tensor, TensorType, Value
from graphopt.pipeline import Context, Pass, PassResult

from ._edits import Edits, add_constant, fixed_tensor, remove_unused_constant, replaceable, scopes

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class FuseBn(Pass):
    """Fold BatchNormalization at inference into the Conv, ConvTranspose, Gemm or MatMul (with or without Add) that feeds it alone.

    Computed in float64, stored in the weight's own type, float or double. A weight that others use too gets a copy. A normalization that
    cannot be folded stays, and the result says why.
    """

    name: ClassVar[str] = "fuse-bn"

    def apply(self, graph: Graph, context: Context) -> PassResult:
        edits = Edits(context)
        types = graph.types()
        for scope in list(scopes(graph)):
            for node in scope.nodes:
                if node.op_type == "BatchNormalization" and not node.domain:
                    try:
                        _fuse(scope, node, types, edits)
                    except _Obstacle as obstacle:
                        edits.skip(node, str(obstacle))
        done = edits.counts.total()
        return PassResult(bool(done), {"fused": done, "left": len(edits.skipped)}, skipped=edits.skipped)


class _Obstacle(Exception):
    """Why a normalization cannot be folded."""


@dataclass(frozen=True)
class _Affine:
    """x * scale + shift for each channel: what a normalization does. float64, of shape (channels,)."""

    scale: Array
    shift: Array


@dataclass(frozen=True)
class _Change:
    """New contents for an input of a node."""

    node: Node
    slot: int
    tensor: Tensor


@dataclass(frozen=True)
class _Fold:
    """How a layer takes an affine in; `rest` is what must still be added to its output."""

    changes: list[_Change]
    rest: Tensor | None = None


def _fuse(graph: Graph, node: Node, types: Mapping[Value, TensorType], edits: Edits) -> None:
    affine = _affine(graph, node)
    layer = _feeding(graph, node.input(0))
    rule = _RULES.get(layer.op_type)
    if rule is None or layer.domain:
        raise _Obstacle(f"{layer.label} feeds it, which is no Conv, ConvTranspose, Gemm or MatMul")
    fold = rule(graph, layer, affine, types)
    source = layer.output()
    if not replaceable(graph, node, source) or not edits.permit("fused", node.label):
        return
    parameters = node.inputs[1:]
    for change in fold.changes:
        _set(graph, change, edits)
    if fold.rest is not None:
        shift = add_constant(graph, edits.free_name(graph, f"{source.name}/bias"), fold.rest, node)
        source = graph.add_node("Add", [source, shift], [edits.free_name(graph, f"{source.name}/biased")], at=node).output()
        graph.set_input(node, 0, source)
    graph.bypass(node)
    for value in dict.fromkeys(parameters):
        if value is not None:
            remove_unused_constant(graph, value)


def _affine(graph: Graph, node: Node) -> _Affine:
    """What the normalization does. Raises _Obstacle where that is not fixed."""
    attributes, opset = node.attributes, graph.opset() or 1
    if attributes.get("training_mode", 0) or (opset < 7 and not attributes.get("is_test", 0)):
        raise _Obstacle("it is in training mode")
    if any(value is not None for value in node.outputs[1:]):
        raise _Obstacle("it writes statistics, as in training mode")
    if opset < 9 and not attributes.get("spatial", 1):
        raise _Obstacle("it normalizes each position by itself (spatial=0)")
    arrays = []
    for name, value in zip(("scale", "bias", "mean", "variance"), node.inputs[1:5], strict=True):
        array = graph.constant(value)
        if array is None:
            raise _Obstacle(f"its {name} is not constant")
        arrays.append(array.astype(np.float64))
    gamma, beta, mean, variance = arrays
    with np.errstate(all="ignore"):
        scale = gamma / np.sqrt(variance + attributes.get("epsilon", 1e-5))
        shift = beta - mean * scale
    if not np.isfinite(scale).all() or not np.isfinite(shift).all():
        raise _Obstacle("its parameters give no finite scale and shift")
    return _Affine(scale, shift)


def _feeding(graph: Graph, value: Value | None) -> Node:
    """The node that writes `value` for a single reader."""
    if value is None or value.producer is None or value.graph is not graph:
        raise _Obstacle("nothing in its graph feeds it")
    if graph.is_output(value):
        raise _Obstacle(f"its input {value.name!r} is also a graph output")
    if graph.nx.out_degree(value) > 1:
        raise _Obstacle(f"its input {value.name!r} is also read elsewhere")
    if graph.pinned(value):
        raise _Obstacle(f"its input {value.name!r} is named by training information or a quantization annotation")
    return value.producer


# ---- layers: (graph, layer, affine, types) -> how it takes the affine in


def _conv(graph: Graph, layer: Node, affine: _Affine, types: Mapping[Value, TensorType]) -> _Fold:
    weight = _weight(layer, affine, lambda shape: shape[0])
    scale = affine.scale.reshape(-1, *[1] * (len(weight.shape) - 1))
    return _Fold([_Change(layer, 1, _times(weight, scale)), _Change(layer, 2, _bias(layer, layer.input(2), weight.elem_type, affine))])


def _conv_transpose(graph: Graph, layer: Node, affine: _Affine, types: Mapping[Value, TensorType]) -> _Fold:
    groups = layer.attributes.get("group", 1)
    weight = _weight(layer, affine, lambda shape: shape[1] * groups)
    # Weight axes are (input channels, output channels of one group, ...); both kinds of channels run over groups first.
    scale = np.repeat(affine.scale.reshape(groups, -1), weight.shape[0] // groups, axis=0)
    scale = scale.reshape(*scale.shape, *[1] * (len(weight.shape) - 2))
    return _Fold([_Change(layer, 1, _times(weight, scale)), _Change(layer, 2, _bias(layer, layer.input(2), weight.elem_type, affine))])


def _gemm(graph: Graph, layer: Node, affine: _Affine, types: Mapping[Value, TensorType]) -> _Fold:
    transposed, beta = layer.attributes.get("transB", 0), layer.attributes.get("beta", 1.0)
    if beta == 0 or (graph.opset() or 1) < 7:
        raise _Obstacle(f"{layer.label} feeds it, which takes no bias as it is (beta=0, or opset 6 and older)")
    weight = _weight(layer, affine, lambda shape: shape[0 if transposed else 1])
    scale = affine.scale.reshape(-1, 1) if transposed else affine.scale
    bias = _bias(layer, layer.input(2), weight.elem_type, _Affine(affine.scale, affine.shift / beta))
    return _Fold([_Change(layer, 1, _times(weight, scale)), _Change(layer, 2, bias)])


def _matmul(graph: Graph, layer: Node, affine: _Affine, types: Mapping[Value, TensorType]) -> _Fold:
    weight = _weight(layer, affine, lambda shape: shape[1])
    known = types.get(layer.output())
    if known is None or known.shape is None or len(known.shape) != 2 or len(weight.shape) != 2:
        raise _Obstacle(f"{layer.label} feeds it, whose last axis is not for certain the channels that are normalized")
    rest = LazyTensor(weight.elem_type, affine.shift.shape, lambda: affine.shift)
    return _Fold([_Change(layer, 1, _times(weight, affine.scale))], rest)


def _add(graph: Graph, layer: Node, affine: _Affine, types: Mapping[Value, TensorType]) -> _Fold:
    """MatMul + constant bias."""
    for slot in (0, 1):
        source, bias = layer.input(slot), layer.input(1 - slot)
        if bias is not None and source is not None and source.producer is not None and source.producer.op_type == "MatMul":
            product = _matmul(graph, _feeding(graph, source), affine, types).changes[0]
            return _Fold([product, _Change(layer, 1 - slot, _bias(layer, bias, product.tensor.elem_type, affine))])
    raise _Obstacle(f"{layer.label} feeds it, which adds to no MatMul")


_RULES: dict[str, Callable[[Graph, Node, _Affine, Mapping[Value, TensorType]], _Fold]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Add": _add,
}


# ---- weights


def _constant(value: Value | None) -> Tensor | None:
    """The tensor of a constant, Identity nodes looked through."""
    while value is not None and value.producer is not None and value.producer.op_type == "Identity" and not value.producer.domain:
        value = value.producer.input(0)
    return fixed_tensor(value)


def _weight(layer: Node, affine: _Affine, channels: Callable[[tuple[int, ...]], int]) -> Tensor:
    """The constant weight of a layer, with as many output `channels` as the normalization has."""
    weight = _constant(layer.input(1))
    if weight is None:
        raise _Obstacle(f"the weight of {layer.label} before it is not constant (computed, dequantized, or a graph input)")
    if weight.elem_type not in (TensorProto.FLOAT, TensorProto.DOUBLE):
        raise _Obstacle(f"the weight of {layer.label} before it has too few bits to hold the product to within 1e-5")
    if len(weight.shape) < 2 or channels(weight.shape) != len(affine.scale):
        raise _Obstacle(f"the weight of {layer.label} before it, of shape {list(weight.shape)}, does not fit {len(affine.scale)} channels")
    return weight


def _times(weight: Tensor, scale: Array) -> Tensor:
    return LazyTensor(weight.elem_type, weight.shape, lambda: weight.numpy().astype(np.float64) * scale)


def _bias(layer: Node, value: Value | None, elem_type: int, affine: _Affine) -> Tensor:
    """The bias of a layer (none at all counts as zeros) with the affine applied, one number per channel."""
    channels = len(affine.scale)
    if value is None:
        return LazyTensor(elem_type, (channels,), lambda: affine.shift)
    bias = _constant(value)
    if bias is None:
        raise _Obstacle(f"the bias of {layer.label} before it is not constant")
    if len(bias.shape) > 2 or (bias.size != 1 and (bias.size, bias.shape[-1]) != (channels, channels)):
        raise _Obstacle(f"the bias of {layer.label} before it, of shape {list(bias.shape)}, is not one number per channel")
    return LazyTensor(elem_type, (channels,), lambda: bias.numpy().astype(np.float64).reshape(-1) * affine.scale + affine.shift)


def _set(graph: Graph, change: _Change, edits: Edits) -> None:
    """Give an input new contents: in place where it is an initializer that nothing else uses, in a new one otherwise."""
    old = change.node.input(change.slot)
    if old is not None and _is_own(graph, old):
        graph.set_tensor(old, change.tensor)
        return
    name = old.name if old is not None else f"{change.node.output().name}/bias"
    graph.set_input(change.node, change.slot, add_constant(graph, edits.free_name(graph, name), change.tensor, change.node))
    if old is not None:
        remove_unused_constant(graph, old)


def _is_own(graph: Graph, value: Value) -> bool:
    """Whether `value` is an initializer of `graph` that one node alone reads."""
    if value.producer is not None or value.graph is not graph or fixed_tensor(value) is None:
        return False
    return graph.nx.out_degree(value) == 1 and not graph.is_output(value) and not graph.pinned(value)
