"""The blocks that random models are grown of, for images, tokens and vectors."""

from __future__ import annotations

import numpy as np

from tests.channels.random_models import RandomModel, Tensor

_SAME = ("Relu", "Sigmoid", "Tanh", "HardSwish", "LeakyRelu", "Softplus", "Exp", "Neg", "Elu", "Identity", "Abs")


# ---- of any kind


def activation(model: RandomModel, x: Tensor) -> Tensor:
    op_type = model.choose(_SAME)
    inner = model.node("Clip", x.name, "", model.tensor(np.float32(2))) if op_type == "Exp" else x.name
    return model.grown(model.node(op_type, inner), *x.shape)


def join(model: RandomModel, x: Tensor) -> Tensor | None:
    """Two values of the same shape meet."""
    others = model.others(x)
    if not others:
        return None
    other = model.choose(others[::-1])
    return model.grown(model.node(model.choose(["Add", "Add", "Mul", "Sub", "Max"]), x.name, other.name), *x.shape)


def scale(model: RandomModel, x: Tensor) -> Tensor:
    """Times or plus a weight per channel, or a scalar."""
    shape = model.choose([(x.channels, 1, 1) if x.kind == "image" else (x.channels,), (1,)])
    return model.grown(model.node(model.choose(["Mul", "Add", "PRelu"]), x.name, model.parameter(*shape)), *x.shape)


def stack(model: RandomModel, x: Tensor) -> Tensor | None:
    """Values one after the other along channels, the value itself perhaps twice."""
    axis = 1 if x.kind == "image" else -1
    parts = [x, model.choose([*model.others(x, axis)[::-1], x])]
    if model.choose([False, True]):
        parts.append(x)
    total = sum(part.channels for part in parts)
    if total > 40:
        return None
    name = model.node("Concat", *(part.name for part in parts), axis=axis)
    return model.grown(name, *_with_channels(x, total))


