"""The front end of MobileNetV3 and ProxylessNAS supernets: a configuration becomes edits, block by block."""

from __future__ import annotations

from dataclasses import dataclass

from graphopt.supernet.config import Config
from graphopt.supernet.depth import kept_blocks
from graphopt.supernet.document import listed
from graphopt.supernet.edits import Change, Drop, Edit, Group, Indices
from graphopt.supernet.family import Block, Supernet
from graphopt.supernet.kernels import kernel_edits
from graphopt.supernet.places import Conv, Places, chosen
from graphopt.supernet.rounding import middle, squeezed
from graphopt.supernet.sorting import by_input, check_sortable
from graphopt.supernet.transforms import Transforms

KEYS = ("ks", "e", "d")


def mbconv_changes(supernet: Supernet, places: Places, config: Config, transforms: Transforms | None, notes: list[str]) -> list[Change]:
    """One change per block that becomes smaller or goes. Raises SupernetError where names or numbers do not fit."""
    config.check_keys(KEYS)
    front = _Front(supernet, places, config, transforms, notes)
    changes = []
    kernels, ratios = config.slots("ks", supernet.slots), config.slots("e", supernet.slots)
    depths = config.slots("d", supernet.depth_slots)
    for stage in supernet.stages:
        kept = kept_blocks(supernet, stage, depths[stage.depth_slot], config, notes)
        for block in stage.blocks[:kept]:
            edits = front.block(block, kernels[block.slot], ratios[block.slot])
            if edits:
                changes.append(Change(f"shrink the {block.name}", tuple(edits)))
        changes += [Change(f"leave out the {block.name}", (Drop(*places.border(block)),)) for block in stage.blocks[kept:]]
    return changes


@dataclass(frozen=True)
class _Front:
    supernet: Supernet
    places: Places
    config: Config
    transforms: Transforms | None
    notes: list[str]

    def block(self, block: Block, kernel: float | None, ratio: float | None) -> list[Edit]:
        where = f"the {block.name}"
        convs = {role: self.places.conv(layer, f"{where}, {role}") for role, layer in block.convs.items()}
        self.places.border(block)
        _check_widths(self.places, block, convs)
        mid = self._mid(block, ratio)
        order = self._order(convs["project"], where)
        keep = chosen(order, mid, block.mid)
        edits = [*convs["expand"].edits(keep, None), *convs["depthwise"].edits(keep, None), *convs["project"].edits(None, keep)]
        if mid != block.mid:
            edits.append(Group(convs["depthwise"].node, mid))
        if "se_reduce" in convs:
            edits += self._se(block, convs["se_reduce"], convs["se_expand"], mid, keep)
        offered, named = self.supernet.kernel_sizes, self.supernet.transforms
        key = f"ks[{block.slot}]"
        return edits + kernel_edits(self.places, self.config, key, kernel, convs["depthwise"], offered, where, self.transforms, named)

    def _order(self, project: Conv, where: str) -> Indices | None:
        if self.config.sort_channels is None:
            return None
        check_sortable(self.places, project, where)
        return by_input(self.places.operands, project)

    def _mid(self, block: Block, ratio: float | None) -> int:
        if ratio is None:
            return block.mid
        key = f"e[{block.slot}]"
        if ratio <= 0:
            raise self.config.error(f"{key} is {ratio:g}, and a ratio must be above 0")
        mid = middle(block.into, ratio, self.supernet.divisor)
        if mid > block.mid:
            raise self.config.error(f"{key} is {ratio:g}, which needs {mid} channels, and the {block.name} has {block.mid}")
        if ratio not in self.supernet.expand_ratios:
            self.notes.append(f"e = {ratio:g} is not among the trained ratios {listed(self.supernet.expand_ratios)}")
        return mid

    def _se(self, block: Block, reduce: Conv, expand: Conv, mid: int, keep: Indices | None) -> list[Edit]:
        small = squeezed(mid, self.supernet.se_reduction, self.supernet.divisor)
        largest = squeezed(block.mid, self.supernet.se_reduction, self.supernet.divisor)
        if largest != reduce.shape[0]:
            raise self.places.error(
                f"the {block.name}: its se_reduce has {reduce.shape[0]} channels, and by the rule it would have {largest}; are se_reduction and "
                "divisor right?"
            )
        order = by_input(self.places.operands, expand) if self.config.sort_channels is not None else None
        inner = chosen(order, small, reduce.shape[0])
        return [*reduce.edits(inner, keep), *expand.edits(keep, inner)]


def _check_widths(places: Places, block: Block, convs: dict[str, Conv]) -> None:
    """Raise SupernetError where the weights contradict the side file."""
    expand, depthwise, project = (convs[role] for role in ("expand", "depthwise", "project"))
    expected = [
        (expand, (block.mid, block.into)),
        (depthwise, (block.mid, 1)),
        (project, (block.out, block.mid)),
    ]
    if "se_reduce" in convs:
        small = convs["se_reduce"].shape[0]
        expected += [(convs["se_reduce"], (small, block.mid)), (convs["se_expand"], (block.mid, small))]
    check_shapes(places, block, expected)
    if depthwise.node.attributes.get("group", 1) != block.mid or depthwise.shape[2] != depthwise.shape[3]:
        raise places.error(
            f"the {block.name}: {depthwise.node.label} is no depthwise convolution of {block.mid} channels with a square kernel"
        )


def check_shapes(places: Places, block: Block, expected: list[tuple[Conv, tuple[int, int]]]) -> None:
    for conv, shape in expected:
        if len(conv.shape) != 4 or conv.shape[:2] != shape:
            raise places.error(
                f"the {block.name}: the weight of {conv.node.label} should have {shape[0]} x {shape[1]} channels, and has the shape {list(conv.shape)}"
            )
