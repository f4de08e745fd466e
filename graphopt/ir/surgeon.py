"""The bridge to onnx-graphsurgeon, for people who know it.

graphsurgeon does not carry everything that a model says (documentation, metadata, annotations, functions' overloads, ...). So the way back
compares what it exports with what it would have exported unedited, and takes from it only the differences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx

from graphopt.errors import UnsupportedError
from graphopt.ir.graph import Graph
from graphopt.ir.merge import changed_names, merge, same

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs


def to_graphsurgeon(graph: Graph) -> gs.Graph:
    """The root `graph` as an `onnx_graphsurgeon.Graph`, weights included. Raises UnsupportedError where graphsurgeon cannot import it."""
    import onnx_graphsurgeon as gs

    try:
        return gs.import_onnx(graph.to_proto())
    except Exception as error:  # it fails with whatever its own code trips over (UnboundLocalError on optional types, ...)
        raise UnsupportedError(
            f"onnx-graphsurgeon cannot import this model ({type(error).__name__}: {error}); write the pass over graphopt.Graph instead"
        ) from error


def from_graphsurgeon(surgeon: gs.Graph, original: Graph | None = None) -> Graph:
    """A `Graph` from `surgeon`; what equals `original` keeps everything that graphsurgeon does not carry."""
    exported = _export(surgeon)
    if original is None:
        return Graph.from_proto(exported)
    baseline = _export(to_graphsurgeon(original))
    if same(baseline, exported):
        return original.copy()
    source = original.to_proto()
    result = merge(source, baseline, exported)
    result.ir_version = source.ir_version  # a graph that the user made anew is stamped with onnx's latest
    _forget_undefined(source.graph, result.graph)
    graph = Graph.from_proto(result)
    for name in changed_names(source.graph, result.graph):
        if name and graph.has_value(name):
            graph.touch(graph.value(name))  # so that what is said about values downstream is inferred anew
    return graph


def _export(surgeon: gs.Graph) -> onnx.ModelProto:
    import onnx_graphsurgeon as gs

    try:
        exported: onnx.ModelProto = gs.export_onnx(surgeon, do_type_check=False)
    except Exception as error:
        raise UnsupportedError(f"onnx-graphsurgeon cannot export its graph ({type(error).__name__}: {error})") from error
    return exported


def _forget_undefined(source: onnx.GraphProto, graph: onnx.GraphProto) -> None:
    """Drop what the original says about values that are gone, and what was kept of a value that a node now makes."""
    made = {name for node in graph.node for name in node.output}
    for field in ("initializer", "input"):
        kept = [message for message in getattr(graph, field) if message.name not in made]
        _replace(graph, field, kept)
    defined = made | _names(graph) | {s.values.name for s in graph.sparse_initializer}
    before = {name for node in source.node for name in node.output}
    gone = (before | _names(source)) - defined
    _replace(graph, "value_info", [info for info in graph.value_info if info.name not in gone])
    _replace(graph, "quantization_annotation", [a for a in graph.quantization_annotation if a.tensor_name not in gone])


def _names(graph: onnx.GraphProto) -> set[str]:
    """Names of the inputs and dense initializers."""
    return {tensor.name for tensor in graph.initializer} | {info.name for info in graph.input}


def _replace(graph: onnx.GraphProto, field: str, messages: list[Any]) -> None:
    if len(messages) < len(getattr(graph, field)):
        copies = [type(message).FromString(message.SerializeToString()) for message in messages]
        graph.ClearField(field)
        getattr(graph, field).extend(copies)
