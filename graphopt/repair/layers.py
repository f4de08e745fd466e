"""Conv, Gemm and MatMul with a constant operand, seen alike: for each group, output = matrix @ input + bias.

"Rows" are what a layer multiplies with its matrix: the windows of a convolution, the vectors of a product. A layer has `groups` matrices of
`outs` x `ins` numbers; arrays of rows are [rows, groups, ins], of outputs [rows, groups, outs].
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from graphopt.ir import ArrayTensor, Graph, Node, Value
from graphopt.repair.windows import Windows, windows_of

Array = npt.NDArray[Any]
Pick = npt.NDArray[np.int64]

_TYPES = (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))


class NoLayer(Exception):
    """Why a node is no layer with a weight of its own."""


@dataclass(frozen=True)
class Layer(ABC):
    """One of these nodes; `slot` is the input that holds the constant."""

    node: Node
    slot: int
    weight: Array  # as it stands in the file

    @property
    def value(self) -> Value:
        """The weight as the node reads it."""
        value = self.node.input(self.slot)
        assert value is not None
        return value

    @property
    def source(self) -> Value:
        """What is multiplied with the weight."""
        value = self.node.input(0 if self.slot else 1)
        assert value is not None
        return value

    @property
    @abstractmethod
    def sizes(self) -> tuple[int, int, int]:
        """(groups, outs, ins)"""

    @property
    def groups(self) -> int:
        return self.sizes[0]

    @property
    @abstractmethod
    def matrix(self) -> Array:
        """float64 [groups, outs, ins]"""

    @abstractmethod
    def stored(self, matrix: Array) -> Array:
        """A matrix as the weight would be stored, of the weight's own type."""

    @abstractmethod
    def count(self, x: Array) -> int:
        """How many rows there are in an input."""

    @abstractmethod
    def rows(self, x: Array, pick: Pick) -> Array:
        """The rows with the numbers `pick`."""

    @abstractmethod
    def outputs(self, y: Array, pick: Pick) -> Array:
        """The outputs that belong to them."""

    @property
    def bias_slot(self) -> int | None:
        """Where the node takes one number per output, if it can."""
        return None

    def bias(self, graph: Graph) -> Array | None:
        """float64 [groups, outs]; None where no bias can be given, or where it is not constant."""
        return None

    def stored_bias(self, bias: Array) -> Array:
        """A bias as it would be stored."""
        return bias.reshape(-1).astype(self.weight.dtype)


class ConvLayer(Layer):
    """Channels of groups; rows are windows."""

    @property
    def windows(self) -> Windows:
        return windows_of(self.node, self.weight.shape[2:])

    @property
    def sizes(self) -> tuple[int, int, int]:
        groups = int(self.node.attributes.get("group", 1))
        return groups, self.weight.shape[0] // groups, math.prod(self.weight.shape[1:])

    @property
    def matrix(self) -> Array:
        return self.weight.astype(np.float64).reshape(self.sizes)

    def stored(self, matrix: Array) -> Array:
        return matrix.reshape(-1, *self.weight.shape[1:]).astype(self.weight.dtype)

    def count(self, x: Array) -> int:
        return len(x) * math.prod(self.windows.counts(x.shape[2:]))

    def rows(self, x: Array, pick: Pick) -> Array:
        return self.windows.cut(x, pick).reshape(len(pick), self.groups, -1)

    def outputs(self, y: Array, pick: Pick) -> Array:
        sample, *place = np.unravel_index(pick, (len(y), *y.shape[2:]))
        index: tuple[Any, ...] = (sample, slice(None), *place)
        return np.asarray(y[index]).reshape(len(pick), self.groups, -1)

    @property
    def bias_slot(self) -> int | None:
        return 2

    def bias(self, graph: Graph) -> Array | None:
        given = self.node.input(2)
        if given is None:
            return np.zeros(self.sizes[:2])
        found = graph.constant(given)
        return None if found is None else found.astype(np.float64).reshape(self.groups, -1)


class GemmLayer(Layer):
    """Y = alpha A' B' + beta C with one constant factor; where that is A, rows are columns of B'."""

    @property
    def sizes(self) -> tuple[int, int, int]:
        rows, columns = self.weight.shape
        return (1, rows, columns) if self.outs_first else (1, columns, rows)

    @property
    def _alpha(self) -> float:
        return float(self.node.attributes.get("alpha", 1.0))

    def _transposed(self, slot: int) -> bool:
        return bool(self.node.attributes.get("transB" if slot else "transA", 0))

    @property
    def outs_first(self) -> bool:
        """Whether the weight is stored as [outs, ins]."""
        return self._transposed(self.slot) == (self.slot == 1)

    @property
    def matrix(self) -> Array:
        weight = self.weight.astype(np.float64) * self._alpha
        return np.asarray((weight if self.outs_first else weight.T)[np.newaxis])

    def stored(self, matrix: Array) -> Array:
        weight = matrix[0] / self._alpha
        return np.asarray((weight if self.outs_first else weight.T).astype(self.weight.dtype))

    def _as_rows(self, x: Array) -> Array:
        """The other factor with the summed axis last."""
        last = self._transposed(1) if self.slot == 0 else not self._transposed(0)
        return np.asarray(x if last else x.T)

    def count(self, x: Array) -> int:
        return len(self._as_rows(x))

    def rows(self, x: Array, pick: Pick) -> Array:
        return np.asarray(self._as_rows(x)[pick][:, np.newaxis])

    def outputs(self, y: Array, pick: Pick) -> Array:
        return np.asarray((y if self.slot else y.T)[pick][:, np.newaxis])

    @property
    def bias_slot(self) -> int | None:
        opset = (self.node.graph.opset() if self.node.graph is not None else None) or 1
        takes = self.slot == 1 and opset >= (7 if self.node.input(2) is not None else 11)
        return 2 if takes and self.node.attributes.get("beta", 1.0) else None

    def bias(self, graph: Graph) -> Array | None:
        if self.bias_slot is None:
            return None
        outs, given = self.sizes[1], self.node.input(2)
        if given is None:
            return np.zeros((1, outs))
        found = graph.constant(given)
        if found is None or found.size not in (1, outs) or (found.ndim > 1 and found.shape[0] != 1):
            return None
        beta = float(self.node.attributes.get("beta", 1.0))
        return np.array(np.broadcast_to(found.astype(np.float64).reshape(-1) * beta, (1, outs)))

    def stored_bias(self, bias: Array) -> Array:
        return super().stored_bias(bias / float(self.node.attributes.get("beta", 1.0)))


