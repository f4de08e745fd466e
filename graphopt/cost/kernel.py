"""What a runtime executes as one piece: what its time depends on, and the nodes of the graph that it stands for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import prod

import onnx
from onnx import helper

from graphopt.ir import Node, Value

Scalar = int | float | str
Attribute = Scalar | tuple[Scalar, ...]

_NAMES = {number: name.lower() for name, number in onnx.TensorProto.DataType.items()}
_NUMBERS = {name: number for number, name in _NAMES.items()}
_FOUR_BITS = {onnx.TensorProto.INT4, onnx.TensorProto.UINT4, onnx.TensorProto.FLOAT4E2M1}


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor that a kernel reads or writes. `constant`: it is in the model file, so the runtime may pack it before the first run."""

    shape: tuple[int, ...]
    elem_type: int = onnx.TensorProto.FLOAT
    constant: bool = False

    @property
    def size(self) -> int:
        """Elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        if self.elem_type in _FOUR_BITS:
            return (self.size + 1) // 2
        if self.elem_type in (onnx.TensorProto.STRING, onnx.TensorProto.UNDEFINED):
            return 0
        return self.size * int(helper.tensor_dtype_to_np_dtype(self.elem_type).itemsize)

    def __str__(self) -> str:
        return f"{'*' if self.constant else ''}{_NAMES[self.elem_type]}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Signature:
    """All that the time of a kernel depends on.

    `operator` is what the runtime calls it, such as `Conv`, `nchwc.Conv` or `FusedMatMul`; `operands` its inputs by slot, None where an
    optional one is absent; `attributes` those that matter to time, sorted by name. The text, `str(signature)`, parses back.
    """

    operator: str
    operands: tuple[Operand | None, ...]
    outputs: tuple[Operand, ...]
    attributes: tuple[tuple[str, Attribute], ...] = ()

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.operator, self.operands, self.outputs, self.attributes))

    def attribute(self, name: str, default: Attribute | None = None) -> Attribute | None:
        return next((value for key, value in self.attributes if key == name), default)

    def operand(self, slot: int) -> Operand | None:
        """The input at `slot`, None where it is absent."""
        return self.operands[slot] if slot < len(self.operands) else None

    @property
    def activations(self) -> Iterable[Operand]:
        """The inputs that are not in the model file."""
        return (operand for operand in self.operands if operand is not None and not operand.constant)

    @property
    def weights(self) -> Iterable[Operand]:
        """The inputs that are in the model file."""
        return (operand for operand in self.operands if operand is not None and operand.constant)

    def __str__(self) -> str:
        operands = ", ".join("_" if operand is None else str(operand) for operand in self.operands)
        outputs = ", ".join(map(str, self.outputs))
        attributes = " ".join(f"{name}={_text(value)}" for name, value in self.attributes)
        return f"{self.operator}({operands}) -> {outputs}" + (f" {{{attributes}}}" if attributes else "")

    @classmethod
    def parse(cls, text: str) -> Signature:
        """The signature of a text. Raises ValueError, which quotes the text, where it is none."""
        found = _SIGNATURE.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"not the signature of a kernel: {text!r}")
        operator, operands, outputs, attributes = found.groups()
        try:
            return cls(
                operator,
                tuple(None if item == "_" else _operand(item) for item in _TENSOR.findall(operands)),
                tuple(_operand(item) for item in _TENSOR.findall(outputs)),
                tuple((name, _value(value)) for name, value in _ATTRIBUTE.findall(attributes or "")),
            )
        except (KeyError, ValueError) as error:
            raise ValueError(f"not the signature of a kernel: {text!r}") from error


def signature(
    operator: str, operands: Iterable[Operand | None], outputs: Iterable[Operand], attributes: Iterable[tuple[str, Attribute]] = ()
) -> Signature:
    """A signature in its normal form: attributes sorted, absent inputs at the end left out."""
    inputs = list(operands)
    while inputs and inputs[-1] is None:
        inputs.pop()
    return Signature(operator, tuple(inputs), tuple(outputs), tuple(sorted(attributes)))


@dataclass(frozen=True, eq=False)
class Kernel:
    """One execution of a kernel in one run of a graph.

    `nodes` are the graph's nodes that it executes, the anchor first; none for a conversion that the runtime inserts by itself. `values` are
    the graph's values behind `signature.operands` and then `signature.outputs`, None where the runtime made one up. `blocked`: its output is in
    the runtime's blocked layout.
    """

    signature: Signature
    nodes: tuple[Node, ...]
    values: tuple[Value | None, ...]
    blocked: bool = False

    @property
    def name(self) -> str:
        """For people: the anchor's name, or the conversion and what is converted."""
        if self.nodes:
            return self.nodes[0].name or self.nodes[0].label
        value = next((value for value in self.values if value is not None), None)
        return f"{self.signature.operator} of {value.name!r}" if value is not None else self.signature.operator


_TENSOR = re.compile(r"_|\*?[a-z0-9]+\[[0-9,]*\]")
_ATTRIBUTE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(\[[^\]]*\]|[^\s}]+)")
_SIGNATURE = re.compile(r"([A-Za-z_][\w.+\-]*)\(([^)]*)\) -> ([^{]*?)(?: \{([^}]*)\})?")


def _operand(text: str) -> Operand:
    name, _, shape = text.rstrip("]").lstrip("*").partition("[")
    return Operand(tuple(int(size) for size in shape.split(",") if size), _NUMBERS[name], text.startswith("*"))


def _text(value: Attribute) -> str:
    if isinstance(value, tuple):
        return f"[{','.join(_text(item) for item in value)}]"
    return repr(value) if isinstance(value, float) else str(value)


def _value(text: str) -> Attribute:
    if text.startswith("["):
        return tuple(_scalar(item) for item in text[1:-1].split(",") if item)
    return _scalar(text)


def _scalar(text: str) -> Scalar:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
