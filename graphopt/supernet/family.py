"""The side file of a supernet of the Once-for-All families, `"schema": "ofa-supernet/1"`: what is where in the graph, and what may change."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from graphopt.errors import SupernetError
from graphopt.supernet.document import Reader

SCHEMA = "ofa-supernet/1"
MBV3, PROXYLESS, RESNET = "ofa_mbv3", "ofa_proxyless", "ofa_resnet"
FAMILIES = (MBV3, PROXYLESS, RESNET)

# The convolutions of a block by role; the second group may be absent.
MBCONV_ROLES = (("expand", "depthwise", "project"), ("se_reduce", "se_expand"))
BOTTLENECK_ROLES = (("conv1", "conv2", "conv3"), ("downsample",))


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer: the name of its node and, for checking, of its weight."""

    node: str
    weight: str | None = None


@dataclass(frozen=True)
class Block:
    """An elastic block; widths are the maxima. `input` and `output` are the tensors at its border."""

    slot: int
    input: str
    output: str
    into: int
    mid: int
    out: int
    stride: int
    shortcut: bool
    convs: Mapping[str, Layer]

    @property
    def name(self) -> str:
        return f"block of slot {self.slot}"


@dataclass(frozen=True)
class Stage:
    """Blocks one after the other of which the first few are kept; `out_choices` are ResNet's output widths by index."""

    depth_slot: int
    base_depth: int
    blocks: tuple[Block, ...]
    width_slot: int | None = None
    out_choices: tuple[int, ...] = ()


@dataclass(frozen=True)
class StemConv:
    """A convolution of ResNet's stem with elastic width; a skippable one goes, with its residual, below the full depth."""

    conv: Layer
    width_slot: int
    out_choices: tuple[int, ...]
    input: str
    output: str
    skippable: bool = False
    depth_slot: int = 0


@dataclass(frozen=True)
class Supernet:
    """A supernet of one of the families. `source` is what messages call its side file, `transforms` the name of the file beside it."""

    family: str
    input: str
    output: str
    image_size: int
    stages: tuple[Stage, ...]
    kernel_sizes: tuple[int, ...]
    expand_ratios: tuple[float, ...]
    depths: tuple[int, ...]
    divisor: int = 8
    depth_rule: str = "absolute"
    mid_rule: str = "in*e"
    se_reduction: int = 4
    bn_folded: bool = False
    transforms: str | None = None
    width_mults: tuple[float, ...] = ()
    stem: tuple[StemConv, ...] = ()
    classifier: Layer | None = None
    classifier_axis: int = 1
    model: str | None = None
    source: str = field(default="supernet", compare=False)

    @property
    def blocks(self) -> Iterator[Block]:
        return (block for stage in self.stages for block in stage.blocks)

    @property
    def slots(self) -> int:
        """Number of block slots: what `ks` and `e` have an entry for."""
        return max((block.slot for block in self.blocks), default=-1) + 1

    @property
    def depth_slots(self) -> int:
        stem = [conv.depth_slot for conv in self.stem if conv.skippable]
        return max([stage.depth_slot for stage in self.stages] + stem, default=-1) + 1

    @property
    def width_slots(self) -> int:
        stages = [stage.width_slot for stage in self.stages if stage.width_slot is not None]
        return max([*stages, *(conv.width_slot for conv in self.stem)], default=-1) + 1

    def error(self, message: str) -> SupernetError:
        return SupernetError(f"{self.source}: {message}")


def parse_family(document: Mapping[str, Any], source: str | os.PathLike[str] = "supernet") -> Supernet:
    """The supernet that a side file describes. Raises SupernetError, which names the key."""
    read = Reader(document, os.fspath(source))
    family = read.choice("family", FAMILIES)
    resnet = family == RESNET
    stages = tuple(_stage(stage, resnet) for stage in read.objects("stages"))
    supernet = Supernet(
        family=family,
        input=read.text("input"),
        output=read.text("output"),
        image_size=read.integer("image_size", 1),
        stages=stages,
        kernel_sizes=tuple(sorted(read.numbers("kernel_sizes", whole=True))) if read.has("kernel_sizes") or not resnet else (3,),
        expand_ratios=read.numbers("expand_ratios"),
        depths=read.numbers("depths", whole=True),
        divisor=read.integer("divisor", 1, 8),
        depth_rule=read.choice("depth_rule", ("absolute", "offset"), "offset" if resnet else "absolute"),
        mid_rule=read.choice("mid_rule", ("in*e", "out*e"), "out*e" if resnet else "in*e"),
        se_reduction=read.integer("se_reduction", 1, 4),
        bn_folded=read.flag("bn_folded", False),
        transforms=read.text("transforms") if read.has("transforms") else None,
        width_mults=read.numbers("width_mults") if read.has("width_mults") else (),
        stem=tuple(_stem(conv) for conv in read.objects("stem")) if read.has("stem") else (),
        classifier=_layer(read.object("classifier")) if read.has("classifier") else None,
        classifier_axis=read.object("classifier").integer("input_axis", 0, 1) if read.has("classifier") else 1,
        model=read.text("model") if read.has("model") else None,
        source=os.fspath(source),
    )
    _check(supernet, read)
    return supernet


