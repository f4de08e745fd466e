"""Putting a sequence of layers in the place of one; the last of them is the node that was there, so that it keeps its name and output."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from graphopt.ir import Graph, Node, Value
from graphopt.repair import ConvLayer, GemmLayer, Layer, Stage, add_constant, set_constant

from ._edits import remove_unused_constant
from ._families import Family

Array = npt.NDArray[Any]


def replace(family: Family, stages: tuple[Stage, ...]) -> None:
    """Let the stages stand for every layer of a family, which goes on sharing their weights."""
    graph, name = family.graph, family.weight.name
    first_node, old = family.layers[0].node, family.weight
    arrays = [_stored(family.layers[0], stage, last=stage is stages[-1]) for stage in stages]
    weights = [add_constant(graph, f"{name}/{place}", array, first_node) for place, array in enumerate(arrays[:-1])]
    for layer in family.layers:
        for stage, weight in zip(stages, weights, strict=False):
            _insert(graph, layer, stage, weight)
        _become_last(graph, layer, stages[-1])
    set_constant(graph, [(layer.node, layer.slot) for layer in family.layers], arrays[-1], name)
    remove_unused_constant(graph, old)


def shift_bias(graph: Graph, layer: Layer, shift: Array) -> None:
    """Add `shift` [groups, outs] to what a layer that can take a bias adds to its output."""
    bias, slot = layer.bias(graph), layer.bias_slot
    assert bias is not None
    assert slot is not None
    old = layer.node.input(slot)
    hint = old.name if old is not None else f"{layer.node.output().name}/bias"
    set_constant(graph, [(layer.node, slot)], layer.stored_bias(bias + shift), hint)
    if old is not None:
        remove_unused_constant(graph, old)


def _stored(layer: Layer, stage: Stage, last: bool) -> Array:
    """The stage's weight as its node reads it."""
    weight, dtype = stage.weight, layer.weight.dtype
    if isinstance(layer, ConvLayer):
        return weight.reshape(-1, *weight.shape[2:]).astype(dtype)
    if last or not isinstance(layer, GemmLayer):
        return layer.stored(weight)
    # alpha is the last node's
    matrix = weight[0]
    return np.asarray((matrix.T if layer.slot else matrix).astype(dtype))


def _insert(graph: Graph, layer: Layer, stage: Stage, weight: Value) -> None:
    """A node for a stage before the last, between the layer and its source."""
    node, source = layer.node, layer.source
    name = graph.unique_name(f"{node.output().name}/{_part(weight)}")
    label = f"{node.name}/{_part(weight)}" if node.name else ""
    attributes: dict[str, Any] = {}
    operator = node.op_type
    inputs: list[Value | None] = [source, weight] if layer.slot else [weight, source]
    if isinstance(layer, ConvLayer):
        attributes = _moves(node, stage)
    elif isinstance(layer, GemmLayer):
        attribute = "transA" if layer.slot else "transB"
        if node.attributes.get(attribute, 0):
            attributes[attribute] = 1
            graph.set_attribute(node, attribute, None)
        if (graph.opset() or 1) < 11:  # where a Gemm must have a third factor
            inputs.append(add_constant(graph, f"{weight.name}/zero", np.zeros(1, layer.weight.dtype), node))
    made = graph.add_node(operator, inputs, [name], attributes, name=label, at=node)
    graph.set_input(node, 0 if layer.slot else 1, made.output())


def _part(weight: Value) -> str:
    return weight.name.rpartition("/")[2]


def _become_last(graph: Graph, layer: Layer, stage: Stage) -> None:
    node = layer.node
    if not isinstance(layer, ConvLayer):
        return
    wanted = _moves(node, stage)
    for name in ("group", "kernel_shape", "strides", "dilations", "pads", "auto_pad"):
        if name in node.attributes or name in wanted:
            graph.set_attribute(node, name, wanted.get(name))


def _moves(node: Node, stage: Stage) -> dict[str, Any]:
    """The attributes of a Conv for a stage: the original's along the stage's axes, none along the others."""
    kernel = stage.weight.shape[3:]
    attributes: dict[str, Any] = {"kernel_shape": list(kernel)}
    if len(stage.weight) != 1:
        attributes["group"] = len(stage.weight)
    if not stage.axes:
        return attributes
    for name, count in (("strides", 1), ("dilations", 1), ("pads", 2)):
        given = node.attributes.get(name)
        if given is not None:
            neutral = 0 if name == "pads" else 1
            attributes[name] = [
                number if place % len(kernel) in stage.axes else neutral for place, number in enumerate(given[: count * len(kernel)])
            ]
    if "auto_pad" in node.attributes:
        attributes["auto_pad"] = node.attributes["auto_pad"]
    return attributes
