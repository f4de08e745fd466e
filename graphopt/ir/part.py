"""A part of a model as a model of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx

from graphopt.errors import EditError
from graphopt.ir.emit import _emit_node, _emit_shell, _renamed_sparse, inline_tensor
from graphopt.ir.graph import Graph
from graphopt.ir.node import Node, Value


def part_model(graph: Graph, targets: Iterable[Value], sources: Mapping[Value, int]) -> onnx.ModelProto:
    """The model that computes `targets` from `sources` (value → element type), both values of the root `graph`, and nothing else.

    Its outputs are `targets` in order; only those sources that are needed are inputs. Raises EditError where another input of the graph
    would be needed too.
    """
    wanted = list(dict.fromkeys(targets))
    nodes, outer = _needed(wanted, sources)
    model = _emit_shell(graph, inline_tensor)
    model.ClearField("training_info")
    proto = model.graph
    proto.name = graph.name or "part"
    proto.node.extend(_emit_node(node, inline_tensor, False) for node in graph.nodes if node in nodes)
    for value in outer:
        if value in sources:
            proto.input.append(_info(value.name, sources[value]))
        elif value.tensor is not None:
            proto.initializer.append(inline_tensor(value.tensor, value.header, value.name))
        elif value.sparse is not None:
            proto.sparse_initializer.append(_renamed_sparse(value.sparse, value.name))
        else:
            raise EditError(f"{value.name!r} is an input of graph {graph.name!r} that is needed here and not given")
    proto.output.extend(onnx.ValueInfoProto(name=value.name) for value in wanted)
    return model


def _needed(targets: Iterable[Value], sources: Mapping[Value, int]) -> tuple[set[Node], list[Value]]:
    """The nodes between, and the values that none of them writes."""
    nodes: set[Node] = set()
    outer: dict[Value, None] = {}
    stack = list(targets)
    while stack:
        value = stack.pop()
        if value in sources or value.producer is None:
            outer[value] = None
        elif value.producer not in nodes:
            nodes.add(value.producer)
            stack += [v for v in (*value.producer.inputs, *value.producer.captures) if v is not None]
    return nodes, list(outer)


def _info(name: str, elem_type: int) -> onnx.ValueInfoProto:
    info = onnx.ValueInfoProto(name=name)
    info.type.tensor_type.elem_type = elem_type
    return info