def _stage(read: Reader, resnet: bool) -> Stage:
    blocks = tuple(_block(block, resnet) for block in read.objects("blocks"))
    if not blocks:
        raise read.error("blocks", "is empty")
    return Stage(
        depth_slot=read.integer("depth_slot"),
        base_depth=read.integer("base_depth", 0, 0),
        blocks=blocks,
        width_slot=read.integer("width_slot") if read.has("width_slot") else None,
        out_choices=_choices(read),
    )


def _choices(read: Reader) -> tuple[int, ...]:
    if not read.has("out_choices"):
        return ()
    choices = read.numbers("out_choices", whole=True)
    if any(choice < 1 for choice in choices) or list(choices) != sorted(choices):
        raise read.error("out_choices", "must be channel counts in ascending order")
    return choices


def _block(read: Reader, resnet: bool) -> Block:
    needed, optional = BOTTLENECK_ROLES if resnet else MBCONV_ROLES
    convs = read.object("convs")
    unknown = next((role for role in convs.fields if role not in (*needed, *optional)), None)
    if unknown is not None:
        raise convs.error(unknown, f"is no role in a block of this family; the roles are {', '.join((*needed, *optional))}")
    roles = [*needed, *(role for role in optional if convs.has(role))]
    if ("se_reduce" in roles) != ("se_expand" in roles):
        raise convs.error("se_reduce", "and se_expand must be given together")
    return Block(
        slot=read.integer("slot"),
        input=read.text("input"),
        output=read.text("output"),
        into=read.integer("in", 1),
        mid=read.integer("mid", 1),
        out=read.integer("out", 1),
        stride=read.integer("stride", 1),
        shortcut=read.flag("shortcut", False),
        convs={role: _layer(convs.object(role)) for role in roles},
    )


def _layer(read: Reader) -> Layer:
    return Layer(read.text("node"), read.text("weight") if read.has("weight") else None)


def _stem(read: Reader) -> StemConv:
    skippable = read.flag("skippable", False)
    choices = _choices(read)
    if not choices:
        raise read.error("out_choices", "is missing")
    return StemConv(
        conv=_layer(read.object("conv")),
        width_slot=read.integer("width_slot"),
        out_choices=choices,
        input=read.text("input"),
        output=read.text("output"),
        skippable=skippable,
        depth_slot=read.integer("depth_slot") if skippable else 0,
    )


def _check(supernet: Supernet, read: Reader) -> None:
    if any(size < 1 or size % 2 == 0 for size in supernet.kernel_sizes):
        raise read.error("kernel_sizes", "must be odd: a smaller kernel is cut out of the centre of a larger one")
    taken: dict[int, str] = {}
    for number, stage in enumerate(supernet.stages):
        where = f"stages[{number}]"
        for place, block in enumerate(stage.blocks):
            here = f"{where}.blocks[{place}]"
            if block.slot in taken:
                raise supernet.error(f"{here}.slot {block.slot} is also that of {taken[block.slot]}")
            taken[block.slot] = here
            if place and (block.stride != 1 or block.into != block.out):
                raise supernet.error(
                    f"{here} cannot be left out: its stride is {block.stride} and it has {block.into} → {block.out} channels"
                )
        if supernet.depth_rule == "offset" and not 1 <= stage.base_depth <= len(stage.blocks):
            raise supernet.error(f"{where}.base_depth is {stage.base_depth}, and the stage has {len(stage.blocks)} blocks")
        if stage.out_choices and stage.out_choices[-1] != stage.blocks[0].out:
            raise supernet.error(
                f"{where}.out_choices end at {stage.out_choices[-1]}, and its blocks put out {stage.blocks[0].out} channels"
            )
    if not taken:
        raise read.error("stages", "is empty")
    missing = next((slot for slot in range(supernet.slots) if slot not in taken), None)
    if missing is not None:
        raise supernet.error(f"no block has slot {missing}, and the highest slot is {supernet.slots - 1}")
