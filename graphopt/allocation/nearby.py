"""Errors at the layers right behind a change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import onnxruntime as ort
from onnx import helper

from graphopt.ir import Graph, Node, Value
from graphopt.ir.part import part_model
from graphopt.quality import Data, fitted_arrays, input_shapes, run, session
from graphopt.quality.arrays import AnyArray

Arrays = dict[str, AnyArray]


class Nearby:
    """How far a changed copy of a root `graph` is from it at the first values behind the change that both have, on `data`.

    Values are the same where their names and shapes are: `changed` copies keep the names of what they leave alone.
    """

    def __init__(self, graph: Graph, data: Data) -> None:
        self._graph, self._data = graph, data

    def error(self, changed: Graph) -> float:
        """Squared error over squared size, summed over those values; 0 where nothing differs. Raises RuntimeRefusedError."""
        before, behind = _around(self._graph, changed)
        if not behind:
            return 0.0
        errors, sizes = np.zeros(len(behind)), np.zeros(len(behind))
        here = [self._graph.value(name) for name in dict.fromkeys((*before, *behind))]
        reference = session(part_model(self._graph, here, self._inputs(self._graph)))
        other = None
        for feeds in self._data.runs():
            known = feeds | _run(reference, feeds)
            if other is None:
                sources = {changed.value(name): _elem_type(known[name]) for name in before}
                other = session(part_model(changed, [changed.value(name) for name in behind], sources))
            found = _run(other, dict(fitted_arrays({name: known[name] for name in before}, changed)))
            for place, name in enumerate(behind):
                errors[place] += np.square(found[name].astype(np.float64) - known[name]).sum()
                sizes[place] += np.square(known[name].astype(np.float64)).sum()
        return float((errors / np.maximum(sizes, 1e-30)).sum())

    def _inputs(self, graph: Graph) -> dict[Value, int]:
        types = graph.types()
        return {value: types[value].elem_type for value in graph.inputs if not value.is_initializer}


def _run(model: ort.InferenceSession, feeds: Arrays) -> Arrays:
    names = {info.name for info in model.get_inputs()}
    return run(model, {name: array for name, array in feeds.items() if name in names})


def _around(graph: Graph, changed: Graph) -> tuple[list[str], list[str]]:
    """Names of the values that the change starts from, and of the first ones behind it that both graphs compute, alike in shape."""
    shapes = input_shapes(graph)
    same = {value for value in changed.inputs if not value.is_initializer and input_shapes(changed)[value.name] == shapes.get(value.name)}
    stops: set[Value] = set()  # what is computed from values behind the change
    behind: list[str] = []
    types, old_types = changed.types(), graph.types()
    for node in changed.nodes:
        read = [value for value in (*node.inputs, *node.captures) if value is not None]
        unchanged = _unchanged(graph, node)
        if unchanged and all(_is_same(graph, value, same) for value in read):
            same.update(value for value in node.outputs if value is not None)
            continue
        reached = unchanged and all(value in stops or _is_same(graph, value, same) for value in read)
        for value in node.outputs:
            if value is None:
                continue
            twin = graph.values.get(value.name)
            comparable = (
                twin is not None
                and twin.producer is not None
                and value in types
                and twin in old_types
                and types[value] == old_types[twin]
                and _is_float(types[value].elem_type)
            )
            if reached:
                stops.add(value)
            elif comparable:
                behind.append(value.name)
                stops.add(value)
    return [value.name for value in _starts(changed, behind, same)], behind


def _starts(changed: Graph, behind: Iterable[str], same: set[Value]) -> Iterator[Value]:
    """The unchanged values from which what lies behind the change is computed."""
    stack, seen = [changed.value(name) for name in behind], set[Value]()
    while stack:
        value = stack.pop()
        if value in seen:
            continue
        seen.add(value)
        if value in same or (value.producer is None and not value.is_initializer):
            if value.producer is None or value.producer.op_type != "Constant":
                yield value
        elif value.producer is not None:
            stack += [v for v in (*value.producer.inputs, *value.producer.captures) if v is not None]


def _is_same(graph: Graph, value: Value, same: set[Value]) -> bool:
    if value in same:
        return True
    twin = graph.values.get(value.name)
    return value.producer is None and twin is not None and value.tensor is not None and twin.tensor is value.tensor


def _unchanged(graph: Graph, node: Node) -> bool:
    """Whether the graph has the same node, reading values of the same names."""
    output = next((value for value in node.outputs if value is not None), None)
    twin = None if output is None else graph.values.get(output.name)
    other = None if twin is None else twin.producer
    if other is None or (other.op_type, other.domain) != (node.op_type, node.domain):
        return False
    alike = [[None if v is None else v.name for v in each.inputs] for each in (node, other)]
    return alike[0] == alike[1] and list(node.proto.attribute) == list(other.proto.attribute)


def _is_float(elem_type: int) -> bool:
    return np.issubdtype(helper.tensor_dtype_to_np_dtype(elem_type), np.floating)


def _elem_type(array: AnyArray) -> int:
    return int(helper.np_dtype_to_tensor_dtype(array.dtype))
