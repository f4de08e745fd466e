"""Going through a model once while looking at one place after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import networkx as nx
from onnx import TensorProto

from graphopt.ir import Graph, Node, Value
from graphopt.quality import Data
from graphopt.quality.arrays import AnyArray
from graphopt.repair.stream import Stream, Values

_LARGEST_STORE = 4 * 2**30  # bytes of the values at a place, over all samples, that are written to a temporary file
_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)
_FAR = 4  # places looked at after which a store is renewed even where it grows


class Walk:
    """The values of a root graph over data, for places further and further on: nothing is computed much more than once.

    What crosses a narrow place before the one that is looked at is kept in a temporary file, from which later runs start.
    """

    def __init__(self, graph: Graph, data: Data) -> None:
        self._stream = Stream(graph, data)
        self._samples = data.samples
        self.runs = sum(1 for _ in data.runs())
        self._place = {node: place for place, node in enumerate(graph.nodes)}
        self._crossing = list(_crossing(graph))
        self._bytes = [sum(_bytes_per_sample(graph, value) for value in values) for values in self._crossing]
        self._start = 0
        self._since = 0

    def values(self, targets: Sequence[Value], at: Node) -> Iterator[Values]:
        """The values of `targets`, run by run: what the node `at` reads, and what it and later nodes write.

        Nodes before an earlier `at` must not have been edited since.
        """
        self._seek(self._place[at])
        yield from self._stream.values(targets)

    def outputs(self) -> Iterator[dict[str, AnyArray]]:
        """The floating-point outputs of the graph that its nodes write, run by run and by name, from the last store on where that will do."""
        written = [value for value in self._stream.graph.outputs if value.producer is not None and _is_float(value)]
        if not written:
            return
        self._seek(min(self._place[value.producer] for value in written if value.producer is not None))
        for found in self._stream.values(written):
            yield {value.name: array for value, array in found.items()}

    def forget(self) -> None:
        """Go back to the inputs: nodes that were passed already have been edited."""
        self._stream.close()
        self._start = 0

    def close(self) -> None:
        self._stream.close()

    def _seek(self, place: int) -> None:
        """Store what crosses the narrowest place since the last store and up to `place`, where that is worth while."""
        self._since += 1
        if place < self._start:
            self.forget()
        ahead = range(self._start + 1, place + 1)
        if not ahead:
            return
        best = min(ahead, key=lambda p: (self._bytes[p], -p))
        grows = self._bytes[best] > self._bytes[self._start]
        if self._bytes[best] * self._samples > _LARGEST_STORE or (grows and self._since < _FAR):
            return
        self._stream.advance(self._crossing[best])
        self._start, self._since = best, 0


def _crossing(graph: Graph) -> Iterator[list[Value]]:
    """For each node of `graph` in order, the values that exist before it and are needed by it or later; constants are left out."""
    nodes = graph.nodes
    last = {value: place for place, node in enumerate(nodes) for value in (*node.inputs, *node.captures) if value is not None}
    reached: set[Node | Value] = set()
    for value in graph.inputs:
        if value in graph.nx:
            reached |= {value, *nx.descendants(graph.nx, value)}
    alive = dict.fromkeys(value for value in graph.inputs if value in last)
    for place, node in enumerate(nodes):
        alive = {value: None for value in alive if last[value] >= place}
        yield list(alive)
        alive |= dict.fromkeys(value for value in node.outputs if value is not None and value in reached and value in last)


def _is_float(output: Value) -> bool:
    return output.type is not None and output.type.tensor_type.elem_type in _FLOATS


def _bytes_per_sample(graph: Graph, value: Value) -> int:
    """About how large a value is for one sample; what is not known counts as 1."""
    shape = graph.shape(value)
    return 4 * prod(size for size in shape if isinstance(size, int)) if shape else 4
