"""A supernet's graph in segments: its blocks, and what lies before, between and behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graphopt.cost.kernel import Kernel, Signature
from graphopt.ir import Graph, Node, Value
from graphopt.supernet.space import Space, Span


@dataclass(frozen=True)
class Segment:
    """A block of the space (`span`), or where there is none, the nodes that come after the blocks before it. `border` names the tensor that it
    hands to the next block, if there is a next one."""

    name: str
    span: Span | None
    border: str | None


@dataclass(frozen=True)
class Part:
    """What a segment comes to in one subnet: its kernels, in no order, and whether its border is in a blocked layout."""

    kernels: tuple[Signature, ...]
    blocked: bool


class Segments:
    """The segments of a supernet in the order of the network, and the division of a subnet's kernels among them.

    A kernel belongs to the segment of the node that anchors it; a conversion that the runtime inserts belongs to whoever asked for it.
    """

    def __init__(self, graph: Graph, space: Space) -> None:
        self._number: dict[str, int] = {}  # of the segment, by what nodes are called
        blocks = _blocks(graph, space.spans)
        after = _after(graph, blocks)
        found: list[Segment] = []
        for place in range(-1, len(space.spans)):
            if place >= 0:
                span = space.spans[place]
                self._claim(blocks, place, len(found))
                found.append(Segment(span.name, span, span.output))
            border = space.spans[place + 1].input if place + 1 < len(space.spans) else None
            self._claim(after, place, len(found))
            name = f"behind the {space.spans[place].name}" if place >= 0 else "before the first block"
            found.append(Segment(name, None, border))
        named = set(self._number.values())
        kept = [number for number in range(len(found)) if number in named or number in (0, len(found) - 1)]
        place_of = {number: place for place, number in enumerate(kept)}
        self._number = {name: place_of[number] for name, number in self._number.items()}
        self.segments = tuple(found[number] for number in kept)

    def sites(self, space: Space) -> list[list[int]]:
        """For each segment the numbers of the sites that change a node of it directly."""
        found: list[set[int]] = [set() for _ in self.segments]
        for node, sites in space.edited.items():
            if node in self._number:
                found[self._number[node]].update(sites)
        return [sorted(sites) for sites in found]

    def _claim(self, places: Mapping[Node, int], place: int, number: int) -> None:
        self._number.update((called(node), number) for node, at in places.items() if at == place)

    def parts(self, graph: Graph, kernels: Sequence[Kernel]) -> list[Part]:
        """For each segment what it comes to in `graph`, a subnet with these kernels."""
        signatures: list[list[Signature]] = [[] for _ in self.segments]
        blocked: dict[str, bool] = {}
        for kernel in kernels:
            signatures[self._of(graph, kernel)].append(kernel.signature)
            if kernel.nodes:
                made = kernel.values[len(kernel.values) - len(kernel.signature.outputs) :]
                blocked.update((value.name, kernel.blocked) for value in made if value is not None)
        borders = [False if segment.border is None else blocked.get(segment.border, False) for segment in self.segments]
        return [Part(tuple(sorted(found, key=str)), border) for found, border in zip(signatures, borders, strict=True)]

    def _of(self, graph: Graph, kernel: Kernel) -> int:
        last = len(self.segments) - 1
        if kernel.nodes:
            return self._number.get(called(kernel.nodes[0]), last)
        value = next((value for value in kernel.values if value is not None), None)
        if value is None or not graph.has_value(value.name):
            return last
        here = graph.value(value.name)
        readers = [self._number[called(node)] for node, _ in graph.consumers(here) if called(node) in self._number]
        if readers:
            return min(readers)
        return last if here.producer is None else self._number.get(called(here.producer), last)


def called(node: Node) -> str:
    """What a node goes by, in the supernet and in all subnets: its name, without one its first output."""
    return node.name or next((value.name for value in node.outputs if value is not None), "")


def _blocks(graph: Graph, spans: Sequence[Span]) -> dict[Node, int]:
    """The place of the block that each node is in."""
    found: dict[Node, int] = {}
    for place, span in enumerate(spans):
        source = graph.value(span.input)
        outside = set(_back(graph.value(span.input), frozenset()))
        for node in _back(graph.value(span.output), frozenset([source])):
            if node not in outside:
                found.setdefault(node, place)
    return found


def _back(value: Value, stop: frozenset[Value]) -> list[Node]:
    """The nodes that a value is computed by, up to the values in `stop`."""
    found: dict[Node, None] = {}
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if value in stop or value.producer is None or value.producer in found:
            continue
        found[value.producer] = None
        waiting += [source for source in (*value.producer.inputs, *value.producer.captures) if source is not None]
    return list(found)


def _after(graph: Graph, blocks: Mapping[Node, int]) -> dict[Node, int]:
    """For each node outside of blocks the last block that it depends on, -1 where it depends on none."""
    last: dict[Node, int] = {}
    for node in graph.nodes:
        sources = [value.producer for value in (*node.inputs, *node.captures) if value is not None and value.producer is not None]
        last[node] = blocks.get(node, max((last[source] for source in sources), default=-1))
    return {node: place for node, place in last.items() if node not in blocks}
