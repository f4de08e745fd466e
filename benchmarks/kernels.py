"""Are the kernels that graphopt finds those that ONNX Runtime executes?

    python benchmarks/kernels.py FOLDER_OF_MODELS [NAME ...]

For every .onnx file: ONNX Runtime's own optimised graph (ORT_ENABLE_ALL, CPU, one thread) beside what the rules of
hw_models/rules/onnxruntime-cpu.toml make of it. A kernel is found if both have one with the same operator and the same fused members, the
model's nodes that it computes. Nodes that only move or view data (Reshape, Transpose, Split, ...) are no members: the runtime pushes them
about and writes its own in their place. Kernels that only move data, and the conversions that the runtime inserts, have no members and
must have the same signature instead: operator, attributes, all shapes and types. The last column is that stricter comparison for all.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from pathlib import Path

import onnx

from graphopt.cost import fixed_types
from graphopt.cost.attributes import NCHWC, operator_name
from graphopt.cost.fusion import FusionRules, kernels, load_rules
from graphopt.cost.profile import optimized
from graphopt.errors import GraphoptError
from graphopt.ir import Graph, Node, Value, inline_functions, load

GOAL = 0.98
MOVES = frozenset({
    "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Cast", "Dropout", "Split", "Slice", "Gather", "Expand",
    "Concat", "ReorderInput", "ReorderOutput",
})  # fmt: skip
_BLOCKED_NAME = re.compile(r"(.*)_nchwc(?:_token_\d+)?")
Key = tuple[str, frozenset[str] | str]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help="only files whose names contain one of these")
    arguments = parser.parse_args()
    rules = load_rules("onnxruntime-cpu")
    total = same = exact = 0
    print(f"{'model':48} {'runtime':>8} {'found':>6} {'same':>7} {'exact':>7}")
    for path in sorted(arguments.folder.glob("*.onnx")):
        if arguments.names and not any(name in path.name for name in arguments.names):
            continue
        try:
            theirs, ours, exactly = compare(path, rules)
        except GraphoptError as error:
            print(f"{path.stem:48} not compared: {error}")
            continue
        count, found = max(theirs.total(), ours.total()), (theirs & ours).total()
        total, same, exact = total + count, same + found, exact + exactly
        print(f"{path.stem:48} {theirs.total():8} {ours.total():6} {found / count:7.1%} {exactly / count:7.1%}")
        for sign, extra in (("-", theirs - ours), ("+", ours - theirs)):
            for (operator, what), times in extra.items():
                print(f"    {sign} {times} x {operator} {what if isinstance(what, str) else ', '.join(sorted(what))}"[:200])
    share = same / max(total, 1)
    passed = total > 0 and share >= GOAL
    print(
        f"{'PASS' if passed else 'FAIL'}: {same} of {total} kernels the same ({share:.2%}, to reach {GOAL:.0%}); {exact / max(total, 1):.2%} with equal signatures"
    )
    return 0 if passed else 1


def compare(path: Path, rules: FusionRules) -> tuple[Counter[Key], Counter[Key], int]:
    """(the runtime's kernels, ours, how many signatures agree)."""
    graph = inline_functions(load(path))
    executed, signatures = optimized(path)
    stated = [str(signature) for signature in signatures]
    nodes = [node for node in executed.graph.node if node.op_type != "Constant"]
    theirs = Counter(map(_key, [operator_name(node.domain, node.op_type) for node in nodes], Truth(graph).members(nodes), stated))
    found = kernels(graph, rules, fixed_types(graph))
    members = [frozenset(_name(node) for node in kernel.nodes if node.op_type not in MOVES) for kernel in found]
    texts = [str(kernel.signature) for kernel in found]
    ours = Counter(map(_key, [kernel.signature.operator for kernel in found], members, texts))
    return theirs, ours, (Counter(stated) & Counter(texts)).total()


def _key(operator: str, members: frozenset[str], signature: str) -> Key:
    return (operator, members) if members and operator not in MOVES else (operator, signature)


def _name(node: Node) -> str:
    return next((value.name for value in node.outputs if value is not None), node.name)


class Truth:
    """Which nodes of a model the runtime's kernels compute, from the names of values and nodes that its optimised graph keeps.

    What lies between the values that two kernels write is computed by the second. The values inside the blocked layout have new names; there
    the kernels are named after the value that they wrote before they took in a sum or an activation.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes = {node.name: node for node in graph.nodes if node.name}
        self.moving: set[Value] = set(graph.inputs)  # what depends on the inputs
        for node in graph.nodes:
            if node.op_type not in ("Shape", "Size") and any(value in self.moving for value in node.inputs):
                self.moving.update(value for value in node.outputs if value is not None)
        self.known: dict[str, Value] = {name: value for name, value in graph.values.items() if value in self.moving}

    def members(self, nodes: list[onnx.NodeProto]) -> list[frozenset[str]]:
        """By kernel: names of its members."""
        writer = {name: place for place, node in enumerate(nodes) for name in node.output}
        written: list[list[Value]] = [self._written(node) for node in nodes]
        edges = {value for values in written for value in values} | set(self.graph.inputs)
        found: list[set[str]] = [set() for _ in nodes]
        for place, node in enumerate(nodes):
            region = self._region(written[place], edges)
            target = place
            while nodes[target].op_type in MOVES:  # what it views or moves was computed by a kernel whose result has a new name
                before = [writer[name] for name in nodes[target].input if name in writer]
                if len(before) != 1 or written[before[0]]:
                    break
                target = before[0]
            found[target] |= region
            del node
        return [frozenset(names) for names in found]

    def _written(self, node: onnx.NodeProto) -> list[Value]:
        values = [self.known[name] for name in node.output if name in self.known]
        if values:
            return values
        if node.op_type in ("ReorderInput", "ReorderOutput"):
            source = self.known.get(node.input[0])
            if source is not None:
                self.known[node.output[0]] = source
            return []
        value = self._blocked(node)
        if value is None:
            return []
        self.known[node.output[0]] = value
        return [value]

    def _blocked(self, node: onnx.NodeProto) -> Value | None:
        """The value of the model that a kernel with a result of a new name writes."""
        if node.domain == NCHWC:
            match = _BLOCKED_NAME.fullmatch(node.name)
            value = self.known.get(match[1].removesuffix("_bn")) if match else None
            if value is None:
                return None
            activation = next((a.s.decode() for a in node.attribute if a.name == "activation"), "")
            if len(node.input) > 3 and node.input[3]:
                value = self._after(value, {"Add", "Sum"}) or value
            producer = value.producer
            if (
                activation
                and producer is not None
                and producer.op_type != activation
                and not (activation == "HardSwish" and producer.op_type == "Mul")
            ):
                value = self._after(value, {activation, "Mul"} if activation == "HardSwish" else {activation}) or value
            return value
        own = self.nodes.get(node.name)
        if own is not None and own.op_type == node.op_type and own.outputs:
            return own.outputs[0]
        source = self.known.get(node.input[0]) if node.input else None
        if source is None or node.op_type not in ("QuickGelu", "Gelu"):
            return None
        value = self._joined(source)
        if node.op_type == "Gelu" and value is not None:
            value = self._after(value, {"Mul"}) or value
        return value

    def _after(self, value: Value, kinds: set[str]) -> Value | None:
        """What a consumer of one of `kinds` makes of `value`; the last one in the file."""
        makers = [node for node, _ in self.graph.consumers(value) if node.op_type in kinds]
        return makers[-1].outputs[0] if makers else None

    def _joined(self, value: Value) -> Value | None:
        """Where all that is computed from `value` comes together again."""
        order = {node: place for place, node in enumerate(self.graph.nodes)}
        open_nodes = {node for node, _ in self.graph.consumers(value)}
        while len(open_nodes) > 1:
            first = min(open_nodes, key=order.__getitem__)
            open_nodes.remove(first)
            open_nodes.update(user for output in first.outputs if output is not None for user, _ in self.graph.consumers(output))
        return next((node.outputs[0] for node in open_nodes), None)

    def _idle(self, node: Node) -> bool:
        """Whether the node leaves a value as it is, so that both sides drop it: times one, plus nothing."""
        nothing = {"Mul": 1, "Div": 1, "Add": 0, "Sub": 0}.get(node.op_type)
        operands = node.inputs[1:] if node.op_type in ("Div", "Sub") else node.inputs
        contents = [self.graph.constant(value) for value in operands]
        return nothing is not None and any(array is not None and array.size == 1 and array.item() == nothing for array in contents)

    def _region(self, values: list[Value], edges: set[Value]) -> set[str]:
        names: set[str] = set()
        todo = list(values)
        while todo:
            node = todo.pop().producer
            if node is None or _name(node) in names:
                continue
            if node.op_type not in MOVES and not self._idle(node):
                names.add(_name(node))
            todo.extend(value for value in node.inputs if value is not None and value in self.moving and value not in edges)
        return names


if __name__ == "__main__":
    sys.exit(main())
