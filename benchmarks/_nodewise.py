"""A network as if its runtime fused nothing: one kernel per node, for the sum of node-wise measurements."""

from __future__ import annotations

from collections import Counter

from graphopt.cost import fixed_types
from graphopt.cost.attributes import operator_name, timed_attributes
from graphopt.cost.kernel import Operand, Signature, signature
from graphopt.ir import Graph, Node, Value


def node_signatures(graph: Graph) -> Counter[Signature]:
    """The signature of every node that depends on the inputs; nodes on sizes alone, and what is constant, take no time in any runtime."""
    types = fixed_types(graph)
    alive: set[Value] = set(graph.inputs)
    found: Counter[Signature] = Counter()
    for node in graph.nodes:
        if node.op_type == "Shape" or not any(value in alive for value in node.inputs):
            continue
        alive.update(value for value in node.outputs if value is not None)

        def operand(value: Value | None) -> Operand | None:
            known = None if value is None else types.by_value.get(value)
            if value is None or known is None or known.static is None:
                return None
            return Operand(known.static, known.elem_type, value not in alive)

        operands = [operand(value) for value in node.inputs]
        outputs = [made for value in node.outputs if (made := operand(value)) is not None]
        outputs = [Operand(made.shape, made.elem_type) for made in outputs]
        rank = len(operands[0].shape) if operands and operands[0] is not None else None
        name = operator_name(node.domain, node.op_type)
        found[signature(name, operands, outputs, timed_attributes(name, dict(node.attributes), rank, _reader(graph, node)))] += 1
    return found


def _reader(graph: Graph, node: Node):  # type: ignore[no-untyped-def]
    def integers(slot: int) -> list[int] | None:
        contents = graph.constant(node.input(slot)) if slot < len(node.inputs) else None
        return None if contents is None or contents.dtype.kind != "i" or contents.size > 64 else [int(item) for item in contents.ravel()]

    return integers
