"""The bridge to onnx-graphsurgeon, for people who know it.

graphsurgeon does not carry everything that a model says (documentation, metadata, annotations, ...; shared knowledge of this project's
round-trip table). So the way back compares what it exports with what it would have exported unedited: whatever is the same is taken from
the original, message by message; the rest is taken from graphsurgeon.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import onnx

from ..errors import UnsupportedError
from .graph import Graph

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
    source, baseline = original.to_proto(), _export(to_graphsurgeon(original))
    result = onnx.ModelProto()
    result.CopyFrom(source)
    _sync_opsets(result, baseline, exported)
    graph = result.graph
    if exported.graph.name != baseline.graph.name:
        graph.name = exported.graph.name
    for field, key in (("node", _node_key), ("initializer", _name), ("input", _name), ("output", _name)):
        merged = list(_merge(getattr(source.graph, field), getattr(baseline.graph, field), getattr(exported.graph, field), key))
        graph.ClearField(field)  # type: ignore[arg-type]
        getattr(graph, field).extend(merged)
    _restore_dropped(source, baseline, graph)
    return Graph.from_proto(result)


def _export(surgeon: gs.Graph) -> onnx.ModelProto:
    import onnx_graphsurgeon as gs

    try:
        return gs.export_onnx(surgeon, do_type_check=False)
    except Exception as error:
        raise UnsupportedError(f"onnx-graphsurgeon cannot export its graph ({type(error).__name__}: {error})") from error


def _merge(source: Iterable, baseline: Iterable, exported: Iterable, key) -> Iterable:  # type: ignore[no-untyped-def,type-arg]
    """The exported messages, each replaced by the source's where graphsurgeon left it as it was."""
    originals = {key(message): message for message in source}
    before = {key(message): message.SerializeToString(deterministic=True) for message in baseline}
    for message in exported:
        original = originals.get(key(message))
        if original is not None and before.get(key(message)) == message.SerializeToString(deterministic=True):
            yield original
        else:
            if original is not None and original.HasField("doc_string") and not message.HasField("doc_string"):
                message.doc_string = original.doc_string
            if original is not None and not message.metadata_props:
                message.metadata_props.extend(original.metadata_props)
            yield message


def _name(message: onnx.ValueInfoProto | onnx.TensorProto) -> str:
    return message.name


def _node_key(node: onnx.NodeProto) -> tuple[str, ...]:
    return tuple(node.output) or (node.op_type, node.name, *node.input)


def _sync_opsets(result: onnx.ModelProto, baseline: onnx.ModelProto, exported: onnx.ModelProto) -> None:
    """Take over the opset versions that the user changed, and only those."""
    before = {opset.domain: opset.version for opset in baseline.opset_import}
    for opset in exported.opset_import:
        if before.get(opset.domain) == opset.version:
            continue
        mine = next((o for o in result.opset_import if o.domain == opset.domain), None)
        if mine is None:
            mine = result.opset_import.add(domain=opset.domain)
        mine.version = opset.version


def _restore_dropped(source: onnx.ModelProto, baseline: onnx.ModelProto, graph: onnx.GraphProto) -> None:
    """Bring back initializers that graphsurgeon drops by itself, and forget what is said about values that are gone."""
    kept = {tensor.name for tensor in baseline.graph.initializer}
    defined = {name for node in graph.node for name in node.output} | {t.name for t in graph.initializer}
    for tensor in source.graph.initializer:
        if tensor.name not in kept and tensor.name not in defined:
            graph.initializer.append(tensor)
    defined |= {t.name for t in graph.initializer} | {i.name for i in graph.input}
    infos = [info for info in source.graph.value_info if info.name in defined]
    del graph.value_info[:]
    graph.value_info.extend(infos)
