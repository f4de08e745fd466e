"""The elastic dimensions of a supernet, from its side file and its graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from graphopt.errors import SupernetError
from graphopt.ir import Graph
from graphopt.supernet.family import RESNET, Block, Supernet
from graphopt.supernet.generic import ElasticGraph, key_of
from graphopt.supernet.places import Places
from graphopt.supernet.resolution import resize
from graphopt.supernet.rounding import middle
from graphopt.supernet.space import Present, Site, Space, Span

_SMALLEST_SIZE, _SIZE_STEP = 0.7, 16  # of the largest; the sizes that Once-for-All's own search draws from


def space_of(graph: Graph, supernet: Supernet | ElasticGraph, image_sizes: Sequence[int] | None = None) -> Space:
    """All subnets of the root `graph`. `image_sizes`: heights and widths of the input on offer, by default those that `usual_sizes` says.

    Raises SupernetError where a side file of the generic form says nothing of the choices, or names do not fit the graph.
    """
    made = _Made()
    sizes = usual_sizes(graph, supernet) if image_sizes is None else _checked_sizes(graph, supernet, image_sizes)
    if sizes:
        made.add("image_size", None, sizes)
    if isinstance(supernet, ElasticGraph):
        return _generic(supernet, made)
    return _family(graph, supernet, made)


def usual_sizes(graph: Graph, supernet: Supernet | ElasticGraph) -> tuple[int, ...]:
    """Image sizes where the side file says nothing of them: multiples of 16 from 0.7 of the largest on, if the model can be resized.

    224 makes 160, 176, 192, 208, 224, which are those of the published searches. None for supernets of the generic form.
    """
    if isinstance(supernet, ElasticGraph):
        return ()
    largest = supernet.image_size
    sizes = [size for size in range(_SIZE_STEP, largest, _SIZE_STEP) if size >= _SMALLEST_SIZE * largest]
    return (*(size for size in sizes if _fits(graph, supernet.input, size)), largest)


def _fits(graph: Graph, name: str, size: int) -> bool:
    try:
        resize(graph.copy(), name, size)
    except SupernetError:
        return False
    return True


def _checked_sizes(graph: Graph, supernet: Supernet | ElasticGraph, sizes: Sequence[int]) -> tuple[int, ...]:
    if supernet.input is None:
        raise SupernetError(f"{supernet.source}: input is missing, and image sizes are to be chosen from")
    for size in sizes:
        resize(graph.copy(), supernet.input, size)
    return tuple(sorted(set(sizes)))


@dataclass
class _Made:
    sites: list[Site] = field(default_factory=list)
    fixed: dict[tuple[str, int | None], float] = field(default_factory=dict)
    edited: dict[str, list[int]] = field(default_factory=dict)

    def edits(self, node: str, key: str, slot: int | None) -> None:
        """Note that a choice changes a node."""
        numbers = [number for number, site in enumerate(self.sites) if (site.key, site.slot) == (key, slot)]
        self.edited.setdefault(node, []).extend(numbers)

    def space(self, spans: Iterable[Span], lengths: Mapping[str, int], kept: tuple[tuple[int, Present | None], ...] | None = None) -> Space:
        edited = {node: tuple(dict.fromkeys(numbers)) for node, numbers in self.edited.items()}
        return Space(tuple(self.sites), tuple(spans), lengths, self.fixed, edited, kept)

    def add(self, key: str, slot: int | None, values: Iterable[float], span: Span | None = None) -> int | None:
        """The number of the new site, None where there is but one value."""
        found = tuple(values)
        if len(found) == 1:
            self.fixed[key, slot] = found[0]
        if len(found) < 2:
            return None
        self.sites.append(Site(key, slot, found, None if span is None else span.present))
        return len(self.sites) - 1


def _family(graph: Graph, supernet: Supernet, made: _Made) -> Space:
    places = Places(graph, supernet.source)
    spans, depths = list[Span](), _depths(supernet, made)
    if supernet.family == RESNET:
        for slot, widths in sorted(_widths(supernet).items()):
            made.add("w", slot, _distinct(widths))
    last = max(supernet.depths)
    width: int | None = None  # the slot of the width that reaches a layer
    for number, part in enumerate(supernet.stem):
        for entry in (width, part.width_slot):
            made.edits(part.conv.node, "w", entry)
        width = part.width_slot
        if part.skippable:
            spans.append(Span(f"stem[{number}]", part.input, part.output, _present(made, depths[part.depth_slot], last)))
    for stage in supernet.stages:
        for place, block in enumerate(stage.blocks):
            needed = place + 1 - (stage.base_depth if supernet.depth_rule == "offset" else 0)
            span = Span(block.name, block.input, block.output, _present(made, depths[stage.depth_slot], needed))
            spans.append(span)
            if supernet.family != RESNET:
                made.add("ks", block.slot, _kernels(places, supernet, block), span)
            made.add("e", block.slot, _ratios(supernet, block), span)
            for layer in block.convs.values():
                for key, entry in (("ks", block.slot), ("e", block.slot), ("w", width), ("w", stage.width_slot)):
                    made.edits(layer.node, key, entry)
            width = stage.width_slot
    if supernet.classifier is not None:
        made.edits(supernet.classifier.node, "w", width)
    return made.space(spans, {"ks": supernet.slots, "e": supernet.slots, "d": supernet.depth_slots, "w": supernet.width_slots})


def _present(made: _Made, depth: int | None, needed: int) -> Present | None:
    """Where the depth is `needed` or more; None where it always is."""
    if depth is None:
        return None
    least = sum(value < needed for value in made.sites[depth].values)
    return Present(depth, least) if least else None


def _depths(supernet: Supernet, made: _Made) -> dict[int, int | None]:
    """The site of every depth slot, None where there is nothing to choose."""
    found: dict[int, int | None] = {}
    for slot in range(supernet.depth_slots):
        stages = [stage for stage in supernet.stages if stage.depth_slot == slot]
        longest = max(
            (len(stage.blocks) - (stage.base_depth if supernet.depth_rule == "offset" else 0) for stage in stages),
            default=max(supernet.depths),
        )
        values = {min(depth, longest) for depth in supernet.depths}
        if not stages:  # the stem's: all but the largest depth are alike
            values = {min(values), max(values)}
        found[slot] = made.add("d", slot, sorted(values))
    return found


def _widths(supernet: Supernet) -> dict[int, list[tuple[int, ...]]]:
    """By width slot the channels that each index stands for, of all layers that go by it."""
    found: dict[int, list[tuple[int, ...]]] = {}
    for part in supernet.stem:
        found.setdefault(part.width_slot, []).append(part.out_choices)
    for stage in supernet.stages:
        if stage.width_slot is not None and stage.out_choices:
            found.setdefault(stage.width_slot, []).append(stage.out_choices)
    return found


def _distinct(widths: list[tuple[int, ...]]) -> list[int]:
    """The indices whose widths differ; of equal ones the last."""
    by_width = {at: index for index, at in enumerate(zip(*widths, strict=False))}
    return sorted(by_width.values())


def _kernels(places: Places, supernet: Supernet, block: Block) -> list[int]:
    largest = places.conv(block.convs["depthwise"], f"the {block.name}, depthwise").shape[2]
    return [size for size in supernet.kernel_sizes if size <= largest]


def _ratios(supernet: Supernet, block: Block) -> list[float]:
    """The ratios that the block has the channels for; of several that come to the same number of channels the last."""
    whole = block.out if supernet.mid_rule == "out*e" else block.into
    found = {middle(whole, ratio, supernet.divisor): ratio for ratio in sorted(supernet.expand_ratios)}
    return sorted(ratio for mid, ratio in found.items() if mid <= block.mid)


def _generic(supernet: ElasticGraph, made: _Made) -> Space:
    missing = next((key for key in supernet.keys if key not in supernet.choices), None)
    if missing is not None:
        raise SupernetError(f"{supernet.source}: choices say nothing of {missing!r}; list what was trained, ascending, before searching")
    spans: dict[int, Span] = {}
    for layers in supernet.sequences:
        depth = made.add(layers.depth, None, supernet.choices[layers.depth])
        for place, (slot, source, output) in enumerate(layers.blocks):
            spans[slot] = Span(f"block of slot {slot}", source, output, _present(made, depth, place + 1))
    slots: dict[str, set[int]] = {}
    depths = {layers.depth for layers in supernet.sequences}
    for rule in supernet.rules:
        key = key_of(rule)
        slots.setdefault(key, set()).update([] if rule.slot is None else [rule.slot])
    for key, found in slots.items():
        if key in depths:
            continue
        if not found:
            made.add(key, None, supernet.choices[key])
        for slot in sorted(found):
            made.add(key, slot, supernet.choices[key], spans.get(slot))
    lengths = {key: max(found) + 1 for key, found in slots.items() if found}
    for rule in supernet.rules:
        made.edits(rule.node, key_of(rule), rule.slot)
    kept = tuple((slot, span.present) for slot, span in spans.items()) if supernet.slots_of_kept else None
    return made.space(spans.values(), lengths, kept)