class MatMulLayer(Layer):
    """A product with a constant matrix or stack of matrices; the matrices of a stack are the groups."""

    @property
    def _stack(self) -> tuple[int, ...]:
        return self.weight.shape[:-2]

    @property
    def sizes(self) -> tuple[int, int, int]:
        rows, columns = self.weight.shape[-2:]
        return (math.prod(self._stack), columns, rows) if self.slot else (math.prod(self._stack), rows, columns)

    @property
    def matrix(self) -> Array:
        weight = self.weight.astype(np.float64).reshape(-1, *self.weight.shape[-2:])
        return weight.swapaxes(1, 2) if self.slot else weight

    def stored(self, matrix: Array) -> Array:
        weight = matrix.swapaxes(1, 2) if self.slot else matrix
        return weight.reshape(*self._stack, *weight.shape[1:]).astype(self.weight.dtype)

    def _as_rows(self, x: Array, wide: int) -> Array:
        """[..., *stack, rows, wide] as [rows, groups, wide]; a view or a copy."""
        if x.ndim == 1:
            x = x[np.newaxis]
        elif not self.slot:
            x = x.swapaxes(-1, -2)
        stack = len(self._stack)
        if stack:
            lead = np.broadcast_shapes(x.shape[:-2], self._stack)
            x = np.broadcast_to(x, (*lead, *x.shape[-2:]))
            x = np.moveaxis(x, -2, -2 - stack)
        return x.reshape(-1, self.groups, wide)

    def count(self, x: Array) -> int:
        return len(self._as_rows(x, self.sizes[2]))

    def rows(self, x: Array, pick: Pick) -> Array:
        return np.asarray(self._as_rows(x, self.sizes[2])[pick])

    def outputs(self, y: Array, pick: Pick) -> Array:
        return np.asarray(self._as_rows(y, self.sizes[1])[pick])


def layer_of(graph: Graph, node: Node) -> Layer:
    """The layer that a Conv, Gemm or MatMul node is. Raises NoLayer, which says why it is none."""
    if node.domain or node.op_type not in ("Conv", "Gemm", "MatMul"):
        raise NoLayer("it is no Conv, Gemm or MatMul")
    if node.input(0) is None or node.input(1) is None:
        raise NoLayer("it lacks an input")
    constants = {slot: found for slot in (1, 0) if (found := graph.constant(node.input(slot))) is not None}
    if node.op_type == "Conv":
        constants.pop(0, None)
    if not constants:
        raise NoLayer("its weight is not constant (computed, dequantized, or a graph input)")
    if len(constants) == 2:
        raise NoLayer("both of its operands are constant")
    slot, weight = next(iter(constants.items()))
    if weight.dtype not in _TYPES:
        raise NoLayer(f"its weight is of type {weight.dtype}")
    if not np.isfinite(weight.astype(np.float64)).all():
        raise NoLayer("its weight holds NaN or infinity")
    if 0 in weight.shape:
        raise NoLayer("its weight is empty")
    match node.op_type:
        case "Conv":
            if weight.ndim < 3 or weight.shape[0] % int(node.attributes.get("group", 1)):
                raise NoLayer(f"its weight has shape {list(weight.shape)}")
            return ConvLayer(node, slot, weight)
        case "Gemm":
            if (graph.opset() or 1) < 7 or not node.attributes.get("alpha", 1.0) or weight.ndim != 2:
                raise NoLayer("it is a Gemm of opset 6 or older, or multiplies by 0")
            return GemmLayer(node, slot, weight)
    if weight.ndim < 2:
        raise NoLayer("it multiplies by a vector")
    return MatMulLayer(node, slot, weight)


def set_constant(graph: Graph, uses: list[tuple[Node, int]], contents: Array, name: str) -> Value:
    """Let nodes of `graph`, given in topological order, read new contents in the given slots: in place, where nothing else reads the old ones.

    Where that is impossible they read a new constant, whose name begins with `name`.
    """
    old = uses[0][0].input(uses[0][1])
    if old is not None and old.is_initializer and old.sparse is None and old.graph is graph and _only_read_by(graph, old, uses):
        graph.set_tensor(old, contents)
        return old
    new = add_constant(graph, name, contents, uses[0][0])
    for node, slot in uses:
        graph.set_input(node, slot, new)
    return new


def add_constant(graph: Graph, name: str, contents: Array, at: Node) -> Value:
    """A new initializer, or the output of a Constant node before `at` where initializers are not constants (before IR 4)."""
    free = graph.unique_name(name)
    if graph.ir_version >= 4:
        return graph.add_initializer(free, contents)
    return graph.add_node("Constant", [], [free], {"value": ArrayTensor(contents)}, at=at).output()


def _only_read_by(graph: Graph, value: Value, uses: list[tuple[Node, int]]) -> bool:
    return set(graph.consumers(value)) <= set(uses) and not graph.is_output(value) and not graph.pinned(value)
