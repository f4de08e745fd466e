"""What the rules of `simplify` see of a graph, and what they ask about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from graphopt.ir import Graph, Node, TensorType, Value, partial_integers

from ._edits import Edits, fixed_tensor, type_of

Shape = tuple[int | str | None, ...]

# Larger constants are not read to see whether they are all zeros or ones.
_LARGEST_READ = 1 << 16


@dataclass
class Scope:
    """One graph, its types as they were before the first rewrite (rewrites here keep the types of what remains), and the log."""

    graph: Graph
    types: Mapping[Value, TensorType]
    edits: Edits

    def shape(self, value: Value | None) -> Shape | None:
        known = type_of(self.types, value)
        return None if known is None else known.shape

    def constant(self, value: Value | None) -> npt.NDArray[Any] | None:
        """The contents of a constant of moderate size, None for everything else."""
        tensor = fixed_tensor(value)
        return None if tensor is None or tensor.size > _LARGEST_READ else tensor.numpy()

    @cached_property
    def integers(self) -> dict[Value, npt.NDArray[np.object_]]:
        return partial_integers(self.graph, self.types)

    @cached_property
    def opset(self) -> int:
        return self.graph.opset() or 1

    def drop(self, node: Node, source: Value | None) -> Iterable[Node]:
        """Let `source` stand for the node's output."""
        if source is None or not node.outputs or node.outputs[0] is None:
            return ()
        readers = [reader for reader, _ in self.graph.consumers(node.outputs[0])]
        return readers if self.edits.replace(self.graph, node, source, "no-ops") else ()


# Rewrites at a node if it can, and returns the nodes whose inputs changed.
Rule = Callable[[Scope, Node], Iterable[Node]]


def same(a: Shape | None, b: Shape | None) -> bool:
    return a is not None and a == b and None not in a


def same_count(a: Shape | None, b: Shape | None) -> bool:
    """Like `same` for shapes of equal element count: one dimension may be unknown, the rest decides it."""
    if a is None or b is None or len(a) != len(b):
        return False
    unequal = [i for i, (left, right) in enumerate(zip(a, b, strict=True)) if left is None or left != right]
    if len(unequal) != 1:
        return not unequal
    numbers = isinstance(a[unequal[0]], int) and isinstance(b[unequal[0]], int)  # a model that contradicts itself
    return not numbers and all(isinstance(size, int) and size > 0 for i, size in enumerate(a) if i != unequal[0])


def uniform(scope: Scope, value: Value | None, number: int) -> npt.NDArray[Any] | None:
    array = scope.constant(value)
    return array if array is not None and array.size and bool(np.all(array == number)) else None


def integers(scope: Scope, node: Node, attribute: str, slot: int) -> list[int] | None:
    """A list of integers that older opsets have as an attribute and newer ones as an input; None where it is absent or not constant."""
    if attribute in node.attributes:
        return list(node.attributes[attribute])
    array = scope.constant(node.input(slot))
    return None if array is None else [int(item) for item in array.reshape(-1)]
