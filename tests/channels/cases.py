"""One line per way of calling an operator, with what becomes of the axes of its inputs.

`flows` has a word per weight-like input (X or W), with a letter per axis: what the analysis says of that axis when the input is zero where
its weights are, and weights read the outputs. e: exact, i: inexact, f: frozen, m: in part one, in part another, -: of size 1.
The others are the same in other surroundings, and are given only where they say something else: `sums` where the outputs are summed as they
are, `shifted` where no input is zero where its weights are, `first` where only the first is not, `others` where only the first is; `last`
where the outputs are summed and only the last input is not zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper

import graphopt.ir as ir
from tests.channels.masked import run
from tests.channels.surround import Surrounding


@dataclass(frozen=True)
class X:
    """An input that the surroundings produce. Contents are random, or positive, or as given."""

    shape: tuple[int, ...]
    dtype: Any = np.float32
    positive: bool = False
    contents: Any = None


@dataclass(frozen=True)
class K:
    """A constant in the file."""

    contents: Any
    dtype: Any = np.int64


@dataclass(frozen=True)
class Case:
    op_type: str
    inputs: tuple[X | K | None, ...]
    flows: str
    sums: str = ""
    shifted: str = ""
    first: str = ""
    others: str = ""
    last: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    outputs: int | tuple[int, ...] = 1  # how many, or the slots of those that are asked for
    opset: int = 21
    domain: str = ""

    @property
    def expected(self) -> dict[tuple[str, str], str]:
        """What the analysis should say, by (before, after)."""
        sums, shifted = self.sums or self.flows, self.shifted or self.flows
        said = {("scaled", "weighted"): self.flows, ("scaled", "summed"): sums, ("shifted", "weighted"): shifted}
        if sum(isinstance(given, X) for given in self.inputs) > 1:
            said |= {("first", "weighted"): self.first or self.flows, ("others", "weighted"): self.others or self.flows}
            said |= {("last", "summed"): self.last or sums}
        return said

    @property
    def name(self) -> str:
        shapes = "_".join(_text(given) for given in self.inputs)
        extra = "_".join(f"{key}={value}".replace(" ", "") for key, value in self.attributes.items())
        return f"{self.domain and 'microsoft-'}{self.op_type}{self.opset}-{shapes}-{extra}".rstrip("-")


def _text(given: X | K | None) -> str:
    if isinstance(given, K):
        return str(np.asarray(given.contents).tolist()).replace(" ", "")
    return "" if given is None else "x".join(map(str, given.shape))


def x(*shape: int, **options: Any) -> X:
    return X(shape, **options)


def case(
    op_type: str,
    *inputs: X | K | None,
    outputs: int | tuple[int, ...] = 1,
    opset: int = 21,
    domain: str = "",
    flows: str = "",
    sums: str = "",
    shifted: str = "",
    first: str = "",
    others: str = "",
    last: str = "",
    **attributes: Any,
) -> Case:
    said = {"flows": flows, "sums": sums, "shifted": shifted, "first": first, "others": others, "last": last}
    return Case(op_type, inputs, **said, attributes=attributes, outputs=outputs, opset=opset, domain=domain)


def contents_of(given: X | K, rng: np.random.Generator) -> np.ndarray:
    """Constants as they are; else random values away from zero (1 and 0 for booleans, 1 to 9 for integers)."""
    if given.contents is not None:
        return np.asarray(given.contents, given.dtype)
    assert isinstance(given, X)
    if given.dtype is bool:
        return rng.integers(0, 2, given.shape).astype(bool)
    if np.issubdtype(given.dtype, np.integer):
        return rng.integers(1, 10, given.shape).astype(given.dtype)
    sign = 1 if given.positive else rng.choice([-1, 1], given.shape)
    return (rng.uniform(0.5, 1.5, given.shape) * sign).astype(given.dtype)


def surround(case: Case, before: str, after: str, seed: int) -> tuple[ir.Graph, dict[str, Any], list[str]]:
    """The case's node in surroundings, what to feed the model, and the names of its weights."""
    rng = np.random.default_rng(seed)
    opsets = [helper.make_opsetid("", case.opset), *([helper.make_opsetid(case.domain, 1)] if case.domain else [])]
    around = Surrounding(before, after, seed, opsets, 10)
    names, weights = {}, []
    for slot, given in enumerate(case.inputs):
        if given is not None:
            array, name = contents_of(given, rng), f"in{slot}"
            names[name] = (
                around.constant(name, array) if isinstance(given, K) else around.produced(name, array, case.op_type, slot, len(case.inputs))
            )
            weights += [name] if isinstance(given, X) else []
    inputs = [f"in{slot}" if given is not None else "" for slot, given in enumerate(case.inputs)]
    slots = range(case.outputs) if isinstance(case.outputs, int) else case.outputs
    outputs = [f"out{slot}" if slot in slots else "" for slot in range(max(slots) + 1)]
    around.subject(helper.make_node(case.op_type, inputs, outputs, domain=case.domain, **case.attributes), names)
    known = types_of(around, [name for name in outputs if name])
    for name in known:
        around.consumed(name, *known[name])
    return around.graph(), around.feeds, weights


def types_of(around: Surrounding, names: list[str]) -> dict[str, tuple[int, list[int | None]]]:
    """Element type and shape of the values, by ONNX's inference; what ONNX does not know of, by running it."""
    graph = helper.make_graph(around.nodes, "g", around.inputs, [onnx.ValueInfoProto(name=name) for name in names], around.tensors)
    model = helper.make_model(graph, ir_version=around.ir_version, opset_imports=around.opsets)
    arrays = run(model, around.feeds)
    return {name: (helper.np_dtype_to_tensor_dtype(arrays[name].dtype), list(arrays[name].shape)) for name in names}
