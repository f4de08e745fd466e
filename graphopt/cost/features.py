"""What the time of a kernel grows with: work as executed, bytes moved, and what is special to its family. Pure functions of a signature."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, log, prod

from graphopt.cost.blocked import blocked_features
from graphopt.cost.families import CONVOLUTION, DEPTHWISE, NORMALISATION, convolution_slots, family, is_free, kin, matrix_slots
from graphopt.cost.kernel import Operand, Signature

FIRST = ("launch", "macs", "weight_bytes", "in_bytes", "out_bytes")  # of every family, in the order in which they are kept
_GEMM_PANEL = 16  # columns that a matrix kernel makes at once
_FUNCTIONS = frozenset({"Sigmoid", "HardSigmoid", "Tanh", "Swish", "QuickGelu", "HardSwish", "Gelu", "Elu", "Softplus", "Mish"})

_CLIPS = frozenset({"Clip", "LeakyRelu"})  # cheap, but applied in a pass of their own, which Relu is not


@dataclass(frozen=True)
class Described:
    """A kernel as the models see it.

    `features` are amounts (operations, bytes, elements) that a law adds up; `place` are logarithms of its configuration, the same names for
    all kernels of a family, between which distances tell how alike two kernels are.
    """

    signature: Signature
    family: str
    features: Mapping[str, float]
    place: Mapping[str, float]

    @property
    def free(self) -> bool:
        return is_free(self.family)

    @property
    def weight_bytes(self) -> float:
        return self.features["weight_bytes"]

    @property
    def activation_bytes(self) -> float:
        """What it reads and writes beside weights."""
        return self.features["in_bytes"] + self.features["out_bytes"]


@lru_cache(maxsize=65536)
def describe(sig: Signature, block: int = 1, everywhere: bool = False) -> Described:
    """Family, features and place of a kernel.

    Channels are padded to whole blocks in kernels of the blocked layout, and in all convolutions where the runtime pads `everywhere`.
    """
    name = family(sig, block)
    extra, place = _special(sig, name, block if everywhere or sig.operator.startswith("nchwc.") else 1)
    features = {
        "launch": 1.0,
        "macs": extra.pop("macs", 0.0),
        "weight_bytes": float(sum(operand.nbytes for operand in sig.weights)),
        "in_bytes": float(sum(operand.nbytes for operand in sig.activations)),
        "out_bytes": float(sum(output.nbytes for output in sig.outputs)),
    } | extra
    sized = {key: log(1.0 + features[key]) for key in ("macs", "in_bytes", "out_bytes", "weight_bytes")}
    return Described(sig, name, features, sized | place | {f"is {sig.operator}": 1.0})


def features(sig: Signature, block: int = 1, everywhere: bool = False) -> Mapping[str, float]:
    """Only the features: `launch` (1), `macs` as executed, `weight_bytes`, `in_bytes`, `out_bytes`, and those special to the family."""
    return describe(sig, block, everywhere).features


_Special = tuple[dict[str, float], dict[str, float]]


def _log(amount: float) -> float:
    """Of a count; an empty one is like one of a single element."""
    return log(max(1.0, amount))


def _special(sig: Signature, name: str, block: int) -> _Special:
    bare = name.removeprefix("q.")
    if not sig.outputs:
        return _plain(sig)
    if bare.startswith("deconv"):
        return _deconvolution(sig)
    if bare.startswith(("nchwc.pool", "pool")):
        return _pool(sig)
    if kin(name) in (CONVOLUTION, DEPTHWISE):
        return _convolution(sig, bare, block)
    if bare.startswith(("gemm", "gemv", "bmm")):
        return _matrix(sig)
    if kin(name) == NORMALISATION:
        return _rows(sig)
    return _BY_FAMILY.get(bare.removeprefix("nchwc."), _plain)(sig)


def _up(size: int, block: int) -> int:
    return ceil(size / block) * block


def _whole(value: object, default: int) -> int:
    return value if isinstance(value, int) else default


def _at(value: object, place: int, default: int) -> int:
    return value[place] if isinstance(value, tuple) and len(value) > place and isinstance(value[place], int) else default


def _convolution(sig: Signature, name: str, block: int) -> _Special:
    data, weight = (sig.operand(slot) for slot in convolution_slots(sig.operator.rpartition(".")[2]))
    if data is None or weight is None or len(sig.outputs[0].shape) < 3:
        return _plain(sig)
    out, group = sig.outputs[0], _whole(sig.attribute("group"), 1)
    taps = prod(weight.shape[2:])
    batch, spatial = out.shape[0], prod(out.shape[2:])
    made, taken = weight.shape[0], weight.shape[1]
    if name.endswith("depthwise"):
        made = _up(made, block)
    elif group == 1:
        made, taken = _up(made, block), taken if name.endswith("image") else _up(taken, block)
    elements = float(batch * made * spatial)
    rows = batch * prod(out.shape[2:-1])
    added = sig.operand(3) if len(sig.operands) > 3 and not sig.operator.endswith("QLinearConv") else None
    activation = sig.attribute("activation")
    extra = {
        "macs": elements * taken * taps,
        "out_elements": elements,
        "added_bytes": float(added.nbytes) if added is not None else 0.0,
        "activation": elements if activation in _FUNCTIONS else 0.0,
    }
    place = {
        "made": _log(made),
        "taken": _log(taken),
        "height": _log(prod(out.shape[2:-1])) if len(out.shape) > 3 else 0.0,
        "width": _log(out.shape[-1]),
        "taps": _log(taps),
        "stride": _log(_at(sig.attribute("strides"), 0, 1)),
        "dilation": _log(_at(sig.attribute("dilations"), 0, 1)),
        "group": _log(group) if name.endswith("grouped") else 0.0,
        "added": 1.0 if added is not None else 0.0,
        "activation": 1.0 if extra["activation"] else 0.0,
        "blocks": (ceil(made / block) % 4) / 4 if block > 1 else 0.0,
        "whole": 0.0 if weight.shape[0] % 4 == 0 else 1.0,
    }
    if name.startswith("nchwc.") and block > 1 and len(out.shape) == 4 and 0 not in out.shape:
        kind = name.removeprefix("nchwc.").replace("grouped", "dense")
        amounts, inside = blocked_features(sig, data, weight, block, kind)
        extra |= amounts | {"macs": extra["macs"] * inside, "clipped": elements if activation in _CLIPS else 0.0}
        extra["weight_bytes"] = (
            sum(operand.nbytes for operand in sig.weights) * _taps_on_image(sig, data.shape[2:], weight.shape[2:]) / taps
        )
        place["aliased"] = amounts["aliased_loads"] / max(amounts["filter_loads"], 1.0)
        place["clipped"] = 1.0 if activation in _CLIPS else 0.0
        return extra, place
    extra["rows"] = float(rows * ceil(made / max(block, 1)) * taken * taps) if not name.endswith("depthwise") else float(rows * made * taps)
    if name.startswith("conv.") and not name.endswith("depthwise") and taps > 1:
        extra["unfolded"] = float(batch * spatial * taps * weight.shape[1] * group)  # elements of the unfolded input
    return extra, place


def _deconvolution(sig: Signature) -> _Special:
    data, weight, out = sig.operands[0], sig.operands[1], sig.outputs[0]
    if data is None or weight is None or len(sig.outputs[0].shape) < 3:
        return _plain(sig)
    taps = prod(weight.shape[2:])
    elements = float(out.size)
    extra = {"macs": float(data.size * prod(weight.shape[1:])), "out_elements": elements, "unfolded": float(data.size * taps)}
    return extra, {"taken": _log(weight.shape[0]), "made": _log(out.shape[1]), "taps": _log(taps), "width": _log(out.shape[-1])}


def _taps_on_image(sig: Signature, image: tuple[int, ...], kernel: tuple[int, ...]) -> int:
    """How many places of the kernel ever meet the image; the others, that only meet padding, the blocked kernels skip, and never read."""
    count = 1
    for axis, (size, taps, places) in enumerate(zip(image, kernel, sig.outputs[0].shape[2:], strict=True)):
        stride, dilation, pad = (
            _at(sig.attribute(name), axis, default) for name, default in (("strides", 1), ("dilations", 1), ("pads", 0))
        )
        count *= sum(any(0 <= place * stride - pad + tap * dilation < size for place in range(places)) for tap in range(taps))
    return count


def _matrix(sig: Signature) -> _Special:
    a, b = (sig.operand(slot) for slot in matrix_slots(sig.operator.rpartition(".")[2]))
    if a is None or b is None:
        return _plain(sig)
    out = sig.outputs[0]
    made = out.shape[-1] if out.shape and len(b.shape) > 1 else 1
    transposed = bool(sig.attribute("transA", 0)) and len(a.shape) > 1
    depth = a.shape[-2] if transposed else a.shape[-1]
    batch = prod(b.shape[:-2]) if len(b.shape) > 2 else 1
    rows = max(1, out.size // max(1, made * batch))
    panels = ceil(made / _GEMM_PANEL)
    extra = {
        "macs": float(batch * rows * depth * made),
        "out_elements": float(out.size),
        "panels": float(batch * panels * depth),
        "batch": float(batch),
        "activation": float(out.size) if sig.attribute("activation") in _FUNCTIONS else 0.0,
    }
    place = {
        "rows": _log(rows),
        "made": _log(made),
        "depth": _log(depth),
        "batch": _log(batch),
        "ragged_rows": (rows % 12) / 12,
        "ragged_made": (made % _GEMM_PANEL) / _GEMM_PANEL,
        "activation": 1.0 if sig.attribute("activation") else 0.0,
        "transposed": 1.0 if sig.attribute("transB", 0) else 0.0,
    }
    return extra, place


def _pool(sig: Signature) -> _Special:
    out = sig.outputs[0]
    data = sig.operand(0)
    kernel = sig.attribute("kernel_shape")
    taps = prod(k for k in kernel if isinstance(k, int)) if isinstance(kernel, tuple) else prod(data.shape[2:]) if data is not None else 1
    work = float(out.size * taps)
    stride = _at(sig.attribute("strides"), 0, 1)
    return (
        {"macs": work, "out_elements": float(out.size)},
        {"taps": _log(taps), "stride": _log(stride), "channels": _channels(out), "width": _log(_last_of(out))},
    )


def _last_of(operand: Operand) -> int:
    return operand.shape[-1] if operand.shape else 1


def _channels(operand: Operand) -> float:
    return _log(operand.shape[1]) if len(operand.shape) > 1 else 0.0


def _plain(sig: Signature) -> _Special:
    """Element by element."""
    return {"elements": float(_largest(sig))}, {"last": _log(_last(sig))}


def _broadcast(sig: Signature) -> _Special:
    """Elements, and stretches of them over which no operand starts anew."""
    out = sig.outputs[0] if sig.outputs else None
    if out is None or not out.shape:
        return _plain(sig)
    run = out.size
    for operand in sig.operands:
        if operand is not None and operand.size != out.size:
            run = min(run, _stretch(operand.shape, out.shape))
    return {"elements": float(out.size), "chunks": out.size / max(1, run)}, {"last": _log(run)}


def _stretch(shape: tuple[int, ...], out: tuple[int, ...]) -> int:
    """Elements at the end of `out` along which an operand of `shape` either stays at one element or runs along."""
    padded = (1,) * (len(out) - len(shape)) + shape[max(0, len(shape) - len(out)) :]
    run, same = 1, None
    for mine, whole in zip(reversed(padded), reversed(out), strict=True):
        if whole == 1:
            continue
        if same is not None and (mine == whole) != same:
            break
        same = mine == whole
        run *= whole
    return run


def _copies(sig: Signature) -> _Special:
    """Concat and Split: pieces, and contiguous stretches that are copied."""
    whole = sig.outputs[0] if sig.operator.endswith("Concat") else sig.operand(0)
    pieces = [operand for operand in (sig.operands if sig.operator.endswith("Concat") else sig.outputs) if operand is not None]
    axis = _whole(sig.attribute("axis"), 1)
    shape = whole.shape if whole is not None else ()
    outer = prod(shape[: axis if axis >= 0 else axis + len(shape)])
    return {"pieces": float(len(pieces)), "chunks": float(outer * len(pieces))}, {
        "pieces": _log(len(pieces)),
        "outer": _log(outer),
    }


def _transpose(sig: Signature) -> _Special:
    """Elements, and the contiguous stretches in which they are copied."""
    out, perm = sig.outputs[0], sig.attribute("perm")
    run = 1
    if isinstance(perm, tuple):
        for axis in range(len(perm) - 1, -1, -1):
            if perm[axis] != axis or axis >= len(out.shape):
                break
            run *= out.shape[axis]
    return {"elements": float(out.size), "chunks": out.size / max(1, run)}, {"last": _log(run), "width": _log(_last(sig))}


def _rows(sig: Signature) -> _Special:
    """Normalisations and reductions: elements, and rows of them over which something is summed up."""
    elements = _largest(sig)
    last = max(1, _last(sig))
    return {"elements": float(elements), "rows": elements / last}, {"last": _log(last)}


def _gather(sig: Signature) -> _Special:
    out = sig.outputs[0]
    last = max(1, out.shape[-1]) if out.shape else 1
    # Only what is gathered is read, of a table that may be large.
    return {"elements": float(out.size), "chunks": out.size / last}, {"last": _log(last)}


def _resize(sig: Signature) -> _Special:
    out = sig.outputs[0]
    taps = {"nearest": 1, "linear": 4, "cubic": 16}.get(str(sig.attribute("mode", "nearest")), 4)
    return {"macs": float(out.size * taps), "out_elements": float(out.size)}, {"taps": _log(taps), "channels": _channels(out)}


def _recurrent(sig: Signature) -> _Special:
    data, weights = sig.operand(0), [operand for operand in sig.operands[1:3] if operand is not None]
    if data is None or len(data.shape) < 3:
        return _plain(sig)
    steps, batch = data.shape[0], data.shape[1]
    return {"macs": float(steps * batch * sum(operand.size for operand in weights)), "steps": float(steps)}, {"steps": _log(steps)}


def _attention(sig: Signature) -> _Special:
    query, key = sig.operand(0), sig.operand(1)
    if query is None or key is None or len(key.shape) < 2:
        return _plain(sig)
    keys, elements = key.shape[-2], sig.outputs[0].size
    return {"macs": float((query.size + elements) * keys), "elements": float(elements)}, {"keys": _log(keys)}


def _contraction(sig: Signature) -> _Special:
    """Einsum and transforms: the geometric mean of what is read and made stands for the work, exact for a square product."""
    sizes = [operand.size for operand in (*sig.operands, *sig.outputs) if operand is not None]
    return {"macs": float(prod(max(1, size) for size in sizes)) ** 0.5, "elements": float(max(sizes, default=0))}, {}


def _largest(sig: Signature) -> int:
    return max((operand.size for operand in (*sig.operands, *sig.outputs) if operand is not None), default=0)


def _last(sig: Signature) -> int:
    shapes = [operand.shape for operand in (*sig.operands, *sig.outputs) if operand is not None and operand.shape]
    return shapes[0][-1] if shapes else 1


_BY_FAMILY: dict[str, Callable[[Signature], _Special]] = {
    "attention": _attention,
    "binary.broadcast": _broadcast,
    "concat": _copies,
    "contraction": _contraction,
    "gather": _gather,
    "recurrent": _recurrent,
    "reduce": _rows,
    "resize": _resize,
    "search": _rows,
    "split": _copies,
    "transpose": _transpose,
}
