"""Two passes in a single file, for `graphopt run model.onnx --plugin examples/single_file_pass.py -p "..." -o out.onnx`.

`swap-activation` works on graphopt's own graph, `name-nodes` on an onnx-graphsurgeon graph; both show up in `graphopt passes --plugin`.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass
from typing import ClassVar

import onnx_graphsurgeon as gs

from graphopt import Context, Graph, Pass, PassResult, Skip, UnsupportedError, parameter, surgeon_pass

# Activations of one input, and the opset of ONNX that brought each.
SINCE = {
    "Elu": 6,
    "Gelu": 20,
    "HardSigmoid": 6,
    "HardSwish": 14,
    "LeakyRelu": 6,
    "Mish": 18,
    "Relu": 6,
    "Sigmoid": 6,
    "Softplus": 1,
    "Tanh": 6,
}


@dataclass(frozen=True)
class SwapActivation(Pass):
    """Replace every activation of one kind by another, for a device that does not have it or runs it slowly."""

    name: ClassVar[str] = "swap-activation"
    old: str = parameter(choices=SINCE, help="the operator to replace")
    new: str = parameter("Relu", choices=SINCE, help="the operator to put in its place, with its default attributes")

    def apply(self, graph: Graph, context: Context) -> PassResult:
        opset = graph.opset() or 0
        if opset < SINCE[self.new]:
            raise UnsupportedError(f"{self.new} needs opset {SINCE[self.new]}, and the model has {opset}; convert the model first")
        replaced, skipped = 0, []
        for node in graph.nodes:
            if node.op_type != self.old or node.domain != "":
                continue
            output = node.output()
            if graph.is_output(output):  # its name belongs to the model's interface, and so does its meaning
                skipped.append(Skip(node.label, "it writes an output of the model"))
            elif context.permit(f"replace {node.label}"):
                swapped = graph.add_node(self.new, node.inputs, [graph.unique_name(output.name)], name=node.name, at=node)
                graph.replace_uses(output, swapped.output())
                graph.remove(node)
                replaced += 1
        return PassResult(changed=replaced > 0, summary={"replaced": replaced}, skipped=tuple(skipped))


@surgeon_pass
def name_nodes(graph: gs.Graph, *, prefix: str = "") -> None:
    """Give every nameless node a name, `Conv_0`, `Conv_1`, ..., so that profilers and messages can tell them apart."""
    taken = {node.name for node in graph.nodes}
    numbers: defaultdict[str, itertools.count[int]] = defaultdict(itertools.count)
    for node in graph.nodes:
        if not node.name:
            names = (f"{prefix}{node.op}_{number}" for number in numbers[node.op])
            node.name = next(name for name in names if name not in taken)
