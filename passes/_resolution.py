"""Another height and width of a model's input, and of everything in the model that was computed from them when it was exported."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from graphopt.errors import DataError, RuntimeRefusedError, UnsupportedError
from graphopt.ir import Graph, Node, TypeWalk, Value
from graphopt.quality import run, session, synthetic_inputs
from graphopt.repair import set_constant

from ._embeddings import Embeddings
from ._entries import is_constant, set_entries
from ._grids import Grids, Misfit, Pair

_ELEMENTWISE = frozenset(
    {"Add", "And", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Clip", "Div", "Equal", "Greater", "GreaterOrEqual", "Less"}
    | {"LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Or", "PRelu", "Pow", "Sub", "Sum", "Where", "Xor"}
)
_POOLS = ("AveragePool", "LpPool", "MaxPool")
_MAPS = (*_POOLS, "Conv", "ConvTranspose", "DepthToSpace", "Resize", "SpaceToDepth", "Upsample")  # their outputs are [N, C, *space]
_REMEDY = "leave the resolution as it is, or export the model for it"


def picture_axes(shape: Sequence[int | str | None] | None) -> tuple[int, int] | None:
    """The axes of height and width of an input that takes pictures, channels first or last; None where it takes none."""
    if shape is None or len(shape) != 4:
        return None
    axes = (1, 2) if shape[3] in (1, 3, 4) and shape[1] not in (1, 3, 4) else (2, 3)
    return axes if all(isinstance(shape[axis], int) for axis in axes) else None


def resize(graph: Graph, sizes: dict[str, tuple[int, int]], method: str) -> int:
    """Give inputs, by name, these heights and widths, and rewrite what follows from them; the answer is how many nodes were rewritten.

    Position embeddings are interpolated by `method`. Raises UnsupportedError, which names the node, where something in the root `graph` is
    made for the resolution that it has; the graph is then half changed. The result was run in ONNX Runtime.
    """
    change = _Change(graph, sizes, method)
    change.carry_out()
    _run(graph, sizes)
    return change.rewritten


def as_small(original: Graph, graph: Graph) -> Graph:
    """The root `original`, or where `graph`, which was made from it, takes smaller pictures, a copy that takes these too.

    Raises UnsupportedError as `resize` does.
    """
    sizes = {}
    for value in graph.inputs:
        before = original.shape(original.value(value.name)) if original.has_value(value.name) else None
        axes, now = picture_axes(before), graph.shape(value)
        if axes is not None and now is not None and before is not None and [before[axis] for axis in axes] != [now[axis] for axis in axes]:
            sizes[value.name] = int(now[axes[0]] or 0), int(now[axes[1]] or 0)
    if not sizes:
        return original
    small = original.copy()
    resize(small, sizes, "bicubic")
    return small


def _run(graph: Graph, sizes: dict[str, tuple[int, int]]) -> None:
    try:
        data = synthetic_inputs(graph)
        run(session(graph), next(data.runs()))
    except (RuntimeRefusedError, DataError) as error:
        size = " and ".join(f"{height} x {width}" for height, width in sizes.values())
        raise UnsupportedError(f"the model does not run on pictures of {size}: {error}; {_REMEDY}") from error


class _Change:
    """The change on its way through the graph: `old` and `new` know the shapes before and after, as far as nodes were visited."""

    def __init__(self, graph: Graph, sizes: dict[str, tuple[int, int]], method: str) -> None:
        self._graph, self._method = graph, method
        self.rewritten = 0
        self.old = TypeWalk(graph)
        for node in graph.nodes:
            self.old.visit(node)
        self._targets = {node: self._contents(node) for node in graph.nodes if node.op_type in _RULES and not node.domain}
        self.grids = Grids()
        types = graph.types()
        for name, size in sizes.items():
            value = graph.value(name)
            known = types[value]
            axes = picture_axes(known.shape)
            assert known.shape is not None
            assert axes is not None
            shape = list(known.shape)
            shape[axes[0]], shape[axes[1]] = size
            self.grids.note_sides([int(known.shape[axis] or 0) for axis in axes], size)
            graph.declare(value, known.elem_type, shape)
        for output in graph.outputs:
            if output in types and not graph.is_input(output):
                graph.declare(output, types[output].elem_type, None)  # what it stated would be held against what is inferred
        self.new = TypeWalk(graph)
        self._embeddings = Embeddings(graph, self.grids, method)

    def carry_out(self) -> None:
        for node in self._graph.nodes:
            try:
                self._visit(node)
            except Misfit as misfit:
                raise UnsupportedError(f"{node.label} fixes the resolution: {misfit}; {_REMEDY}") from None
        types = self._graph.types()
        for output in dict.fromkeys(self._graph.outputs):
            if output in types and not self._graph.is_input(output):
                self._graph.declare(output, types[output].elem_type, types[output].shape)

    # ---- shapes

    def pairs(self, value: Value | None) -> list[Pair] | None:
        """The sizes of a value as they were and are; None where they are not known."""
        old, new = self.old.shape(value), self.new.shape(value)
        return None if old is None or new is None or len(old) != len(new) else list(zip(old, new, strict=True))

    def changed(self, value: Value | None) -> bool:
        return value is not None and self.old.shape(value) != self.new.shape(value)

    def _contents(self, node: Node) -> list[list[float] | None]:
        """The small constants that a node reads, as they are before any change."""
        found = [self.old.contents(value) for value in node.inputs]
        return [None if array is None else array.reshape(-1).tolist() for array in found]

    def numbers(self, node: Node, slot: int) -> list[int] | None:
        found = self._targets[node]
        contents = found[slot] if slot < len(found) else None
        return None if contents is None else [int(number) for number in contents]

    def floats(self, node: Node, slot: int) -> list[float] | None:
        found = self._targets[node]
        return found[slot] if slot < len(found) else None

    def _visit(self, node: Node) -> None:
        touched = any(self.changed(value) for value in node.inputs)
        if touched and node.subgraphs:
            raise Misfit("it holds subgraphs, into which the change is not followed")
        if (touched or node.op_type in ("Resize", "Upsample")) and not node.domain:
            rule = _elementwise if node.op_type in _ELEMENTWISE else _RULES.get(node.op_type)
            if rule is not None:
                rule(self, node)
        self.new.visit(node)
        if not touched:
            return
        for value in node.outputs:
            if value is not None and self.old.shape(value) is not None and self.new.shape(value) is None:
                raise Misfit("what it computes has no shape any more that could be inferred")
        output = node.outputs[0] if node.outputs else None
        found = self.pairs(output)
        if found and any(new < 1 <= old for old, new in found):
            raise Misfit("nothing is left of what it computes")
        if found and node.op_type in _MAPS and not node.domain:
            self.grids.note_sides([old for old, _ in found[2:]], [new for _, new in found[2:]])

    # ---- edits

    def edit(self, node: Node, slot: int, wanted: dict[int, int]) -> None:
        """Change entries of a list of integers that a node reads."""
        if wanted:
            set_entries(self._graph, self.new, node, slot, wanted)
            self.rewritten += 1

    def replace(self, node: Node, slot: int, contents: object, dtype: str) -> None:
        value = node.input(slot)
        assert value is not None
        set_constant(self._graph, [(node, slot)], np.array(contents, dtype=dtype), value.name)
        self.rewritten += 1

    def set_attribute(self, node: Node, name: str, value: list[int] | list[float]) -> None:
        self._graph.set_attribute(node, name, value)
        self.rewritten += 1

    def embed(self, node: Node, slot: int, pairs: dict[int, Pair]) -> None:
        self._embeddings.interpolate(node, slot, pairs)
        self.rewritten += 1


# ---- rules: what a node needs before its outputs' shapes can be found; each raises Misfit


def _elementwise(change: _Change, node: Node) -> None:
    """Constants that are as large as what they are combined with."""
    shapes = [
        (slot, value, found) for slot, value in enumerate(node.inputs) if value is not None and (found := change.pairs(value)) is not None
    ]
    for slot, value, own in shapes:
        misfits: dict[int, Pair] = {}
        for _, other, found in shapes:
            for back in range(1, min(len(own), len(found)) + 1):
                (old, new), wanted = own[-back], found[-back]
                if other is not value and old == new != 1 and wanted[0] == old and wanted[1] != new:
                    misfits[len(own) - back] = wanted
        if not misfits:
            continue
        if node.op_type == "Add" and is_constant(value):
            change.embed(node, slot, misfits)
        elif is_constant(value):
            raise Misfit(f"its constant {value.name!r} of shape {[old for old, _ in own]} has a value for each place")
        else:
            raise Misfit(
                f"{value.name!r}, which it reads, is of the old size and does not come from the input (`simplify` folds constants)"
            )


def _reshape(change: _Change, node: Node) -> None:
    found, output, target = change.pairs(node.input(0)), change.old.shape(node.output()), change.numbers(node, 1)
    if found is None or output is None or target is None:
        raise Misfit("the shape that it gives is not known")
    wanted = change.grids.reshaped([old for old, _ in found], [new for _, new in found], output)
    now = change.new.contents(node.input(1))
    stated = target if now is None else [int(size) for size in now.reshape(-1)]
    change.edit(node, 1, {place: size for place, size in enumerate(wanted) if stated[place] > 0 and stated[place] != size})
    change.new.visit(node)
    if list(change.new.shape(node.output()) or ()) != wanted:
        raise Misfit(f"it cannot give the shape {wanted} that takes the place of {list(output)}")


def _flatten(change: _Change, node: Node) -> None:
    found, output = change.pairs(node.input(0)), change.old.shape(node.output())
    if found is not None and output is not None:
        change.grids.reshaped([old for old, _ in found], [new for _, new in found], output)


def _concat(change: _Change, node: Node) -> None:
    parts = [change.pairs(value) for value in node.inputs]
    known = [part for part in parts if part is not None]
    axis = int(node.attributes["axis"])
    if len(known) == len(parts):
        axis %= max(len(known[0]), 1)
        change.grids.note_joined([part[axis] for part in known])
        for other in range(len(known[0])):
            if other != axis and len({part[other] for part in known}) > 1:
                raise Misfit("what it puts together is not of one size any more")


def _slice(change: _Change, node: Node) -> None:
    found = change.pairs(node.input(0))
    if found is None:
        raise Misfit("the shape of what it cuts is not known")
    from_inputs = "starts" not in node.attributes
    starts = change.numbers(node, 1) if from_inputs else list(node.attributes["starts"])
    ends = change.numbers(node, 2) if from_inputs else list(node.attributes["ends"])
    axes = change.numbers(node, 3) if from_inputs else list(node.attributes.get("axes", [])) or None
    if starts is None or ends is None:
        return  # computed from sizes, which are known anew
    places = range(len(starts)) if axes is None else [axis % len(found) for axis in axes]
    ends_now = change.new.contents(node.input(2)) if from_inputs else None
    wanted = {}
    for place, axis in enumerate(places):
        old, new = found[axis]
        if old == new:
            continue
        _check_index(change, starts[place], found[axis], axis)
        end = ends[place] if ends_now is None else int(ends_now.reshape(-1)[place])
        if end == old:
            wanted[place] = new
        elif end != new:
            _check_index(change, end, found[axis], axis)
    if from_inputs:
        change.edit(node, 2, wanted)
    elif wanted:
        change.set_attribute(node, "ends", [wanted.get(place, end) for place, end in enumerate(ends)])


def _check_index(change: _Change, index: int, pair: Pair, axis: int) -> None:
    """Raise Misfit for a place in the middle of an axis that may have been computed from its size."""
    old, new = pair
    if not -old < index < old or 0 <= index <= max(1, change.grids.leading()) or index == -1:
        return
    inner = abs(index)
    known = any(change.grids.side(side, inner) not in (None, inner) for side in (0, 1))
    if inner >= new or old % inner == 0 or known:
        raise Misfit(f"it cuts axis {axis} of {old} places at {index}, which may or may not follow from the resolution")


def _gather(change: _Change, node: Node) -> None:
    found = change.pairs(node.input(0))
    if found is None:
        raise Misfit("the shape of what it reads is not known")
    axis = int(node.attributes.get("axis", 0)) % len(found)
    old, new = found[axis]
    indices = change.numbers(node, 1)
    if old == new:
        return
    leading = max(1, change.grids.leading())
    if indices is None or any(not (index in (-1, -old) or 0 <= index < leading) or index >= new for index in indices):
        raise Misfit(f"it picks single places of an axis of {old}")
    if -old in indices:
        raise Misfit(f"it counts places of an axis of {old} from its end")


def _split(change: _Change, node: Node) -> None:
    found = change.pairs(node.input(0))
    if found is None:
        raise Misfit("the shape of what it divides is not known")
    old, new = found[int(node.attributes.get("axis", 0)) % len(found)]
    if old == new:
        return
    attribute = node.attributes.get("split")
    sizes = list(attribute) if attribute is not None else change.numbers(node, 1)
    if sizes is None:
        if new % len(node.outputs):
            raise Misfit(f"it divides {old} places into {len(node.outputs)} parts, and {new} cannot be divided so")
        return
    grid = change.grids.grid((old, new))
    inner = math.prod(side[0] for side in grid.sides) if grid is not None else None
    if grid is None or sizes.count(inner or 0) != 1 or sum(sizes) != grid.before + (inner or 0) + grid.after:
        raise Misfit(f"it divides {old} places into {sizes}")
    made = [math.prod(side[1] for side in grid.sides) if size == inner else size for size in sizes]
    if attribute is not None:
        change.set_attribute(node, "split", made)
    else:
        change.edit(node, 1, {place: size for place, size in enumerate(made) if size != sizes[place]})


def _expand(change: _Change, node: Node) -> None:
    found, target = change.pairs(node.input(0)), change.new.contents(node.input(1))
    if found is None or target is None:
        raise Misfit("the shape that it gives is not known")
    sizes = [int(size) for size in target.reshape(-1)]
    wanted = {}
    for back in range(1, min(len(found), len(sizes)) + 1):
        old, new = found[-back]
        if old != new and sizes[-back] == old:
            wanted[len(sizes) - back] = new
    change.edit(node, 1, wanted)


def _pool(change: _Change, node: Node) -> None:
    """A window over all that there was covers all that there is."""
    found, output = change.pairs(node.input(0)), change.old.shape(node.output())
    kernel, pads = list(node.attributes.get("kernel_shape", [])), list(node.attributes.get("pads", []))
    if found is None or output is None or any(pads):
        return
    made = [
        new if size == old and out == 1 and old > 1 else size for size, (old, new), out in zip(kernel, found[2:], output[2:], strict=True)
    ]
    if made != kernel:
        change.set_attribute(node, "kernel_shape", made)


def _conv(change: _Change, node: Node) -> None:
    found, output, weight = change.pairs(node.input(0)), change.old.shape(node.output()), change.old.shape(node.input(1))
    if found is None or output is None or weight is None:
        raise Misfit("the shape of what it reads is not known")
    pads = node.attributes.get("pads", [])
    for axis, ((old, new), out, size) in enumerate(zip(found[2:], output[2:], weight[2:], strict=True)):
        if old != new and out == 1 and size == old > 1 and not any(pads):
            raise Misfit(f"its kernel covers all {old} places of axis {axis + 2}")


def _product(change: _Change, node: Node) -> None:
    left, right = change.pairs(node.input(0)), change.pairs(node.input(1))
    if not left or not right:
        raise Misfit("the shape of what it multiplies is not known")
    attributes = node.attributes if node.op_type == "Gemm" else {}
    inner = left[0 if attributes.get("transA", 0) else -1]
    rows = right[-1] if attributes.get("transB", 0) or len(right) == 1 else right[-2]
    if inner[1] != rows[1]:
        raise Misfit(f"its weight takes {inner[0]} values for each row, and there would be {inner[1] if inner[0] != inner[1] else rows[1]}")


def _resize(change: _Change, node: Node) -> None:
    found, output = change.pairs(node.input(0)), change.old.shape(node.output())
    if found is None or output is None:
        raise Misfit("the shape that it gives is not known")
    wanted = [_resized(change, axis, pair, out) for axis, (pair, out) in enumerate(zip(found, output, strict=True))]
    axes = [axis % len(found) for axis in node.attributes.get("axes", range(len(found)))]
    slots = {"Upsample": (1, None)}.get(node.op_type, (2, 3) if len(node.inputs) > 2 else (1, None))
    sizes = change.new.contents(node.input(slots[1])) if slots[1] is not None and slots[1] < len(node.inputs) else None
    if sizes is not None and sizes.size:
        if node.attributes.get("keep_aspect_ratio_policy", b"stretch") not in (b"stretch", "stretch"):
            raise Misfit("it keeps the aspect ratio of a size that is stated")
        stated = [int(size) for size in sizes.reshape(-1)]
        made = [wanted[axis] for axis in axes]
        if None in made and made != stated:
            raise Misfit(f"it makes maps of {[output[axis] for axis in axes]}, which do not follow from the resolution")
        change.edit(node, slots[1] or 0, {p: size for p, size in enumerate(made) if size is not None and size != stated[p]})
        return
    attribute = node.attributes.get("scales") if node.op_type == "Upsample" else None
    scales = list(attribute) if attribute is not None else change.floats(node, slots[0])
    if scales is None:
        return  # computed from sizes, which are known anew
    fitted = [_scale(scale, found[axis], wanted[axis]) for scale, axis in zip(scales, axes, strict=True)]
    if fitted != scales and attribute is not None:
        change.set_attribute(node, "scales", fitted)
    elif fitted != scales:
        change.replace(node, slots[0], fitted, "float32")


def _resized(change: _Change, axis: int, pair: Pair, out: int) -> int | None:
    """The size that a Resize is to give along an axis, as maps have it elsewhere in the model, otherwise in proportion."""
    old, new = pair
    if axis < 2 or (old == new and old == out):
        return out
    known = change.grids.side(axis - 2, out)
    if known is not None:
        return known
    if old == new:
        return out
    return out * new // old if out * new % old == 0 else None


def _scale(scale: float, pair: Pair, wanted: int | None) -> float:
    """Whole factors, and parts by whole numbers, stay; others came from sizes."""
    old, new = pair
    if old == new or abs(scale - round(scale)) < 1e-6 or abs(1 / scale - round(1 / scale)) < 1e-6:
        return scale
    if wanted is None:
        raise Misfit(f"its factor {scale:g} was made for {old} places")
    found = np.float32(wanted / new)
    while math.floor(float(found) * new) < wanted:
        found = np.nextafter(found, np.float32(np.inf))
    return float(found)


_RULES: dict[str, Callable[[_Change, Node], None]] = {
    "Concat": _concat,
    "Conv": _conv,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gemm": _product,
    "MatMul": _product,
    "Reshape": _reshape,
    "Resize": _resize,
    "Slice": _slice,
    "Split": _split,
    "Upsample": _resize,
    **dict.fromkeys(_POOLS, _pool),
}
