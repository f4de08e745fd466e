"""How ONNX Runtime goes over the output of a convolution in the blocked layout, as far as its time depends on it.

The order of loops is that of `onnxruntime/core/mlas/lib/snchwc.cpp` and `x86_64/SconvKernelAvx512F.S`: four blocks of filters at a time, a row of
the output at a time (all rows of a pointwise convolution without strides), and along it six columns at a time, then three, then two; columns
whose window reaches into the padding, and what is left over, one at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from graphopt.cost.kernel import Operand, Signature

_FILTERS = 4  # blocks of filters at a time
_DEPTH = 128  # channels that a pointwise convolution adds up before it writes them
_COLUMNS = {16: (6, 3, 2)}  # columns at a time, by block
_FEW_COLUMNS = (3, 2)
_SAME_SET = 4096  # bytes
_FIRST_CACHE = 24_000.0  # bytes, of which other things need some
_CHAINS = 4  # sums that must be under way at once, so that none waits for the one before


@dataclass(frozen=True)
class Columns:
    """Of one row: passes over several columns, columns that go alone, the places of the window that these see, and what the passes of 1, 2, 3 or 4
    filter blocks lack of the sums that fill the time which one takes, by places of the window."""

    passes: int
    single: int
    seen: int
    idle: tuple[int, int, int, int]


@lru_cache(maxsize=4096)
def columns(inner: int, padded: int, seen: int, window: int, block: int) -> Columns:
    """Of `inner` columns without padding and `padded` ones, of whose windows `seen` places are inside; windows are `window` wide."""
    passes, left = [], inner
    for width in _COLUMNS.get(block, _FEW_COLUMNS):
        passes += [width] * (left // width)
        left %= width
    seen += left * window
    idle = [
        sum(max(0, _CHAINS - filters * width) for width in passes) * window + max(0, _CHAINS - filters) * seen
        for filters in range(1, _FILTERS + 1)
    ]
    return Columns(len(passes), left + padded, seen, (idle[0], idle[1], idle[2], idle[3]))


def blocked_features(sig: Signature, data: Operand, weight: Operand, block: int, kind: str) -> tuple[dict[str, float], float]:
    """Amounts for a law of a two-dimensional convolution, and the share of window rows that lie inside the image.

    `kind`: `dense` (with groups, too), `pointwise`, `depthwise` or `image`.
    """
    out = sig.outputs[0]
    group = sig.attribute("group", 1)
    groups = group if isinstance(group, int) and kind == "dense" else 1
    rows, inner, padded, seen = _extent(sig, data, weight, out)
    height, width, window = out.shape[2], out.shape[3], weight.shape[3]
    inside = rows / (height * weight.shape[2]) if height * weight.shape[2] else 1.0
    calls, taken = height, rows
    if kind == "pointwise" and _pair(sig, "strides") == (1, 1):
        calls, taken, inner, padded, seen = 1, 1, height * width, 0, 0
    along = columns(inner, padded, seen, window, block)
    blocks = ceil(weight.shape[0] / groups / block)
    times = out.shape[0] * groups
    if kind == "depthwise":
        times, sets, parts, depth = times * blocks, [1], 1, 1
    else:
        sets = [_FILTERS] * (blocks // _FILTERS) + [blocks % _FILTERS] * (blocks % _FILTERS > 0)
        channels = weight.shape[1]
        depth = channels if kind == "image" else ceil(channels / block) * block
        parts = channels if kind == "image" else ceil(depth / _DEPTH) if kind == "pointwise" else depth // block
    filters = sum(sets)
    steps = times * taken * depth  # of the innermost loop, by pass and place of the window
    places = along.passes * window + along.seen
    loads = float(steps * places * filters)
    # The filters that each pass reads anew do not stay in the first cache from one to the next where there are too many, or where they lie at a
    # multiple of the distance at which lines share a set.
    chunk = 4 * block * max(sets) * weight.shape[2] * window * (1 if kind == "image" else depth / parts)
    far = max(0.0, 1.0 - _FIRST_CACHE / chunk) if kind != "depthwise" else 0.0
    aliased = _aliased(4 * block * depth * weight.shape[2] * window) if kind != "depthwise" else 0.0
    amounts = {
        "steps": float(steps * places * len(sets)),
        "filter_loads": loads,
        "single_steps": float(steps * along.seen * filters),
        "idle": float(steps * sum(along.idle[count - 1] for count in sets)),
        "written": float(times * height * width * block * filters * parts),
        "passes": float(times * calls * (along.passes + along.single) * len(sets) * parts),
        "calls": float(times * calls * len(sets) * parts),
        "far_loads": far * loads,
        "aliased_loads": aliased * float(steps * places * (filters - len(sets))),
        "visited": float(data.size * len(sets)) if kind != "depthwise" else 0.0,
    }
    return amounts, inside


def _aliased(stride: int) -> float:
    """How strongly streams that lie `stride` bytes apart meet in the first cache."""
    shares = ((1.0, _SAME_SET), (0.5, _SAME_SET // 2), (0.25, _SAME_SET // 4))
    return next((share for share, distance in shares if stride % distance == 0), 0.0)


def _pair(sig: Signature, name: str) -> tuple[int, int]:
    value = sig.attribute(name)
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], int) and isinstance(value[1], int):
        return value[0], value[1]
    return 1, 1


def _extent(sig: Signature, data: Operand, weight: Operand, out: Operand) -> tuple[int, int, int, int]:
    """Window rows inside the image, over all rows of the output; columns of the output that see no padding, those that do, and what these see."""
    pads = sig.attribute("pads")
    if not isinstance(pads, tuple) or len(pads) != 4:
        return out.shape[2] * weight.shape[2], out.shape[3], 0, 0
    strides, dilations = _pair(sig, "strides"), _pair(sig, "dilations")
    before = int(pads[0]), int(pads[1])
    rows = sum(_hits(data.shape[2], out.shape[2], weight.shape[2], strides[0], dilations[0], before[0]))
    span = dilations[1] * (weight.shape[3] - 1) + 1
    inner = (data.shape[3] - span) // strides[1] + 1 if data.shape[3] >= span else 0
    reached = (data.shape[3] + before[1] - span) // strides[1] + 1 if data.shape[3] + before[1] >= span else out.shape[3]
    if reached == inner and before[1]:
        inner -= 1
    inner = min(max(inner, 0), out.shape[3])
    seen = sum(_hits(data.shape[3], out.shape[3], weight.shape[3], strides[1], dilations[1], before[1])) - inner * weight.shape[3]
    return rows, inner, out.shape[3] - inner, max(seen, 0)


@lru_cache(maxsize=4096)
def _hits(size: int, made: int, window: int, step: int, gap: int, before: int) -> tuple[int, ...]:
    """Along one axis, for each of `made` outputs, how many places of the window lie inside the image."""
    starts = (place * step - before for place in range(made))
    return tuple(sum(0 <= start + tap * gap < size for tap in range(window)) for start in starts)
