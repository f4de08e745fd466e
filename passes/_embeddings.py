"""Position embeddings for another resolution."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from graphopt.ir import Graph, Node, Value
from graphopt.quality import resample
from graphopt.repair import set_constant

from ._grids import Grid, Grids, Misfit, Pair

Array = npt.NDArray[Any]

# What an attention score passes on its way to the Softmax.
_TO_SOFTMAX = frozenset({"Add", "Cast", "Clip", "Div", "Identity", "Mul", "Reshape", "Squeeze", "Sub", "Transpose", "Unsqueeze", "Where"})


class Embeddings:
    """Constants that are added to the places of a grid."""

    def __init__(self, graph: Graph, grids: Grids, method: str) -> None:
        self._graph, self._grids, self._method = graph, grids, method

    def interpolate(self, node: Node, slot: int, pairs: dict[int, Pair]) -> None:
        """Interpolate what the Add `node` reads in `slot` along some of its axes, entries beside the grid (class tokens) as they are.

        The places of an axis are interpolated as Dosovitskiy et al. (An Image is Worth 16x16 Words, 2021) do for other resolutions. Raises
        Misfit for what is no position embedding: masks, tables of relative positions, coordinates.
        """
        value, contents = node.input(slot), self._graph.constant(node.input(slot))
        assert value is not None
        if contents is None:
            raise Misfit(f"{value.name!r}, which it adds, is computed from constants; `simplify` folds it first")
        if contents.dtype.kind not in "fV" or contents.dtype.itemsize < 2:
            raise Misfit(
                f"its constant {value.name!r} of shape {list(contents.shape)} has a value for each place, and they are no embedding"
            )
        if _is_added_to_scores(self._graph, node):
            raise Misfit(
                f"it adds a mask or a table of relative positions to the scores of attention, {value.name!r} {list(contents.shape)}"
            )
        made = np.asarray(contents, dtype=np.float64)
        for axis, pair in pairs.items():
            grid = self._grids.grid(pair) or (Grid((pair,)) if self._grids.is_side(pair) else None)
            if grid is None:
                raise Misfit(f"{value.name!r}, which it adds, has {pair[0]} entries, of which it is not known what grid they are")
            made = _along(made, axis, grid, self._method)
        set_constant(self._graph, [(node, slot)], made.astype(contents.dtype), value.name)


def _along(contents: Array, axis: int, grid: Grid, method: str) -> Array:
    places = math.prod(old for old, _ in grid.sides)
    before, inside, after = np.split(contents, [grid.before, grid.before + places], axis=axis)
    unfolded = inside.reshape(*contents.shape[:axis], *[old for old, _ in grid.sides], *contents.shape[axis + 1 :])
    for number, (old, new) in enumerate(grid.sides):
        if old != new:
            if _is_straight(unfolded, axis + number):
                raise Misfit("what it adds are coordinates of places, which do not stretch")
            unfolded = resample(unfolded, axis + number, new, method)
    folded = unfolded.reshape(*contents.shape[:axis], -1, *contents.shape[axis + 1 :])
    return np.concatenate([before, folded, after], axis=axis)


def _is_straight(contents: Array, axis: int) -> bool:
    """Whether values go up by the same step all along an axis, as coordinates do."""
    if contents.shape[axis] < 3:
        return False
    steps = np.diff(contents.astype(np.float64), axis=axis)
    level = max(float(np.abs(contents).max()), 1e-12)
    return bool(np.abs(np.diff(steps, axis=axis)).max() <= 1e-6 * level and np.abs(steps).max() > 1e-3 * level)


def _is_added_to_scores(graph: Graph, node: Node) -> bool:
    stack, seen = [node.output()], set[Value]()
    while stack:
        value = stack.pop()
        if value in seen:
            continue
        seen.add(value)
        for reader, _ in graph.consumers(value):
            if reader.op_type == "Softmax":
                return True
            if reader.op_type in _TO_SOFTMAX and not reader.domain:
                stack += [output for output in reader.outputs if output is not None]
    return False
