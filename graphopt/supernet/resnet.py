"""The front end of ResNet supernets: a configuration becomes edits. Widths tie the blocks together, so all edits are one change."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from graphopt.supernet.config import Config
from graphopt.supernet.depth import kept_blocks
from graphopt.supernet.document import listed
from graphopt.supernet.edits import Change, Drop, Edit, Indices, Slice
from graphopt.supernet.family import Block, Stage, Supernet
from graphopt.supernet.mbconv import check_shapes
from graphopt.supernet.places import Conv, Places, chosen
from graphopt.supernet.rounding import middle
from graphopt.supernet.sorting import by_input, check_sortable

KEYS = ("d", "e", "w", "ks")


def resnet_changes(supernet: Supernet, places: Places, config: Config, notes: list[str]) -> list[Change]:
    """The whole configuration as one change. Raises SupernetError where names or numbers do not fit."""
    config.check_keys(KEYS)
    _check_kernels(supernet, config)
    front = _Front(supernet, places, config, notes)
    front.stem()
    ratios = config.slots("e", supernet.slots)
    for stage in supernet.stages:
        front.stage(stage, ratios)
    front.classifier()
    return [Change("set depths and widths", tuple(front.edits))] if front.edits else []


def _check_kernels(supernet: Supernet, config: Config) -> None:
    for slot, size in enumerate(config.slots("ks", supernet.slots)):
        if size is not None and size not in supernet.kernel_sizes:
            raise config.error(f"ks[{slot}] is {size:g}, and kernels of this family are always {supernet.kernel_sizes[0]}")


@dataclass
class _Front:
    supernet: Supernet
    places: Places
    config: Config
    notes: list[str]
    edits: list[Edit] = field(default_factory=list)
    active: int | None = None  # channels that reach the next layer; None while they are the input's own

    def stem(self) -> None:
        depths = self.config.slots("d", self.supernet.depth_slots)
        for place, part in enumerate(self.supernet.stem):
            where = f"stem[{place}]"
            conv = self.places.conv(part.conv, where)
            depth = depths[part.depth_slot] if part.skippable else None
            if depth is not None and depth != max(self.supernet.depths):
                self._drop(part.input, part.output, where)
                continue
            if conv.shape[0] != part.out_choices[-1]:
                raise self.places.error(
                    f"{where}.out_choices end at {part.out_choices[-1]}, and {conv.node.label} has {conv.shape[0]} channels"
                )
            out = self._width(part.width_slot, part.out_choices)
            into = None if self.active is None else chosen(None, self._within(conv.shape[1], where), conv.shape[1])
            self.edits += conv.edits(chosen(None, out, conv.shape[0]), into)
            self.active = out

    def stage(self, stage: Stage, ratios: tuple[float | None, ...]) -> None:
        depths = self.config.slots("d", self.supernet.depth_slots)
        kept = kept_blocks(self.supernet, stage, depths[stage.depth_slot], self.config, self.notes)
        out = (
            stage.blocks[0].out if stage.width_slot is None else self._width(stage.width_slot, stage.out_choices or (stage.blocks[0].out,))
        )
        for block in stage.blocks[:kept]:
            self._block(block, out, ratios[block.slot])
        for block in stage.blocks[kept:]:
            self._drop(block.input, block.output, f"the {block.name}")

    def classifier(self) -> None:
        layer = self.supernet.classifier
        if layer is None:
            if self.active is not None and self.active != self.supernet.stages[-1].blocks[-1].out:
                raise self.supernet.error("classifier is missing, and the width of the last stage is to change")
            return
        node = self.places.node(layer.node, "classifier")
        self.places.check_weight(node, layer, "classifier")
        shape = self.places.operands.tensor(node, 1).shape
        axis = self.supernet.classifier_axis
        if axis >= len(shape):
            raise self.supernet.error(f"classifier.input_axis is {axis}, and the weight of {node.label} has the shape {list(shape)}")
        keep = self._within(shape[axis], "classifier")
        if keep != shape[axis]:
            self.edits.append(Slice(node, 1, axis, np.arange(keep)))

    def _block(self, block: Block, out: int, ratio: float | None) -> None:
        where = f"the {block.name}"
        convs = {role: self.places.conv(layer, f"{where}, {role}") for role, layer in block.convs.items()}
        expected = [
            (convs["conv1"], (block.mid, block.into)),
            (convs["conv2"], (block.mid, block.mid)),
            (convs["conv3"], (block.out, block.mid)),
        ]
        if "downsample" in convs:
            expected.append((convs["downsample"], (block.out, block.into)))
        check_shapes(self.places, block, expected)
        self.places.border(block)
        mid = self._mid(block, out, ratio)
        first, second = self._orders(convs["conv2"], convs["conv3"], where) if self.config.sort_channels is not None else (None, None)
        into = chosen(None, self._within(block.into, where), block.into)
        wide, inner1, inner2 = chosen(None, out, block.out), chosen(first, mid, block.mid), chosen(second, mid, block.mid)
        self.edits += convs["conv1"].edits(inner1, into) + convs["conv2"].edits(inner2, inner1) + convs["conv3"].edits(wide, inner2)
        if "downsample" in convs:
            self.edits += convs["downsample"].edits(wide, into)
        elif out != self._within(block.into, where):
            raise self.places.error(f"{where} has an identity shortcut, and its width would go from {self.active} to {out}")
        self.active = out

    def _orders(self, conv2: Conv, conv3: Conv, where: str) -> tuple[Indices, Indices]:
        """The orders of the channels between conv1 and conv2, and between conv2 and conv3."""
        for conv in (conv2, conv3):
            check_sortable(self.places, conv, where)
        return by_input(self.places.operands, conv2), by_input(self.places.operands, conv3)

    def _mid(self, block: Block, out: int, ratio: float | None) -> int:
        """Channels in the middle: of the active output width, so they shrink with it even where the ratio is the largest."""
        key = f"e[{block.slot}]"
        if ratio is None and out == block.out:
            return block.mid
        if ratio is None:
            ratio = max(self.supernet.expand_ratios)
        elif ratio <= 0:
            raise self.config.error(f"{key} is {ratio:g}, and a ratio must be above 0")
        elif ratio not in self.supernet.expand_ratios:
            self.notes.append(f"e = {ratio:g} is not among the trained ratios {listed(self.supernet.expand_ratios)}")
        mid = middle(out if self.supernet.mid_rule == "out*e" else block.into, ratio, self.supernet.divisor)
        if mid > block.mid:
            raise self.config.error(f"{key} is {ratio:g}, which needs {mid} channels, and the {block.name} has {block.mid}")
        return mid

    def _width(self, slot: int, choices: tuple[int, ...]) -> int:
        index = self.config.slots("w", self.supernet.width_slots)[slot]
        if index is None:
            return choices[-1]
        if index != int(index) or not 0 <= index < len(choices):
            raise self.config.error(f"w[{slot}] is {index:g}, and must be an index from 0 to {len(choices) - 1} into {list(choices)}")
        return choices[int(index)]

    def _within(self, size: int, where: str) -> int:
        """The active channels, for a layer that has `size` at most."""
        if self.active is None:
            return size
        if self.active > size:
            raise self.places.error(f"{where} takes {size} channels, and {self.active} reach it")
        return self.active

    def _drop(self, source: str, output: str, where: str) -> None:
        self.edits.append(Drop(self.places.value(source, where), self.places.value(output, where)))
