"""Fused attention of ONNX and of ONNX Runtime (com.microsoft): units are heads and head dimensions."""

from __future__ import annotations

import math

import numpy as np

from graphopt.channels.labels import Label
from graphopt.channels.operator import CannotFollow, Operator, channel_rule


def _known(size: int | str | None) -> int:
    if not isinstance(size, int):
        raise CannotFollow("its hidden size is unknown")
    return size


def _heads(op: Operator, label: Label, size: int, heads: int) -> tuple[Label, Label]:
    """An axis of heads * dimensions as the two."""
    head, dim = op.reshape([label], (size,), (heads, size // heads))
    op.call(head, "heads")
    op.call(dim, "head dimensions")
    return head, dim


def _merged(op: Operator, head: Label, dim: Label, heads: int, dims: int) -> Label:
    return op.reshape([head, dim], (heads, dims), (heads * dims,))[0]


def _share_key_heads(op: Operator, query: Label, key: Label, heads: int, key_heads: int) -> Label:
    """Query heads in runs that share a key head; a key head takes its query heads along."""
    if key_heads == heads:
        return op.equate(query, key)
    if key is None:
        op.freeze(query, "its key head stays")
        return None
    return op.equate(query, op.take(key, np.repeat(np.arange(key_heads), heads // key_heads)))


def _hold_scale(op: Operator, dims: int, dim: Label) -> None:
    if dim is not None and not op.attribute("scale", 0.0):
        op.follow("scale", lambda left: 1 / math.sqrt(dims))


def _freeze_slots(op: Operator, slots: range, why: str) -> None:
    for slot in slots:
        if op.has(slot):
            op.freeze_all(op.input(slot), why)


@channel_rule("", "Attention")
def attention(op: Operator) -> None:
    """Heads and head dimensions of queries, keys and values; `q_num_heads` and `kv_num_heads` follow."""
    q, k, v = op.input(0), op.input(1), op.input(2)
    if len(q) == 4:
        heads, key_heads, dims = _known(op.shape(0)[1]), _known(op.shape(1)[1]), _known(op.shape(0)[3])
        q_head, q_dim, k_head, k_dim, v_head, v_dim = q[1], q[3], k[1], k[3], v[1], v[3]
        op.freeze_all([q[0], q[2], k[0], k[2], v[0], v[2]], "batch or sequence axis of attention")
    else:
        heads, key_heads = op.attribute("q_num_heads"), op.attribute("kv_num_heads")
        dims = _known(op.shape(0)[2]) // heads
        q_head, q_dim = _heads(op, q[2], _known(op.shape(0)[2]), heads)
        k_head, k_dim = _heads(op, k[2], _known(op.shape(1)[2]), key_heads)
        v_head, v_dim = _heads(op, v[2], _known(op.shape(2)[2]), key_heads)
        op.freeze_all([*q[:2], *k[:2], *v[:2]], "batch or sequence axis of attention")
    op.contract(q_dim, k_dim, op.is_zero(0) or op.is_zero(1))
    k_head = op.equate(k_head, v_head)
    if op.has(3):
        mask, shape = op.input(3), op.shape(3)
        op.freeze_all([label for axis, label in enumerate(mask) if axis != len(mask) - 3], "mask of attention")
        if len(mask) >= 3 and shape[-3] != 1:
            q_head = op.equate(q_head, mask[-3])
    for slot, dim in ((4, k_dim), (5, v_dim)):
        if op.has(slot):
            past = op.input(slot)
            op.freeze_all([past[0], past[2]], "batch or sequence axis of attention")
            k_head = op.equate(k_head, past[1])
            op.equate(dim, past[3])
    _freeze_slots(op, range(6, op.input_count), "lengths of attention")
    q_head = _share_key_heads(op, q_head, k_head, heads, key_heads)
    _hold_scale(op, dims, q_dim)
    if len(q) == 4:
        op.output([None, q_head, None, v_dim], zero=op.is_zero(2))
    else:
        op.follow_attribute("q_num_heads", q_head)
        op.follow_attribute("kv_num_heads", k_head)
        op.output([None, None, _merged(op, q_head, v_dim, heads, _known(op.shape(2)[2]) // key_heads)], zero=op.is_zero(2))
    op.output([None, k_head, None, k_dim], slot=1)
    op.output([None, k_head, None, v_dim], slot=2)
    op.output([None, q_head, None, None], slot=3)


@channel_rule("com.microsoft", "MultiHeadAttention")
def multi_head_attention(op: Operator) -> None:
    """Heads and head dimensions of separate queries, keys and values; `num_heads` follows."""
    if not (op.has(1) and op.has(2)) or len(op.shape(1)) != 3 or any(op.has(slot) for slot in range(6, op.input_count)):
        raise CannotFollow("has packed inputs or past keys")
    q, k, v, heads = op.input(0), op.input(1), op.input(2), op.attribute("num_heads")
    widths = [_known(op.shape(slot)[2]) for slot in range(3)]
    op.freeze_all([*q[:2], *k[:2], *v[:2]], "batch or sequence axis of attention")
    parts = [_heads(op, x[2], width, heads) for x, width in zip((q, k, v), widths, strict=True)]
    if op.has(3):
        bounds = np.cumsum([0, *widths])
        for place, (part, width) in enumerate(zip(list(parts), widths, strict=True)):
            bias = _heads(op, op.take(op.input(3)[0], np.arange(bounds[place], bounds[place + 1])), width, heads)
            parts[place] = (op.equate(part[0], bias[0]), op.equate(part[1], bias[1]))
    _freeze_slots(op, range(4, 6), "mask of attention")
    (q_head, q_dim), (k_head, k_dim), (v_head, v_dim) = parts
    op.contract(q_dim, k_dim, op.is_zero(3) and (op.is_zero(0) or op.is_zero(1)))
    head = op.equate(op.equate(q_head, k_head), v_head)
    if op.has(5) and op.shape(5)[1] != 1:
        op.freeze(head, "mask of attention")
    op.follow_attribute("num_heads", head)
    _hold_scale(op, widths[0] // heads, q_dim)
    op.output([None, None, _merged(op, head, v_dim, heads, widths[2] // heads)], zero=op.is_zero(2) and op.is_zero(3))


@channel_rule("com.microsoft", "GroupQueryAttention")
def group_query_attention(op: Operator) -> None:
    """Heads; `num_heads` and `kv_num_heads` follow. Head dimensions stay."""
    if not (op.has(1) and op.has(2)):
        raise CannotFollow("has packed inputs")
    heads, key_heads = op.attribute("num_heads"), op.attribute("kv_num_heads")
    q, k, v = op.input(0), op.input(1), op.input(2)
    widths = [_known(op.shape(slot)[2]) for slot in range(3)]
    op.freeze_all([*q[:2], *k[:2], *v[:2]], "batch or sequence axis of attention")
    q_head, q_dim = _heads(op, q[2], widths[0], heads)
    k_head, k_dim = _heads(op, k[2], widths[1], key_heads)
    v_head, v_dim = _heads(op, v[2], widths[2], key_heads)
    # The kernel wants one head size for all three.
    dim = op.equate(op.equate(q_dim, k_dim), v_dim)
    k_head = op.equate(k_head, v_head)
    for slot in (3, 4):
        if op.has(slot):
            past = op.input(slot)
            op.freeze_all([past[0], past[2]], "batch or sequence axis of attention")
            k_head, dim = op.equate(k_head, past[1]), op.equate(dim, past[3])
    _freeze_slots(op, range(5, op.input_count), "lengths or rotations of attention")
    op.freeze(dim, "the kernel wants head sizes that are multiples of 8")
    q_head = _share_key_heads(op, q_head, k_head, heads, key_heads)
    op.follow_attribute("num_heads", q_head)
    op.follow_attribute("kv_num_heads", k_head)
    op.output([None, None, _merged(op, q_head, dim, heads, widths[0] // heads)], zero=op.is_zero(2))
    op.output([None, k_head, None, dim], slot=1)
    op.output([None, k_head, None, dim], slot=2)


@channel_rule("com.microsoft", "Attention")
def packed_attention(op: Operator) -> None:
    """The weight's columns are queries, keys and values, each of heads * dimensions; `num_heads` and `qkv_hidden_sizes` follow."""
    heads, width = op.attribute("num_heads"), _known(op.shape(1)[1])
    if any(op.has(slot) for slot in (4, 6)) or op.attribute("do_rotary", 0):
        raise CannotFollow("has past keys or rotary embedding")
    sizes = list(op.attribute("qkv_hidden_sizes", [width // 3] * 3))
    x, weight = op.input(0), op.input(1)
    op.freeze_all(x[:2], "batch or sequence axis of attention")
    op.contract(x[2], weight[0], op.is_zero(0) or op.is_zero(1))
    columns = op.equate(weight[1], op.input(2)[0]) if op.has(2) else weight[1]
    _freeze_slots(op, range(3, op.input_count), "mask of attention")
    bounds = np.cumsum([0, *sizes])
    runs = [op.take(columns, np.arange(bounds[i], bounds[i + 1])) for i in range(3)]
    (q_head, q_dim), (k_head, k_dim), (v_head, v_dim) = (_heads(op, run, size, heads) for run, size in zip(runs, sizes, strict=True))
    zero = op.is_zero(1) and op.is_zero(2)
    op.contract(q_dim, k_dim, zero)
    head = op.equate(op.equate(q_head, k_head), v_head)
    if "qkv_hidden_sizes" in op.node.attributes:
        op.follow_sizes("qkv_hidden_sizes", [run if run is not None else size for run, size in zip(runs, sizes, strict=True)])
    else:
        v_dim = op.equate(v_dim, q_dim)  # without the attribute all three have one size
    if op.has(5):
        op.freeze(head, "mask of attention")
    op.follow_attribute("num_heads", head)
    _hold_scale(op, sizes[0] // heads, q_dim)
    op.output([None, None, _merged(op, head, v_dim, heads, sizes[2] // heads)], zero=zero)


@channel_rule("", "RotaryEmbedding")
@channel_rule("com.microsoft", "RotaryEmbedding")
def rotary_embedding(op: Operator) -> None:
    """Head dimensions go in the pairs that are rotated together, with their column of the caches; `num_heads` follows."""
    labels, shape = op.input(0), op.shape(0)
    theirs = op.node.domain == "com.microsoft"
    cos, sin = (2, 3) if theirs else (1, 2)
    position = 1 if theirs else 3
    pairs = _known(op.shape(cos)[-1])
    heads = _known(shape[1]) if len(shape) == 4 else op.attribute("num_heads", 0) or _known(shape[2]) // (2 * pairs)
    head, dim = (labels[1], labels[3]) if len(shape) == 4 else _heads(op, labels[2], _known(shape[2]), heads)
    op.freeze_all([labels[0], labels[2] if len(shape) == 4 else labels[1]], "batch or sequence axis")
    op.freeze_all([*op.input(cos)[:-1], *op.input(sin)[:-1]], "positions")
    if op.has(position):
        op.freeze_all(op.input(position), "positions")
    dims = (_known(shape[3]) if len(shape) == 4 else _known(shape[2])) // (1 if len(shape) == 4 else heads)
    if dims != 2 * pairs or op.attribute("rotary_embedding_dim", 0) not in (0, dims):
        op.freeze_all([dim, op.input(cos)[-1], op.input(sin)[-1]], "rotated in part")
        dim = None
    else:
        form = (pairs, 2) if op.attribute("interleaved", 0) else (2, pairs)
        parts = op.reshape([dim], (dims,), form)
        pair, side = parts if op.attribute("interleaved", 0) else parts[::-1]
        op.freeze(side, "the two sides of a rotation")
        pair = op.equate(op.equate(pair, op.input(cos)[-1]), op.input(sin)[-1])
        dim = op.reshape([pair, None] if op.attribute("interleaved", 0) else [None, pair], form, (dims,))[0]
    if len(shape) == 4:
        op.output([None, head, None, dim], zero=op.is_zero(0))
        return
    if op.attribute("num_heads", 0):
        op.follow_attribute("num_heads", head)
    op.output([None, None, _merged(op, head, dim, heads, dims)], zero=op.is_zero(0))
