"""Kernels as functions of channel widths: what changes in a kernel from one choice of widths to another, expressed by sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from graphopt.cost.kernel import Attribute, Kernel, Operand, Signature

Ints = npt.NDArray[np.int64]
Numbers = tuple[int, ...]


@dataclass(frozen=True)
class Key:
    """A kernel apart from its sizes: what is executed, for which nodes and values; `place` among equal ones."""

    skeleton: Signature
    nodes: tuple[int, ...]
    values: tuple[int, ...]
    place: int


def keyed(kernels: Sequence[Kernel]) -> dict[Key, Numbers]:
    """The kernels of one choice of widths, as the whole numbers in their signatures by key."""
    found: dict[Key, Numbers] = {}
    for kernel in kernels:
        skeleton, numbers = split(kernel.signature)
        nodes, values = tuple(map(id, kernel.nodes)), tuple(map(id, kernel.values))
        place = 0
        while (key := Key(skeleton, nodes, values, place)) in found:
            place += 1
        found[key] = numbers
    return found


def split(sig: Signature) -> tuple[Signature, Numbers]:
    """A signature as one with zeros for its sizes and whole-number attributes, and these."""
    numbers = [size for operand in (*sig.operands, *sig.outputs) if operand is not None for size in operand.shape]
    numbers += [item for _, value in sig.attributes for item in _ints(value)]
    return joined(sig, [0] * len(numbers)), tuple(numbers)


def joined(skeleton: Signature, numbers: Sequence[int]) -> Signature:
    """The signature that `split` takes apart."""
    rest = iter(numbers)

    def sized(operand: Operand) -> Operand:
        return Operand(tuple([next(rest) for _ in operand.shape]), operand.elem_type, operand.constant)

    operands = tuple([None if operand is None else sized(operand) for operand in skeleton.operands])
    outputs = tuple([sized(operand) for operand in skeleton.outputs])
    attributes = tuple([(name, _with_ints(value, rest)) for name, value in skeleton.attributes])
    return Signature(skeleton.operator, operands, outputs, attributes)


def _ints(value: Attribute) -> list[int]:
    return [item for item in (value if isinstance(value, tuple) else (value,)) if isinstance(item, int)]


def _with_ints(value: Attribute, rest: Iterator[int]) -> Attribute:
    if isinstance(value, tuple):
        return tuple(next(rest) if isinstance(item, int) else item for item in value)
    return next(rest) if isinstance(value, int) else value


@dataclass(frozen=True)
class Template:
    """A kernel whose numbers are constants, but at the places of `varying`: there they are a size, by its number, times a factor."""

    skeleton: Signature
    numbers: Numbers
    varying: tuple[tuple[int, int, float], ...]  # (place, size, factor)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The numbers of the sizes that the kernel depends on, ascending."""
        return tuple(sorted({size for _, size, _ in self.varying}))

    def at(self, sizes: Mapping[int, int]) -> Signature:
        """The signature where the sizes, by number, are these."""
        numbers = list(self.numbers)
        for place, size, factor in self.varying:
            numbers[place] = round(factor * sizes[size])
        return joined(self.skeleton, numbers)

    def by_total(self) -> Template | None:
        """Of a Concat: the template that goes by the size of its output alone, which it shares out among the inputs as they are here.

        None where it is no Concat, or its output does not vary along the axis that is joined.
        """
        ranks = [0 if operand is None else len(operand.shape) for operand in (*self.skeleton.operands, *self.skeleton.outputs)]
        axis = self.axis if self.skeleton.operator.rpartition(".")[2] == "Concat" else None
        if axis is None or len(set(ranks)) != 1:
            return None
        places = [start * ranks[0] + axis % ranks[0] for start in range(len(ranks))]
        total = next((entry for entry in self.varying if entry[0] == places[-1]), None)
        if total is None:
            return None
        rest = tuple(entry for entry in self.varying if entry[0] not in places)
        shares = tuple((place, total[1], total[2] * self.numbers[place] / self.numbers[places[-1]]) for place in places[:-1])
        return Template(self.skeleton, self.numbers, (*rest, *shares, total))

    @property
    def axis(self) -> int | None:
        """The attribute `axis`; attributes are the last numbers."""
        at = len(self.numbers) - sum(len(_ints(value)) for _, value in self.skeleton.attributes)
        for name, value in self.skeleton.attributes:
            if name == "axis":
                return self.numbers[at]
            at += len(_ints(value))
        return None


def find_template(skeleton: Signature, seen: Ints, sizes: Ints) -> Template | None:
    """The template of a kernel whose numbers were `seen`, shape (samples, numbers), where the sizes were `sizes`, shape (sizes, samples).

    None where some number changes like no multiple of any size.
    """
    varying = []
    for place in np.flatnonzero((seen != seen[0]).any(axis=0)).tolist():
        column = seen[:, place]
        same = (sizes * column[0] == sizes[:, :1] * column).all(axis=1) & (sizes[:, 0] > 0)
        matches = np.flatnonzero(same)
        if not len(matches):
            return None
        # The size itself rather than a multiple of another, and of those the one that was found first.
        size = int(matches[np.argmax(sizes[matches, 0] == column[0])])
        varying.append((place, size, float(column[0] / sizes[size, 0])))
    return Template(skeleton, tuple(seen[0].tolist()), tuple(varying))