def part(model: RandomModel, x: Tensor) -> Tensor | None:
    """A run or a pick of the channels."""
    axis = 1 if x.kind == "image" else len(x.shape) - 1
    if x.channels < 4:
        return None
    way = model.choose(["split", "slice", "gather"])
    if way == "split":
        sizes = [x.channels // 2, x.channels - x.channels // 2]
        one, other = model.node("Split", x.name, model.ints(*sizes), outputs=2, axis=axis)
        model.grown(one, *_with_channels(x, sizes[0]))
        return model.grown(other, *_with_channels(x, sizes[1]))
    if way == "slice":
        start, end = model.choose([(0, x.channels // 2), (1, x.channels - 1), (-3, 2**31)])
        size = len(range(x.channels)[start:end])
        return model.grown(model.node("Slice", x.name, model.ints(start), model.ints(end), model.ints(axis)), *_with_channels(x, size))
    picked = model.choose([[0, 2], [3, 1, 2], [-1, 0, 0]])
    return model.grown(model.node("Gather", x.name, model.ints(*picked), axis=axis), *_with_channels(x, len(picked)))


def softmax(model: RandomModel, x: Tensor) -> Tensor:
    return model.grown(model.node("Softmax", x.name, axis=model.choose([-1, 1])), *x.shape)


def _with_channels(x: Tensor, channels: int) -> tuple[int, ...]:
    return (x.shape[0], channels, *x.shape[2:]) if x.kind == "image" else (*x.shape[:-1], channels)


# ---- images


def convolution(model: RandomModel, x: Tensor) -> Tensor:
    """Dense, depthwise, or grouped with any number of groups."""
    groups = model.choose([1, 1, *[g for g in (2, 3, 4, 6, 8, x.channels) if x.channels % g == 0]])
    channels = model.choose(
        [size for size in (4, 6, 8, 12, 16, x.channels, 2 * x.channels) if size % groups == 0 and size <= 32] or [x.channels]
    )
    kernel = model.choose([1, 3])
    transposed = model.choose([False, False, False, True])
    shape = (x.channels, channels // groups) if transposed else (channels, x.channels // groups)
    bias = [model.parameter(channels)] if model.choose([True, False]) else []
    weight = model.parameter(*shape, kernel, kernel)
    pads = [kernel // 2] * 4
    name = model.node("ConvTranspose" if transposed else "Conv", x.name, weight, *bias, group=groups, pads=pads)
    return model.grown(name, x.shape[0], channels, *x.shape[2:])


def batch_norm(model: RandomModel, x: Tensor) -> Tensor:
    vectors = [
        model.parameter(x.channels),
        model.parameter(x.channels),
        model.parameter(x.channels),
        model.parameter(x.channels, positive=True),
    ]
    return model.grown(model.node("BatchNormalization", x.name, *vectors), *x.shape)


def bottleneck(model: RandomModel, x: Tensor) -> Tensor:
    """A residual block: convolution, normalization, activation, convolution back, plus its input."""
    inner = activation(model, batch_norm(model, convolution(model, x)))
    back = model.node("Conv", inner.name, model.parameter(x.channels, inner.channels, 1, 1))
    return model.grown(model.node("Add", back, x.name), *x.shape)


def squeeze_and_excite(model: RandomModel, x: Tensor) -> Tensor:
    inner = model.choose([4, 2])
    pooled = model.choose(
        [lambda: model.node("GlobalAveragePool", x.name), lambda: model.node("ReduceMean", x.name, axes=[2, 3], keepdims=1)]
    )()
    small = model.node("Relu", model.node("Conv", pooled, model.parameter(inner, x.channels, 1, 1)))
    gate = model.node("Sigmoid", model.node("Conv", small, model.parameter(x.channels, inner, 1, 1), model.parameter(x.channels)))
    return model.grown(model.node("Mul", x.name, gate), *x.shape)


def shuffle(model: RandomModel, x: Tensor) -> Tensor | None:
    """Channels as (groups, rest), swapped, and one axis again."""
    groups = model.choose([g for g in (2, 3, 4) if x.channels % g == 0] or [1])
    rest, (height, width) = x.channels // groups, x.shape[2:]
    split = model.reshape(x, groups, rest, height, width, batch=x)
    turned = model.node("Transpose", split, perm=[0, 2, 1, 3, 4])
    return model.grown(model.reshape(turned, x.channels, height, width, batch=x), *x.shape)


def group_norm(model: RandomModel, x: Tensor) -> Tensor:
    """As exporters write it before opset 18: an InstanceNormalization of groups, then scale and bias."""
    groups = model.choose([g for g in (1, 2, 3, 4) if x.channels % g == 0])
    ones = (model.tensor(np.ones(groups, np.float32)), model.tensor(np.zeros(groups, np.float32)))
    normal = model.node("InstanceNormalization", model.node("Reshape", x.name, model.ints(0, groups, -1)), *ones)
    back = model.node("Reshape", normal, model.node("Shape", x.name))
    scaled = model.node("Mul", back, model.parameter(x.channels, 1, 1))
    return model.grown(model.node("Add", scaled, model.parameter(x.channels, 1, 1)), *x.shape)


def resample(model: RandomModel, x: Tensor) -> Tensor | None:
    height, width = x.shape[2:]
    way = model.choose(["pool", "pad", "resize", "depth"])
    if way == "pool" and min(height, width) >= 2:
        op_type = model.choose(["MaxPool", "AveragePool"])
        name = model.node(op_type, x.name, kernel_shape=[2, 2], strides=[2, 2])
        return model.grown(name, *x.shape[:2], height // 2, width // 2)
    if way == "pad":
        return model.grown(model.node("Pad", x.name, model.ints(0, 0, 1, 0, 0, 0, 0, 1)), *x.shape[:2], height + 1, width + 1)
    if way == "resize" and max(height, width) <= 4:
        scales = model.tensor(np.array([1, 1, 2, 1], np.float32))
        return model.grown(model.node("Resize", x.name, "", scales), *x.shape[:2], 2 * height, width)
    if way == "depth" and x.channels % 4 == 0 and max(height, width) <= 4:
        mode = model.choose(["DCR", "CRD"])
        name = model.node("DepthToSpace", x.name, blocksize=2, mode=mode)
        return model.grown(name, x.shape[0], x.channels // 4, 2 * height, 2 * width)
    return None


def channels_last(model: RandomModel, x: Tensor) -> Tensor:
    """An island with channels last: a matrix product over them."""
    channels = model.choose([x.channels, 6])
    turned = model.node("Transpose", x.name, perm=[0, 2, 3, 1])
    made = model.node("Add", model.node("MatMul", turned, model.parameter(x.channels, channels)), model.parameter(channels))
    return model.grown(model.node("Transpose", made, perm=[0, 3, 1, 2]), x.shape[0], channels, *x.shape[2:])


def to_tokens(model: RandomModel, x: Tensor) -> Tensor:
    count = x.shape[2] * x.shape[3]
    flat = model.reshape(x, x.channels, count, batch=x)
    return model.grown(model.node("Transpose", flat, perm=[0, 2, 1]), x.shape[0], count, x.channels)


def to_vector(model: RandomModel, x: Tensor) -> Tensor | None:
    if model.choose([True, False]):
        return model.grown(model.node("Flatten", model.node("GlobalMaxPool", x.name)), x.shape[0], x.channels)
    size = x.channels * x.shape[2] * x.shape[3]
    return model.grown(model.node("Flatten", x.name), x.shape[0], size) if size <= 256 else None


# ---- tokens


def linear(model: RandomModel, x: Tensor) -> Tensor:
    channels = model.choose([x.channels, 6, 8, 12])
    if x.kind == "vector" and model.choose([True, False]):
        transposed = model.choose([0, 1])
        shape = (channels, x.channels) if transposed else (x.channels, channels)
        name = model.node("Gemm", x.name, model.parameter(*shape), model.parameter(channels), transB=transposed)
    else:
        name = model.node("MatMul", x.name, model.parameter(x.channels, channels))
        if model.choose([True, False]):
            name = model.node("Add", model.parameter(channels), name)
    return model.grown(name, *x.shape[:-1], channels)


def layer_norm(model: RandomModel, x: Tensor) -> Tensor:
    """Whole, or decomposed."""
    scale_, bias = model.parameter(x.channels), model.parameter(x.channels)
    if model.choose([True, False]):
        return model.grown(model.node("LayerNormalization", x.name, scale_, bias), *x.shape)
    centred = model.node("Sub", x.name, model.node("ReduceMean", x.name, axes=[-1]))
    square = model.node("Pow", centred, model.tensor(np.float32(2)))
    spread = model.node("Sqrt", model.node("Add", model.node("ReduceMean", square, axes=[-1]), model.tensor(np.float32(1e-2))))
    scaled = model.node("Mul", model.node("Div", centred, spread), scale_)
    return model.grown(model.node("Add", scaled, bias), *x.shape)


def attention(model: RandomModel, x: Tensor) -> Tensor:
    """Heads by Reshape and Transpose; queries, keys and values separate or packed; keys perhaps shared by several query heads."""
    heads, dims = model.choose([(2, 4), (3, 2), (4, 2)])
    count, width = x.shape[1], heads * dims
    shared = model.choose([1, heads // 2 if heads % 2 == 0 else 1])  # query heads per key head
    key_heads = heads // shared
    if shared == 1 and model.choose([False, True]):
        packed = model.node("Add", model.node("MatMul", x.name, model.parameter(x.channels, 3 * width)), model.parameter(3 * width))
        if model.choose([True, False]):
            parts = model.node("Split", packed, model.ints(width, width, width), outputs=3, axis=2)
            q, k, v = (_heads(model, part, count, heads, dims, x) for part in parts)
        else:
            five = model.node("Transpose", model.reshape(packed, count, 3, heads, dims, batch=x), perm=[2, 0, 3, 1, 4])
            q, k, v = (model.node("Gather", five, model.tensor(np.int64(i)), axis=0) for i in range(3))
    else:
        q = _heads(model, model.node("MatMul", x.name, model.parameter(x.channels, width)), count, heads, dims, x)
        k, v = (
            _heads(model, model.node("MatMul", x.name, model.parameter(x.channels, key_heads * dims)), count, key_heads, dims, x)
            for _ in "kv"
        )
    if model.choose([False, True]) and dims % 2 == 0:
        q, k = _rotated(model, q, count, dims), _rotated(model, k, count, dims)
    if shared > 1:
        k, v = (_repeated(model, part, count, key_heads, shared, dims, x) for part in (k, v))
    scores = model.node("Mul", model.node("MatMul", q, model.node("Transpose", k, perm=[0, 1, 3, 2])), model.tensor(np.float32(dims**-0.5)))
    mixed = model.node("MatMul", model.node("Softmax", scores, axis=-1), v)
    merged = model.reshape(model.node("Transpose", mixed, perm=[0, 2, 1, 3]), count, width, batch=x)
    made = model.node("MatMul", merged, model.parameter(width, x.channels))
    return model.grown(model.node("Add", made, x.name), *x.shape)


def _heads(model: RandomModel, part: str, count: int, heads: int, dims: int, x: Tensor) -> str:
    return model.node("Transpose", model.reshape(part, count, heads, dims, batch=x), perm=[0, 2, 1, 3])


def _repeated(model: RandomModel, part: str, count: int, heads: int, times: int, dims: int, x: Tensor) -> str:
    """Each head several times in a row, by Unsqueeze, Expand and Reshape."""
    wide = model.node("Expand", model.node("Unsqueeze", part, model.ints(2)), model.ints(1, 1, times, 1, 1))
    return model.reshape(wide, heads * times, count, dims, batch=x)


def _rotated(model: RandomModel, part: str, count: int, dims: int) -> str:
    """x * cos + (-x2, x1) * sin, with halves x1 and x2."""
    half = dims // 2
    first = model.node("Slice", part, model.ints(0), model.ints(half), model.ints(3))
    second = model.node("Slice", part, model.ints(half), model.ints(2**31), model.ints(-1))
    turned = model.node("Concat", model.node("Neg", second), first, axis=3)
    angles = np.outer(np.arange(count), [1.0, 0.5, 0.25][:half])
    cos, sin = (model.tensor(np.tile(f(angles), 2).astype(np.float32)) for f in (np.cos, np.sin))
    return model.node("Add", model.node("Mul", part, cos), model.node("Mul", turned, sin))


def windows(model: RandomModel, x: Tensor) -> Tensor | None:
    """Tokens in windows, changed there, and put together again."""
    count = x.shape[1]
    if count % 2:
        return None
    split = model.reshape(x, count // 2, 2, x.channels, batch=x)
    inner = model.node("Add", model.node("MatMul", split, model.parameter(x.channels, x.channels)), model.parameter(x.channels))
    return model.grown(model.reshape(inner, count, x.channels, batch=x), *x.shape)


def recurrent(model: RandomModel, x: Tensor) -> Tensor:
    """A recurrent layer over the tokens, one way or both ways, its hidden units merged into channels."""
    op_type, gates = model.choose([("LSTM", 4), ("GRU", 3), ("RNN", 1)])
    directions, hidden = model.choose([1, 2]), model.choose([4, 3])
    weights = [
        model.parameter(directions, gates * hidden, x.channels, plain=True),
        model.parameter(directions, gates * hidden, hidden, plain=True),
    ]
    bias = [model.parameter(directions, 2 * gates * hidden, plain=True)] if model.choose([True, False]) else []
    turned = model.node("Transpose", x.name, perm=[1, 0, 2])
    direction = ["forward", "bidirectional"][directions - 1]
    made = model.node(op_type, turned, *weights, *bias, hidden_size=hidden, direction=direction, outputs=[model.name("v"), ""])[0]
    back = model.node("Transpose", made, perm=[2, 0, 1, 3])  # (T, D, N, H) to (N, T, D, H)
    return model.grown(model.reshape(back, x.shape[1], directions * hidden, batch=x), *x.shape[:2], directions * hidden)


def tokens_to_vector(model: RandomModel, x: Tensor) -> Tensor:
    if model.choose([True, False]):
        return model.grown(model.node("ReduceMean", x.name, axes=[1], keepdims=0), x.shape[0], x.channels)
    return model.grown(model.node("Gather", x.name, model.tensor(np.int64(0)), axis=1), x.shape[0], x.channels)


def tokens_to_image(model: RandomModel, x: Tensor) -> Tensor | None:
    if x.shape[1] % 2:
        return None
    turned = model.node("Transpose", x.name, perm=[0, 2, 1])
    return model.grown(model.reshape(turned, x.channels, 2, x.shape[1] // 2, batch=x), x.shape[0], x.channels, 2, x.shape[1] // 2)


# ---- vectors


def vector_to_image(model: RandomModel, x: Tensor) -> Tensor | None:
    if x.channels % 4:
        return None
    return model.grown(model.reshape(x, x.channels // 4, 2, 2, batch=x), x.shape[0], x.channels // 4, 2, 2)


def outer_product(model: RandomModel, x: Tensor) -> Tensor | None:
    """All products of two vectors' entries, as one vector."""
    other = linear(model, x)
    if x.channels * other.channels > 64:
        return None
    grid = model.node("Mul", model.node("Unsqueeze", x.name, model.ints(2)), model.node("Unsqueeze", other.name, model.ints(1)))
    return model.grown(model.reshape(grid, x.channels * other.channels, batch=x), x.shape[0], x.channels * other.channels)


def grouped(model: RandomModel, x: Tensor) -> Tensor | None:
    """Channels as (groups, rest), one of them summed over."""
    groups = model.choose([g for g in (2, 3, 4) if x.channels % g == 0 and x.channels > g] or [0])
    if not groups:
        return None
    split = model.reshape(x, groups, x.channels // groups, batch=x)
    axis = model.choose([1, 2])
    summed = model.node("ReduceSum", split, model.ints(axis), keepdims=0)
    return model.grown(summed, x.shape[0], x.channels // groups if axis == 1 else groups)


_ANY = (activation, join, scale, stack, part)
BLOCKS = {
    "image": (
        *(convolution, convolution, batch_norm, bottleneck, *_ANY, squeeze_and_excite, shuffle, group_norm, resample, channels_last),
        *(to_tokens, to_vector),
    ),
    "tokens": (linear, layer_norm, attention, attention, *_ANY, softmax, windows, recurrent, tokens_to_vector, tokens_to_image),
    "vector": (linear, linear, *_ANY, softmax, vector_to_image, outer_product, grouped),
}
