"""Evaluation of what a model computes its sizes with where it leaves the integers for a while: padding that is found by ceil(size / stride)."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto, helper

from graphopt.ir.arithmetic import Array, evaluate
from graphopt.ir.constants import constant
from graphopt.ir.integers import INTEGERS, IntegerEvaluator, fits, is_known
from graphopt.ir.node import Node, Value

if TYPE_CHECKING:
    from graphopt.ir.types import TensorType

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
_LARGEST = 16  # elements of a float tensor: a pad or scale of every axis, twice; weights are larger


class SizeEvaluator(IntegerEvaluator):
    """An IntegerEvaluator that also follows small float tensors, in the model's own precision, where they are known in full."""

    def __init__(self, types: Mapping[Value, TensorType]) -> None:
        super().__init__(types)
        self.floats: dict[Value, Array] = {}

    def contents(self, value: Value | None) -> Array | None:
        """A small tensor that is known in full, in its own element type."""
        known = self.types.get(value) if value is not None else None
        if value is None or known is None:
            return None
        if known.elem_type in _FLOATS:
            return self._float(value, known)
        found = self.read(value)
        if found is None or not is_known(found):
            return None
        return found.astype(helper.tensor_dtype_to_np_dtype(known.elem_type))

    def visit(self, node: Node) -> None:
        super().visit(node)
        output = node.outputs[0] if node.outputs else None
        known = self.types.get(output) if output is not None else None
        if output is None or known is None or node.domain:
            return
        makes_floats = known.elem_type in _FLOATS
        source = self.types.get(node.inputs[0]) if node.inputs and node.inputs[0] is not None else None
        reads_floats = source is not None and source.elem_type in _FLOATS
        if not (makes_floats or (reads_floats and node.op_type == "Cast")) or known.static is None or prod(known.static) > _LARGEST:
            return
        inputs = [self.contents(value) for value in node.inputs]
        if any(array is None and value is not None for array, value in zip(inputs, node.inputs, strict=True)):
            return
        result = evaluate(node, inputs) if inputs else None
        if result is None or result.size > _LARGEST:
            return
        if makes_floats:
            self.floats[output] = result
        elif known.elem_type in INTEGERS and fits(whole := result.astype(np.int64).astype(object), known.elem_type):
            self.partial[output] = whole

    def _float(self, value: Value, known: TensorType) -> Array | None:
        if value not in self.floats and (value.producer is None or value.producer.op_type == "Constant"):
            small = known.static is not None and prod(known.static) <= _LARGEST
            found = constant(value) if small else None
            if found is not None:
                self.floats[value] = found
        return self.floats.get(value)
