"""Which kernels to measure so that a model's own variants are predicted well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from math import ceil

from graphopt.cost.families import family, is_free
from graphopt.cost.kernel import Operand, Signature

_GRID = 3  # widths in each direction, in steps of equal ratio
_FINE_GRID = 4  # where weights outweigh the picture, and time bends as they fall out of the cache
_SMALL_PICTURE = 10  # rows or columns
_FEW = 16  # kernels of a family that are measured before further ones of others
_LEAST_SHARE = 0.25  # of a layer's width: variants are seldom cut further
_IMAGE = 4  # channels at most
_AROUND = (0.6, 1.5)  # times the widths of plain convolutions
_FALLBACKS = (0.4, 0.75)  # times the widths of blocked convolutions, in the plain layout


def worth_measuring(sig: Signature, block: int) -> bool:
    """Whether a kernel takes any time, and time that is its own."""
    return not is_free(family(sig, block))


def wanted(networks: Sequence[Counter[Signature]], block: int, base: int = 0) -> list[Signature]:
    """Kernels in the order of their worth: those of the model itself (`networks[base]`), of its variants in turn, of the grids around it.

    The grids come after half of the variants: together they fix the trend, and what the other variants add is more of the same. But a few
    of every family come right after the model's own, wherever they are: a kernel of a kind that was never measured cannot be predicted. Few
    variants have widths that no block divides, and such kernels differ the most: other widths of each come with those variants, and every
    convolution of the model as it would be at such a width.
    """
    order: dict[Signature, None] = dict.fromkeys(networks[base])
    others = [network for place, network in enumerate(networks) if place != base]
    half = ceil(len(others) / 2)
    for network in others[:half]:
        order |= dict.fromkeys(network)
    order |= dict.fromkeys(around_plain(sig for sig in order if sig not in networks[base]))
    order |= dict.fromkeys(fallbacks(networks[base], block))
    order |= dict.fromkeys(grids(networks[base], block))
    for network in others[half:]:
        order |= dict.fromkeys(network)
    worth = [sig for sig in order if worth_measuring(sig, block)]
    first = set(networks[base])
    seen: Counter[str] = Counter()
    for sig in worth:
        kind = family(sig, block)
        if seen[kind] < _FEW and sig not in first:
            first.add(sig)
        seen[kind] += 1
    return sorted(worth, key=lambda sig: (sig not in networks[base], sig not in first))


def grids(kernels: Iterable[Signature], block: int) -> Iterator[Signature]:
    """Widths around those of the model's blocked convolutions, a grid for each geometry, in whole blocks; one-dimensional for depthwise ones."""
    widths: dict[tuple[object, ...], list[Signature]] = {}
    for sig in kernels:
        if sig.operator == "nchwc.Conv":
            widths.setdefault(_geometry(sig, block), []).append(sig)
    for alike in widths.values():
        model = alike[0]
        kind = family(model, block)
        if kind.endswith(".grouped"):
            continue  # channels are cut group by group there, and the widths of groups stay
        ins = [_channels(sig)[0] for sig in alike]
        outs = [_channels(sig)[1] for sig in alike]
        data = model.operands[0]
        count = _FINE_GRID if data is not None and max(data.shape[2:]) <= _SMALL_PICTURE else _GRID
        if kind.endswith(".depthwise"):
            yield from (resized(model, width, width) for width in steps(max(outs), count, block))
            continue
        from_image = kind.endswith(".image")
        for into in sorted(set(ins)) if from_image else steps(max(ins), count, block):
            yield from (resized(model, into, out) for out in steps(max(outs), count, block))


def around_plain(kernels: Iterable[Signature]) -> Iterator[Signature]:
    """Odd widths around those of convolutions in the plain layout, to which a runtime with a blocked one falls back where widths are odd."""
    for sig in kernels:
        if sig.operator in ("Conv", "FusedConv") and sig.attribute("group", 1) in (1, sig.outputs[0].shape[1]):
            widths = _channels(sig)
            for factor in _AROUND:
                into, out = (width if width <= _IMAGE else round(width * factor) | 1 for width in widths)
                yield resized(sig, into, out)


def fallbacks(kernels: Iterable[Signature], block: int) -> Iterator[Signature]:
    """Blocked convolutions at odd widths, where the runtime falls back to the plain layout; but those of an image stay blocked at any."""
    for sig in kernels:
        into, out = _channels(sig) if sig.operator == "nchwc.Conv" else (0, 0)
        if into > _IMAGE and sig.attribute("group", 1) in (1, out):
            fused = sig.attribute("activation") is not None or len(sig.operands) > 3
            for factor in _FALLBACKS:
                narrow = [max(round(width * factor), block) | 1 for width in (into, out)]
                yield replace(resized(sig, *narrow), operator="FusedConv" if fused else "Conv")


def steps(largest: int, count: int, block: int) -> list[int]:
    """At most `count` multiples of `block` from a quarter of `largest` up to it, in steps of about equal ratio."""
    top = ceil(largest / block)
    bottom = max(1, ceil(top * _LEAST_SHARE))
    if count < 2 or top == bottom:
        return [top * block]
    ratio = (top / bottom) ** (1 / (count - 1))
    return sorted({round(bottom * ratio**place) * block for place in range(count)})


def resized(sig: Signature, into: int, out: int) -> Signature:
    """A convolution of other widths and otherwise the same."""
    operands = list(sig.operands)
    data, weight = operands[0], operands[1]
    assert data is not None
    assert weight is not None
    depthwise = sig.attribute("group", 1) != 1
    operands[0] = _with_channels(data, into)
    operands[1] = replace(weight, shape=(out, 1 if depthwise else into, *weight.shape[2:]))
    if len(operands) > 2 and (bias := operands[2]) is not None:
        operands[2] = replace(bias, shape=(out,))
    if len(operands) > 3 and (added := operands[3]) is not None:
        operands[3] = _with_channels(added, out)
    attributes = tuple((name, out if name == "group" else value) for name, value in sig.attributes)
    return Signature(sig.operator, tuple(operands), (_with_channels(sig.outputs[0], out),), attributes)


def _with_channels(operand: Operand, channels: int) -> Operand:
    return replace(operand, shape=(operand.shape[0], channels, *operand.shape[2:]))


def _channels(sig: Signature) -> tuple[int, int]:
    data = sig.operands[0]
    assert data is not None
    return data.shape[1], sig.outputs[0].shape[1]


def _geometry(sig: Signature, block: int) -> tuple[object, ...]:
    """All that a convolution's time depends on but its widths."""
    data = sig.operands[0]
    assert data is not None
    attributes = tuple((name, value) for name, value in sig.attributes if name != "group")
    present = tuple(operand is not None for operand in sig.operands)
    return family(sig, block), (data.shape[0], *data.shape[2:]), sig.outputs[0].shape[2:], attributes, present
