"""Clip outlying weights, so that a quantizer which spreads 256 steps from the smallest to the largest weight wastes none on outliers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from graphopt import Context, Graph, LazyTensor, Pass, PassResult, Skip, Tensor, Value, parameter

WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}  # their input 1 is the weight


@dataclass(frozen=True)
class ClipWeights(Pass):
    """Clip each weight tensor to `limit` of its standard deviations around its mean."""

    name: ClassVar[str] = "clip-weights"
    limit: float = parameter(6.0, above=0, help="in standard deviations of the tensor")

    def apply(self, graph: Graph, context: Context) -> PassResult:
        tensors = values = 0
        skipped = []
        for weight in weights(graph):
            tensor = weight.tensor
            if tensor is None or not clippable(tensor.numpy()):
                skipped.append(Skip(weight.name, "its contents are not finite floating-point numbers"))
                continue
            clipped = int(np.count_nonzero(clip(tensor, self.limit) != tensor.numpy()))
            if clipped and context.permit(f"clip {clipped} values of '{weight.name}'"):
                # Lazy: computed again when the model is saved, rather than kept in memory until then.
                graph.set_tensor(weight, LazyTensor(tensor.elem_type, tensor.shape, partial(clip, tensor, self.limit)))
                tensors, values = tensors + 1, values + clipped
        return PassResult(changed=tensors > 0, summary={"tensors": tensors, "values": values}, skipped=tuple(skipped))


def weights(graph: Graph) -> list[Value]:
    """The initializers that are weights, each once, even where several nodes share one."""
    used = (node.inputs[1] for node in graph.nodes if node.op_type in WEIGHTED and node.domain == "")
    return [value for value in dict.fromkeys(used) if value in graph.initializers]


def clippable(array: np.ndarray) -> bool:
    return array.size > 0 and np.issubdtype(array.dtype, np.floating) and bool(np.isfinite(array).all())


def clip(tensor: Tensor, limit: float) -> np.ndarray:
    array = tensor.numpy()
    mean, deviation = array.mean(dtype=np.float64), array.std(dtype=np.float64)
    return np.clip(array, array.dtype.type(mean - limit * deviation), array.dtype.type(mean + limit * deviation))
