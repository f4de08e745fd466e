"""What states a size says something else after a cut: attributes, shape constants, and what the model computes from its own shapes.

The integers that a model computes are evaluated before and after the cut. An input that a rule follows must come to what the rule
requires: where the model's own computation does, it is left alone; otherwise the input is replaced by a constant. Anything else that
reads such an integer (a scale 1/sqrt(d) computed from a shape, say) belongs to the function and keeps the value that it had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from graphopt.channels.labels import Label
from graphopt.channels.operator import Follow, Left, Shape, Walk
from graphopt.ir import INTEGERS, AttributeValue, Graph, IntegerEvaluator, Node, TensorType, Value, is_known

if TYPE_CHECKING:
    from graphopt.channels.analysis import Analysis

Partial = npt.NDArray[np.object_]


def rewrite(analysis: Analysis, left: Left, nodes: Sequence[Node]) -> None:
    """Rewrite attributes and integer inputs of the analysed graph, whose weights have just been cut, and drop nodes that this makes idle.

    `nodes` are the graph's, in their order.
    """
    graph = analysis.graph

    def resize(shape: Shape, labels: Sequence[Label]) -> Shape:
        return tuple(size if label is None else len(left(label)) for size, label in zip(shape, labels, strict=True))

    # Nothing that is computed changes where no size is read.
    sized = _read_sizes(nodes, analysis.labels)
    computing = _computing_integers(nodes, analysis.types)
    before = _integers(computing, analysis.types)
    after = _integers(computing, _Resized(analysis.types, analysis.labels, resize)) if sized else before
    followed: set[tuple[Node, int]] = set()
    idle: list[Value] = []
    for follow in analysis.follow:
        if isinstance(follow.place, str):
            _rewrite_attribute(graph, follow, follow.required(left))
        else:
            followed.add((follow.node, follow.place))
            idle += _rewrite_input(analysis, follow, left, after)
    for node, slot, value in _other_readers(graph, before, followed) if sized else ():
        if _differs(before[value], after.get(value)):
            idle += _set_constant(graph, node, slot, before[value].astype(np.int64), analysis.types[value].elem_type)
    remove_idle(graph, idle)


def freeze_unrewritable(walk: Walk) -> None:
    """Freeze the labels whose sizes reach a reader that would see a change that cannot be undone by a constant.

    That is the case where the integer that is read is not known in full, or is a graph output. Whether it would change is found by
    evaluating the integers with every labelled size made different.
    """
    graph = walk.graph
    if not _read_sizes(graph.nodes, walk.of):
        return
    before = walk.integers.partial
    after = _integers(_computing_integers(graph.nodes, walk.types), _Resized(walk.types, walk.of, _strange))
    followed = {(follow.node, follow.place) for follow in walk.follow if isinstance(follow.place, int)}
    for node, slot, value in _other_readers(graph, before, followed):
        unknown = not is_known(before[value])
        if (unknown or slot < 0) and _differs(before[value], after.get(value)):
            walk.labels.where = node.label
            _freeze_upstream(walk, value, "reads a size of it that is not known before it runs")
    for value in graph.outputs:
        if value in before and _differs(before[value], after.get(value)):
            walk.labels.where = f"output {value.name!r}"
            _freeze_upstream(walk, value, "a graph output states its size")


class _Resized(Mapping[Value, TensorType]):
    """Types with other sizes of labelled axes; made when they are asked for, which few are."""

    def __init__(
        self, types: Mapping[Value, TensorType], labels: Mapping[Value, list[Label]], resize: Callable[[Shape, Sequence[Label]], Shape]
    ) -> None:
        self._types, self._labels, self._resize = types, labels, resize

    def __getitem__(self, value: Value) -> TensorType:
        known, labels = self._types[value], self._labels.get(value)
        return known if known.shape is None or not labels else TensorType(known.elem_type, self._resize(known.shape, labels))

    def __iter__(self) -> Iterator[Value]:
        return iter(self._types)

    def __len__(self) -> int:
        return len(self._types)


def _strange(shape: Shape, labels: Sequence[Label]) -> Shape:
    return tuple(size if label is None else 1_000_003 + len(label) for size, label in zip(shape, labels, strict=True))


def _freeze_upstream(walk: Walk, value: Value, why: str) -> None:
    """Freeze the labels of everything whose size `value` is computed from."""
    stack, seen = [value], {value}
    while stack:
        producer = stack.pop().producer
        if producer is None:
            continue
        for source in producer.inputs:
            if source is None:
                continue
            if producer.op_type in ("Shape", "Size") and not producer.domain:
                for label in walk.of.get(source, []):
                    walk.labels.freeze(label, why)
            elif source not in seen:
                seen.add(source)
                stack.append(source)


def _read_sizes(nodes: Sequence[Node], labels: Mapping[Value, list[Label]]) -> bool:
    """Whether any of the nodes reads the size of an axis that may change."""
    sized = [node for node in nodes if node.op_type in ("Shape", "Size") and not node.domain]
    return any(label is not None for node in sized for value in node.inputs if value is not None for label in labels.get(value, []))


def _computing_integers(nodes: Sequence[Node], types: Mapping[Value, TensorType]) -> list[Node]:
    """The nodes whose first outputs may be integers: a small part of a model, which is then evaluated several times."""
    outputs = ((node, types.get(node.outputs[0])) for node in nodes if node.outputs and node.outputs[0] is not None)
    return [node for node, known in outputs if known is None or known.elem_type in INTEGERS]


def _integers(nodes: Sequence[Node], types: Mapping[Value, TensorType]) -> dict[Value, Partial]:
    evaluator = IntegerEvaluator(types)
    for node in nodes:
        evaluator.visit(node)
    return evaluator.partial


def _other_readers(graph: Graph, integers: dict[Value, Partial], followed: set[tuple[Node, int]]) -> Iterator[tuple[Node, int, Value]]:
    """(node, slot, value) where a computed integer is read, other than by the computation of integers or by an input that a rule follows."""
    for value in integers:
        if value.producer is None or value.producer.op_type == "Constant":
            continue
        for node, slot in graph.consumers(value):
            computes = bool(node.outputs) and node.outputs[0] in integers and slot >= 0
            if not computes and (node, slot) not in followed:
                yield node, slot, value


def _differs(before: Partial, after: Partial | None) -> bool:
    return after is None or before.shape != after.shape or bool((before != after).any())


def _rewrite_attribute(graph: Graph, follow: Follow, required: AttributeValue | None) -> None:
    assert isinstance(follow.place, str)
    if follow.node.attributes.get(follow.place) != required:
        graph.set_attribute(follow.node, follow.place, required)


def _rewrite_input(analysis: Analysis, follow: Follow, left: Left, after: dict[Value, Partial]) -> list[Value]:
    assert isinstance(follow.place, int)
    graph = analysis.graph
    required = [int(size) for size in follow.required(left)]
    value = follow.node.input(follow.place)
    current = after.get(value) if value is not None else None
    if value is not None and current is None and (stated := graph.constant(value)) is not None:
        current = stated.astype(object)
    if current is not None:
        elements = [element if isinstance(element, int) else None for element in current.reshape(-1).tolist()]
        if follow.fits(elements, left) if follow.fits is not None else elements == required:
            return []
    for name, content in follow.attributes.items():
        graph.set_attribute(follow.node, name, content)
    # What replaces an input is of its type; what is added (the lengths of a Split) is int64.
    known = analysis.types.get(value) if value is not None else None
    elem_type = TensorProto.INT64 if known is None else known.elem_type
    return _set_constant(graph, follow.node, follow.place, np.array(required, np.int64), elem_type)


def _set_constant(graph: Graph, node: Node, slot: int, contents: npt.NDArray[np.int64], elem_type: int) -> list[Value]:
    """Let the node read a new constant; the answer is what it read before, which may be idle now."""
    old = node.input(slot)
    hint = old.name if old is not None else f"{node.output().name}_{slot}"
    dtype = np.int32 if elem_type == TensorProto.INT32 else np.int64
    graph.set_input(node, slot, graph.add_initializer(graph.unique_name(f"{hint}_cut"), contents.astype(dtype)))
    return [old] if old is not None else []


def remove_idle(graph: Graph, values: list[Value]) -> None:
    """Remove what nobody reads any more, up from `values`."""
    stack = list(values)
    while stack:
        value = stack.pop()
        if value.graph is not graph or graph.consumers(value) or graph.is_output(value) or graph.pinned(value):
            continue
        node = value.producer
        if node is None:
            if value.is_initializer and (not graph.is_input(value) or graph.ir_version < 4):
                graph.remove_initializer(value)
        elif not any(v is not None and (graph.consumers(v) or graph.is_output(v)) for v in node.outputs):
            inputs = [v for v in node.inputs if v is not None]
            graph.remove(node)
            stack += inputs
