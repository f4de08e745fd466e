"""What a pass found out about a graph, for as long as the graph stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from graphopt.ir import Graph

_T = TypeVar("_T")


class Memory(Generic[_T]):
    """One finding for each graph that is still in use: a pass lists its sites, is asked what plans cost, and carries one out."""

    def __init__(self) -> None:
        self._found: WeakKeyDictionary[Graph, tuple[int, Hashable, object, _T]] = WeakKeyDictionary()

    def of(self, graph: Graph, key: Hashable, data: object, find: Callable[[], _T]) -> _T:
        """What `find` says of the graph, found but once for one version of it, one key and the same (identical) data."""
        found = self.known(graph, key, data)
        if found is None:
            found = find()
            self._found[graph] = graph.version, key, data, found
        return found

    def known(self, graph: Graph, key: Hashable, data: object) -> _T | None:
        """The same if it was found before."""
        version, known_key, known_data, found = self._found.get(graph, (-1, None, None, None))
        return found if version == graph.version and known_key == key and known_data is data else None
