"""Supernets of any architecture: a side file, `"schema": "elastic-graph/1"`, lists the edits itself; docs/supernets.md describes it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphopt.supernet.config import Config
from graphopt.supernet.document import Reader, is_integer, is_number
from graphopt.supernet.edits import Change, Drop, Edit, Group, Indices, Scalar, Shape, Slice
from graphopt.supernet.family import Layer
from graphopt.supernet.kernels import kernel_edits
from graphopt.supernet.places import Places
from graphopt.supernet.transforms import Transforms

SCHEMA = "elastic-graph/1"

# What a scalar becomes, from the number n that `of` comes to; head_dim is qkv / n.
_SCALARS: dict[str, Callable[[float, Callable[[], float]], float]] = {
    "value": lambda n, dim: n,
    "sqrt": lambda n, dim: math.sqrt(n),
    "rsqrt": lambda n, dim: 1 / math.sqrt(n),
    "head_dim": lambda n, dim: dim(),
    "sqrt_head_dim": lambda n, dim: math.sqrt(dim()),
    "rsqrt_head_dim": lambda n, dim: 1 / math.sqrt(dim()),
    "rsqrt_sqrt_head_dim": lambda n, dim: (
        1 / math.sqrt(math.sqrt(dim()))
    ),  # scaled dot-product attention as PyTorch exports it scales queries and keys
}


@dataclass(frozen=True)
class SliceRule:
    """Keep the first `config[keep]` (at `slot`) units of an axis, or where that is a list, the units that it names.

    A unit is `unit` neighbouring indices. The axis may hold `segments` equal parts one after the other, each cut alike.
    """

    node: str
    input: int
    axis: int
    keep: str
    slot: int | None = None
    segments: int = 1
    unit: int = 1


@dataclass(frozen=True)
class ScalarRule:
    """Replace a constant by a function of `config[of]`."""

    node: str
    input: int
    scalar: str
    of: str
    slot: int | None = None


@dataclass(frozen=True)
class ShapeRule:
    """Set elements of a constant list of sizes to `config[of]`, to head_dim, or to a constant of the side file."""

    node: str
    input: int
    shape: Mapping[int, str]
    of: str
    slot: int | None = None


@dataclass(frozen=True)
class KernelRule:
    """Make the kernel of a convolution `config[kernel]`, one of `sizes` (ascending), as in the Once-for-All families."""

    node: str
    kernel: str
    sizes: tuple[int, ...]
    slot: int | None = None


@dataclass(frozen=True)
class GroupRule:
    """Set a convolution's number of groups to `config[group]` times `unit`, for depthwise convolutions that are cut."""

    node: str
    group: str
    slot: int | None = None
    unit: int = 1


Rule = SliceRule | ScalarRule | ShapeRule | KernelRule | GroupRule


def key_of(rule: Rule) -> str:
    """The key of the configuration that a rule goes by."""
    match rule:
        case SliceRule():
            return rule.keep
        case KernelRule():
            return rule.kernel
        case GroupRule():
            return rule.group
    return rule.of


@dataclass(frozen=True)
class Layers:
    """Blocks one after the other: `config[depth]` is how many of the first stay, or the list of the places that stay."""

    depth: str
    blocks: tuple[tuple[int, str, str], ...]  # slot, input, output


