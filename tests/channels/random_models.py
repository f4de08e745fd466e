"""Random models of supported operators: images, tokens and vectors that pass through blocks, meet, part and meet again.

A model is grown step by step. Each step picks a value that was made before (mostly the newest) and applies one of the blocks for its kind.
All choices come from `choose`, so that hypothesis can shrink them: the first alternative is the plainest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from onnx import TensorProto, helper

from tests.channels.build import Build

T = TypeVar("T")
Choose = Callable[[Sequence[T]], T]
BATCH = 2


@dataclass(frozen=True)
class Tensor:
    """A float value; the batch axis is the first, of unknown size in some models. Images are (N, C, H, W), tokens (N, T, C), vectors (N, C)."""

    name: str
    shape: tuple[int, ...]

    @property
    def kind(self) -> str:
        return {4: "image", 3: "tokens", 2: "vector"}[len(self.shape)]

    @property
    def channels(self) -> int:
        return self.shape[1] if len(self.shape) == 4 else self.shape[-1]


class RandomModel(Build):
    """A model in the making, with weights that come in all the ways that exporters write them."""

    def __init__(self, choose: Choose[Any], *, opset: int = 17, ir_version: int = 8, dynamic: bool = False) -> None:
        super().__init__(opset=opset, ir_version=ir_version)
        self.choose = choose
        self.dynamic = dynamic
        self.tensors: list[Tensor] = []
        self.made_weights: list[tuple[tuple[int, ...], str]] = []

    # ---- weights

    def parameter(self, *shape: int, positive: bool = False, plain: bool = False) -> str:
        """A weight: an initializer, a shared one, one behind Identity, a Constant node, or a quantized one (unless `plain`)."""
        fitting = [name for made, name in self.made_weights if made == (*shape, positive)]
        way = self.choose(["new", "new", "new", "tied", "identity", "constant", "quantized"])
        if way == "tied" and fitting:
            return self.choose(fitting)
        fan_in = max(1, math.prod(shape[1:] if len(shape) > 2 else shape[:1])) if len(shape) > 1 else 1
        array = self.rng.uniform(0.5, 1.5, shape) * (1 if positive else self.rng.choice([-1, 1], shape)) / math.sqrt(fan_in)
        array = array.astype(np.float32)
        if way == "constant":
            name = self.node("Constant", value=helper.make_tensor("", TensorProto.FLOAT, shape, array.tobytes(), raw=True))
        elif way == "quantized" and len(shape) > 1 and not plain and not positive:
            scale = self.tensor(self.rng.uniform(0.01, 0.02, shape[:1]).astype(np.float32), self.name("q"))
            stored = self.tensor(self.rng.integers(20, 100, shape).astype(np.int8), self.name("q"))
            name = self.node("DequantizeLinear", stored, scale, self.tensor(np.zeros(shape[:1], np.int8), self.name("q")), axis=0)
        else:
            name = self.tensor(array, self.name("w"))
            if way == "identity":
                name = self.node("Identity", name)
        self.made_weights.append(((*shape, positive), name))
        return name

    # ---- shapes

    def reshape(self, given: Tensor | str, *target: int, batch: Tensor) -> str:
        """To (N, *target), where the batch is written as a number, as 0, as -1, or computed from the shape of `batch`."""
        source = given.name if isinstance(given, Tensor) else given
        way = self.choose(["zero", "minus one", "shape"] if self.dynamic else ["number", "zero", "minus one", "shape"])
        if way == "shape":
            size = self.node("Gather", self.node("Shape", batch.name), self.ints(0))
            return self.node("Reshape", source, self.node("Concat", size, self.ints(*target), axis=0))
        first = {"number": batch.shape[0], "zero": 0, "minus one": -1}[way]
        return self.node("Reshape", source, self.ints(first, *target))

    def grown(self, name: str, *shape: int) -> Tensor:
        tensor = Tensor(name, shape)
        self.tensors.append(tensor)
        return tensor

    def others(self, like: Tensor, axis: int | None = None) -> list[Tensor]:
        """Other values of the same shape, but for one axis."""

        def rest(tensor: Tensor) -> list[int]:
            return [size for place, size in enumerate(tensor.shape) if axis is None or place != axis % len(tensor.shape)]

        return [other for other in self.tensors if other.kind == like.kind and rest(other) == rest(like) and other is not like]

    # ---- growing

    def start(self, kind: str) -> Tensor:
        batch = "N" if self.dynamic else BATCH
        if kind == "image":
            return self.grown(self.input(batch, 3, 4, 4), BATCH, 3, 4, 4)
        if kind == "tokens":
            return self.grown(self.input(batch, 4, 5), BATCH, 4, 5)
        return self.grown(self.input(batch, 5), BATCH, 5)

    def grow(self, blocks: dict[str, Sequence[Callable[[RandomModel, Tensor], Tensor | None]]]) -> None:
        """One step: a block on the newest value, or on an older one."""
        source = self.choose([self.tensors[-1], self.tensors[-1], self.tensors[-1], *self.tensors[::-1]])
        self.choose(blocks[source.kind])(self, source)

    def finish(self) -> None:
        """One or two outputs: a value as it is, or a classifier of it."""
        for source in (self.tensors[-1], *([self.choose(self.tensors)] if self.choose([False, True]) else [])):
            name = self.choose([self.classified, lambda tensor: self.node("Identity", tensor.name)])(source)
            self.output(name)
        if self.ir_version < 4:
            self.inputs += [helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims) for tensor in self.initializers]

    def classified(self, source: Tensor) -> str:
        name = source.name
        if source.kind == "image":
            name = self.node("Flatten", self.node("GlobalAveragePool", name))
        elif source.kind == "tokens":
            name = self.node("ReduceMean", name, axes=[1], keepdims=0)
        return self.node("Gemm", name, self.parameter(3, source.channels), self.parameter(3), transB=1)
