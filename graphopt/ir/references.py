"""Names of values outside nodes: quantization annotations, sharding specs and training information refer to values by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import onnx

if TYPE_CHECKING:
    from graphopt.ir.graph import Graph
    from graphopt.ir.node import Value


def pinned_names(graph: Graph) -> set[str]:
    """Names in `graph` that training information or quantization parameters refer to."""
    names = {entry.value for annotation in graph.message.quantization_annotation for entry in annotation.quant_parameter_tensor_names}
    if graph.parent is None:
        for training in graph.model.training_info:
            for binding in (*training.initialization_binding, *training.update_binding):
                names.update((binding.key, binding.value))
            for algorithm in (training.initialization, training.algorithm):
                names.update(name for node in _all_nodes(algorithm.node) for name in node.input)
    return names


def rename(graph: Graph, value: Value, old: str, new: str) -> None:
    """Make everything that refers to `value` of `graph` by its old name use the new one, and mark its nodes for writing anew."""
    _rename_in_annotations(graph, old, new)
    if graph.parent is None:
        for training in graph.model.training_info:
            _rename_entries(training.initialization_binding, old, new, keys=True)
            _rename_entries(training.update_binding, old, new, keys=True)
            for algorithm in (training.initialization, training.algorithm):
                _rename_free_inputs(algorithm, old, new)
    _rename_in_nodes(graph, value, old, new)


def _rename_in_nodes(graph: Graph, value: Value, old: str, new: str) -> None:
    users = [node for node, _ in graph.consumers(value)]
    if value.producer is not None and value.producer.graph is graph:
        users.append(value.producer)
    for node in dict.fromkeys(users):
        node.stale = True
        if any(spec.tensor_name == old for device in node.proto.device_configurations for spec in device.sharding_spec):
            for device in node.own_proto().device_configurations:
                for spec in device.sharding_spec:
                    if spec.tensor_name == old:
                        spec.tensor_name = new
        for subgraph in node.subgraphs:
            if value in subgraph.nx:
                if old not in subgraph.values:
                    _rename_in_annotations(subgraph, old, new)
                _rename_in_nodes(subgraph, value, old, new)


def _rename_in_annotations(graph: Graph, old: str, new: str) -> None:
    for annotation in graph.message.quantization_annotation:
        if annotation.tensor_name == old:
            annotation.tensor_name = new
        _rename_entries(annotation.quant_parameter_tensor_names, old, new, keys=False)


def _rename_entries(entries: Iterable[onnx.StringStringEntryProto], old: str, new: str, keys: bool) -> None:
    for entry in entries:
        if keys and entry.key == old:
            entry.key = new
        if entry.value == old:
            entry.value = new


def _rename_free_inputs(algorithm: onnx.GraphProto, old: str, new: str) -> None:
    """Rename uses of a main-graph value in a training algorithm, unless the algorithm defines a value of that name itself."""
    defined = {v.name for v in algorithm.input} | {t.name for t in algorithm.initializer} | {o for n in algorithm.node for o in n.output}
    if old in defined:
        return
    for node in _all_nodes(algorithm.node):
        for slot, name in enumerate(node.input):
            if name == old:
                node.input[slot] = new


def _all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _all_nodes(graph.node)