@dataclass(frozen=True)
class ElasticGraph:
    """A generic supernet. `constants` are the numbers that the side file gives names, such as qkv; `choices` the values that a key was trained
    with, ascending, which only a search needs."""

    rules: tuple[Rule, ...]
    sequences: tuple[Layers, ...]
    constants: Mapping[str, float]
    input: str | None = None
    slots_of_kept: bool = False  # whether lists of the configuration have an entry per kept layer only
    transforms: str | None = None
    choices: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    source: str = field(default="supernet", compare=False)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that a configuration may have."""
        return tuple(dict.fromkeys([*(layers.depth for layers in self.sequences), *map(key_of, self.rules)]))


def parse_generic(document: Mapping[str, Any], source: str | os.PathLike[str] = "supernet") -> ElasticGraph:
    """The supernet that a side file describes. Raises SupernetError, which names the key."""
    read = Reader(document, os.fspath(source))
    constants = {key: float(value) for key, value in document.items() if is_number(value)}
    rules = tuple(_rule(edit, constants) for edit in read.objects("edits"))
    sequences = tuple(_layers(layers) for layers in read.objects("sequences")) if read.has("sequences") else ()
    supernet = ElasticGraph(
        rules,
        sequences,
        constants,
        read.text("input") if read.has("input") else None,
        read.choice("slots", ("maximum", "kept"), "maximum") == "kept",
        read.text("transforms") if read.has("transforms") else None,
        choices=_choices(read.object("choices")) if read.has("choices") else {},
        source=os.fspath(source),
    )
    unknown = next((key for key in supernet.choices if key not in supernet.keys), None)
    if unknown is not None:
        raise read.error(f"choices.{unknown}", f"is no key of a configuration; this supernet knows {', '.join(supernet.keys)}")
    return supernet


def _choices(read: Reader) -> dict[str, tuple[float, ...]]:
    found = {}
    for key in read.fields:
        found[key] = read.numbers(key)
        if list(found[key]) != sorted(set(found[key])) or found[key][0] <= 0:
            raise read.error(key, "must be numbers above 0 in ascending order")
    return found


def _layers(read: Reader) -> Layers:
    blocks = tuple((block.integer("slot"), block.text("input"), block.text("output")) for block in read.objects("blocks"))
    if len({slot for slot, _, _ in blocks}) < len(blocks):
        raise read.error("blocks", "have one slot twice")
    return Layers(read.text("depth"), blocks)


def _rule(read: Reader, constants: Mapping[str, float]) -> Rule:
    node = read.text("node")
    slot = read.integer("slot") if read.has("slot") else None
    kinds = [key for key in ("keep", "scalar", "shape", "kernel", "group") if read.has(key)]
    if len(kinds) != 1:
        raise read.error("keep", "or scalar or shape or kernel or group must be given, and only one of them")
    if kinds == ["kernel"]:
        kernels = read.numbers("sizes", whole=True)
        if any(size < 1 or size % 2 == 0 for size in kernels) or list(kernels) != sorted(set(kernels)):
            raise read.error("sizes", "must be odd kernel sizes in ascending order")
        return KernelRule(node, read.text("kernel"), kernels, slot)
    if kinds == ["group"]:
        return GroupRule(node, read.text("group"), slot, _unit(read, constants))
    slot_of_node = read.integer("input")
    if kinds == ["keep"]:
        unit = _unit(read, constants)
        return SliceRule(node, slot_of_node, read.integer("axis"), read.text("keep"), slot, read.integer("segments", 1, 1), unit)
    if kinds == ["scalar"]:
        scalar = read.choice("scalar", tuple(_SCALARS))
        if "head_dim" in scalar:
            _check_qkv(read, "scalar", constants)
        return ScalarRule(node, slot_of_node, scalar, read.text("of"), slot)
    shape = read.object("shape")
    sizes = {}
    of = read.text("of")
    for place in shape.fields:
        if not place.isdecimal():
            raise shape.error(place, "must be the place of a size, such as 2")
        sizes[int(place)] = shape.choice(place, tuple(dict.fromkeys([of, "head_dim", *constants])))
        if sizes[int(place)] == "head_dim" and "head_dim" not in constants:
            _check_qkv(shape, place, constants)
    return ShapeRule(node, slot_of_node, sizes, of, slot)


def _unit(read: Reader, constants: Mapping[str, float]) -> int:
    unit = read.fields.get("unit", 1)
    if isinstance(unit, str):
        if unit not in constants:
            raise read.error("unit", f"is {unit!r}, and the side file has no number of that name")
        unit = constants[unit]
    if not is_number(unit) or unit != int(unit) or unit < 1:
        raise read.error("unit", "must be a whole number from 1 on, or the name of one in the side file")
    return int(unit)


def _check_qkv(read: Reader, key: str, constants: Mapping[str, float]) -> None:
    if constants.get("qkv", 0) <= 0:
        raise read.error(key, "needs head_dim = qkv / heads, and the side file has no number qkv above 0")


def generic_changes(supernet: ElasticGraph, places: Places, config: Config, transforms: Transforms | None = None) -> list[Change]:
    """The whole configuration as one change. Raises SupernetError where names or numbers do not fit."""
    config.check_keys(supernet.keys)
    front = _Front(supernet, places, config, transforms)
    edits = [*front.drops(), *(edit for rule in supernet.rules for edit in front.edits(rule))]
    return [Change("apply the configuration", tuple(edits))] if edits else []


class _Front:
    def __init__(self, supernet: ElasticGraph, places: Places, config: Config, transforms: Transforms | None) -> None:
        self.supernet, self.places, self.config, self.transforms = supernet, places, config, transforms
        self.kept: list[int] = []  # slots, in order
        self.dropped: set[int] = set()

    def drops(self) -> list[Edit]:
        found: list[Edit] = []
        for layers in self.supernet.sequences:
            stay = self._staying(layers)
            for place, (slot, source, output) in enumerate(layers.blocks):
                (self.kept.append if place in stay else self.dropped.add)(slot)
                values = self.places.value(source, f"slot {slot}"), self.places.value(output, f"slot {slot}")
                if place not in stay:
                    found.append(Drop(*values))
        return found

    def _staying(self, layers: Layers) -> set[int]:
        setting, count, key = self.config.settings.get(layers.depth), len(layers.blocks), layers.depth
        if setting is None:
            return set(range(count))
        if isinstance(setting, tuple):
            places = [int(place) for place in setting if place is not None and is_integer(place) and 0 <= place < count]
            if len(places) < len(setting) or places != sorted(set(places)):
                raise self.config.error(f"{key} must list places from 0 to {count - 1} in ascending order")
            return set(places)
        if setting != int(setting) or not 0 <= setting <= count:
            raise self.config.error(f"{key} is {setting:g}, and must be a whole number from 0 to {count}")
        return set(range(int(setting)))

    def edits(self, rule: Rule) -> list[Edit]:
        node = self.places.node(rule.node, "an edit")
        key = key_of(rule)
        if rule.slot is None:
            setting = self.config.settings.get(key)
        else:
            setting = self._at(key, rule.slot, node.label)
        if setting is None:
            return []
        if isinstance(rule, SliceRule):
            return [Slice(node, rule.input, rule.axis, self._indices(rule, setting))]
        if isinstance(setting, tuple):
            raise self.config.error(f"{key} is a list, and the edit of {node.label} has no slot")
        if setting <= 0:
            raise self.config.error(f"{key} is {setting:g}, and must be above 0")
        if isinstance(rule, KernelRule):
            return self._kernel(rule, setting)
        if isinstance(rule, GroupRule):
            return [Group(node, self._whole(key, setting) * rule.unit)]
        if isinstance(rule, ScalarRule):
            return [Scalar(node, rule.input, _SCALARS[rule.scalar](setting, lambda: self._head_dim(key, setting)))]
        return [Shape(node, rule.input, {place: self._size(rule, size, setting) for place, size in rule.shape.items()})]

    def _at(self, key: str, slot: int, label: str) -> float | None:
        """The setting of one slot. Lists may end with the last layer that is kept."""
        setting = self.config.settings.get(key)
        if not isinstance(setting, tuple):
            return setting
        place = slot
        if slot in self.dropped:
            return None
        if self.supernet.slots_of_kept and slot in self.kept:
            place = self.kept.index(slot)
        if place >= len(setting):
            raise self.config.error(f"{key} has {len(setting)} entries, and {label} asks for slot {place}")
        return setting[place]

    def _kernel(self, rule: KernelRule, setting: float) -> list[Edit]:
        conv = self.places.conv(Layer(rule.node), "an edit")
        if len(conv.shape) != 4 or conv.shape[2] != conv.shape[3]:
            raise self.places.error(f"the edit of {conv.node.label}: its weight has the shape {list(conv.shape)}, and no square kernel")
        key, named = rule.kernel if rule.slot is None else f"{rule.kernel}[{rule.slot}]", self.supernet.transforms
        return kernel_edits(self.places, self.config, key, setting, conv, rule.sizes, conv.node.label, self.transforms, named)

    def _whole(self, key: str, number: float) -> int:
        if number != int(number):
            raise self.config.error(f"{key} is {number:g}, and must be a whole number")
        return int(number)

    def _indices(self, rule: SliceRule, setting: float | tuple[float | None, ...]) -> Indices:
        node = self.places.node(rule.node, "an edit")
        shape = self.places.operands.tensor(node, rule.input).shape
        if rule.axis >= len(shape):
            raise self.places.error(f"the edit of {node.label} cuts axis {rule.axis} of input {rule.input}, whose shape is {list(shape)}")
        size, block = shape[rule.axis], rule.segments * rule.unit
        if size % block:
            raise self.places.error(f"the edit of {node.label}: axis {rule.axis} holds {size}, which is no multiple of {block}")
        units = size // block
        key = rule.keep if rule.slot is None else f"{rule.keep}[{rule.slot}]"
        chosen = self._units(key, setting, units)
        within = (chosen[:, None] * rule.unit + np.arange(rule.unit)).reshape(-1)
        return (np.arange(rule.segments)[:, None] * (units * rule.unit) + within).reshape(-1)

    def _units(self, key: str, setting: float | Sequence[float | None], units: int) -> Indices:
        if isinstance(setting, tuple):
            if not setting or not all(is_integer(item) and 0 <= item < units for item in setting):
                raise self.config.error(f"{key} must list places from 0 to {units - 1}")
            return np.array(setting, np.int64)
        assert isinstance(setting, int | float)
        if setting != int(setting) or not 1 <= setting <= units:
            raise self.config.error(f"{key} is {setting:g}, and must be a whole number from 1 to {units}")
        return np.arange(int(setting))

    def _head_dim(self, key: str, heads: float) -> float:
        qkv = self.supernet.constants["qkv"]
        if qkv % heads:
            raise self.config.error(f"{key} is {heads:g}, which does not divide qkv = {qkv:g}")
        return qkv / heads

    def _size(self, rule: ShapeRule, size: str, setting: float) -> int:
        if size == rule.of:
            number = setting
        elif size in self.supernet.constants:
            number = self.supernet.constants[size]
        else:
            number = self._head_dim(rule.of, setting)
        if number != int(number):
            raise self.config.error(f"{rule.of} is {number:g}, and a size must be a whole number")
        return int(number)
