"""Random networks of the families that people run: where a generic profile takes its kernels from, and its whole networks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from graphopt.cost.profile.layers import Network, Wire

_STEPS = (16, 16, 16, 8, 8, 4)  # widths are multiples of one of these: mostly of whole blocks, as in networks that people design
_SCALES = (0.75, 1.0, 1.0, 1.5, 2.5)  # of a network's widths
_DEPTHS = (2, 3, 3, 5)
_SMALL_PICTURE = 10


class _Dice:
    """Random choices as architects make them."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self.step = int(rng.choice(_STEPS))
        self._scale, self._depth = float(rng.choice(_SCALES)), int(rng.choice(_DEPTHS))

    def one(self, *choices: int) -> int:
        return int(self._rng.choice(choices))

    def word(self, *choices: str) -> str:
        return str(self._rng.choice(choices))

    def between(self, low: int, high: int) -> int:
        """Both ends included."""
        return int(self._rng.integers(low, high + 1))

    @staticmethod
    def stride(x: Wire) -> int:
        """That of a stage's first block: pictures of a few pixels are not halved any further."""
        return 2 if min(x.shape[2:]) >= _SMALL_PICTURE else 1

    def chance(self, share: float) -> bool:
        return bool(self._rng.random() < share)

    def blocks(self) -> int:
        """How many blocks a stage has."""
        return self.between(1, self._depth)

    def base(self, width: float, step: int | None = None) -> int:
        """A width that decides over those of the whole network."""
        return self.near(width * self._scale, step)

    def near(self, width: float, step: int | None = None) -> int:
        """A width up to a third smaller or larger, in the network's steps."""
        step = step or self.step
        return max(step, round(width * float(np.exp(self._rng.uniform(-0.3, 0.3))) / step) * step)


def _image(net: Network, dice: _Dice) -> Wire:
    size = dice.one(96, 112, 128, 160, 192, 224)
    return net.input(1, 3, size, size)


def _resnet(net: Network, dice: _Dice) -> Wire:
    x = net.pool(net.conv(_image(net, dice), dice.near(48), 7, 2, act="relu"))
    bottleneck = dice.chance(0.5)
    width = dice.base(48)
    for stage in range(dice.between(3, 4)):
        out = dice.near(width * 2**stage) * (dice.one(2, 4) if bottleneck else 1)
        for block in range(dice.blocks()):
            stride = dice.stride(x) if stage and not block else 1
            inner = dice.near(width * 2**stage)
            if bottleneck:
                y = net.conv(net.conv(net.conv(x, inner, act="relu"), inner, 3, stride, act="relu"), out)
            else:
                y = net.conv(net.conv(x, inner, 3, stride, act="relu"), out, 3)
            x = net.act(net.add(y, x if x.shape == y.shape else net.conv(x, out, 1, stride)), "relu")
    return x


def _mobilenet_v1(net: Network, dice: _Dice) -> Wire:
    act = dice.word("relu", "relu6")
    x = net.conv(_image(net, dice), dice.near(32), 3, 2, act=act)
    for stage in range(dice.between(3, 5)):
        for block in range(dice.blocks()):
            y = net.conv(x, x.channels, dice.one(3, 3, 5), dice.stride(x) if not block else 1, x.channels, act)
            x = net.conv(y, dice.base(48 * 1.8**stage), act=act)
    return x


def _inverted(net: Network, dice: _Dice, acts: tuple[str, ...], share_excited: float, gate: str) -> Wire:
    """Inverted bottlenecks: wide inside, depthwise, weighed channel by channel, narrow outside."""
    act = dice.word(*acts)
    x = net.conv(_image(net, dice), dice.near(24), 3, 2, act=act)
    for stage in range(dice.between(3, 5)):
        out, kernel, excited = dice.base(20 * 1.6**stage), dice.one(3, 3, 5), dice.chance(share_excited)
        expansion = dice.one(3, 4, 6)
        for block in range(dice.blocks()):
            wide = dice.near(x.channels * expansion)
            y = net.conv(net.conv(x, wide, act=act), wide, kernel, dice.stride(x) if stage and not block else 1, wide, act)
            if excited:
                y = net.squeeze_excite(y, dice.near(max(x.channels / 4, 8), 8), "relu" if gate == "hardsigmoid" else act, gate)
            y = net.conv(y, out)
            x = net.add(y, x) if x.shape == y.shape else y
    return net.conv(x, dice.near(x.channels * 4), act=act)


def _mobilenet_v2(net: Network, dice: _Dice) -> Wire:
    return _inverted(net, dice, ("relu6", "relu"), 0.0, "")


def _mobilenet_v3(net: Network, dice: _Dice) -> Wire:
    return _inverted(net, dice, ("hardswish", "hardswish", "relu"), 0.6, "hardsigmoid")


def _efficientnet(net: Network, dice: _Dice) -> Wire:
    return _inverted(net, dice, ("silu",), 0.9, "sigmoid")


def _densenet(net: Network, dice: _Dice) -> Wire:
    x = net.pool(net.conv(_image(net, dice), dice.near(48), 7, 2, act="relu"))
    growth = dice.base(28, dice.one(8, 16))
    for stage in range(dice.between(2, 4)):
        for _ in range(dice.between(2, 5)):
            y = net.conv(net.norm(x, "relu"), growth * dice.one(2, 4), act="relu")
            x = net.concat(x, net.conv(y, growth, 3))
        if stage < 3:
            x = net.pool(net.conv(net.norm(x, "relu"), dice.near(x.channels / 2)), "AveragePool", 2, 2)
    return net.norm(x, "relu")


def _shufflenet(net: Network, dice: _Dice) -> Wire:
    x = net.pool(net.conv(_image(net, dice), 24, 3, 2, act="relu"))
    width = dice.base(56)
    for stage in range(3):
        half = dice.near(width * 2**stage) // 2 // 4 * 4
        left = net.conv(net.conv(x, x.channels, 3, 2, x.channels), half, act="relu")
        right = net.conv(net.conv(net.conv(x, half, act="relu"), half, 3, 2, half), half, act="relu")
        x = net.shuffle(net.concat(left, right))
        for _ in range(dice.blocks()):
            kept, y = net.halves(x)
            y = net.conv(net.conv(net.conv(y, half, act="relu"), half, 3, 1, half), half, act="relu")
            x = net.shuffle(net.concat(kept, y))
    return net.conv(x, dice.near(512), act="relu")


def _vgg(net: Network, dice: _Dice) -> Wire:
    x = _image(net, dice)
    act = dice.word("relu", "relu", "leaky")
    width = dice.base(32)
    for stage in range(dice.between(3, 5)):
        for _ in range(dice.between(1, 2)):
            x = net.conv(x, dice.near(width * 2 ** min(stage, 3)), 3, act=act)
        x = net.pool(x, kernel=2)
    return x


def _regnet(net: Network, dice: _Dice) -> Wire:
    x = net.conv(_image(net, dice), 32, 3, 2, act="relu")
    per_group = dice.one(8, 16, 16, 32, 48)
    excited = dice.chance(0.4)
    for stage in range(dice.between(3, 4)):
        out = max(1, dice.base(48 * 1.9**stage) // per_group) * per_group
        for block in range(dice.blocks()):
            stride = 1 if block else dice.stride(x)
            y = net.conv(net.conv(x, out, act="relu"), out, 3, stride, out // per_group, "relu")
            if excited:
                y = net.squeeze_excite(y, dice.near(max(x.channels / 4, 8), 8))
            y = net.conv(y, out)
            x = net.act(net.add(y, x if x.shape == y.shape else net.conv(x, out, 1, stride)), "relu")
    return x


def _squeezenet(net: Network, dice: _Dice) -> Wire:
    x = net.pool(net.conv(_image(net, dice), dice.near(64), dice.one(3, 7), 2, act="relu"))
    for stage in range(dice.between(2, 4)):
        for _ in range(dice.blocks()):
            y = net.conv(x, dice.base(16 * (stage + 1)), act="relu")
            out = dice.base(64 * (stage + 1))
            x = net.concat(net.conv(y, out, act="relu"), net.conv(y, out, 3, act="relu"))
        x = net.pool(x)
    return net.conv(x, dice.near(500), act="relu")


def _inception(net: Network, dice: _Dice) -> Wire:
    x = net.pool(net.conv(net.pool(net.conv(_image(net, dice), dice.near(48), 7, 2, act="relu")), dice.near(128), 3, act="relu"))
    for stage in range(dice.blocks()):
        for _ in range(dice.blocks()):
            width = dice.base(48 * (stage + 1))
            parts = [net.conv(x, dice.near(width), act="relu")]
            parts += [net.conv(net.conv(x, dice.near(width / 2), act="relu"), dice.near(width), kernel, act="relu") for kernel in (3, 5)]
            parts.append(net.conv(net.pool(x, dice.word("MaxPool", "AveragePool"), 3, 1), dice.near(width / 2), act="relu"))
            x = net.concat(*parts)
        x = net.pool(x)
    return x


def _unet(net: Network, dice: _Dice) -> Wire:
    size = dice.one(64, 96, 128)
    x = net.input(1, dice.one(1, 3), size, size)
    width, deep, down = dice.near(20), dice.between(2, 3), []
    mode = dice.word("nearest", "linear")
    for level in range(deep):
        x = net.conv(net.conv(x, dice.near(width * 2**level), 3, act="relu"), dice.near(width * 2**level), 3, act="relu")
        down.append(x)
        x = net.pool(x, kernel=2)
    x = net.conv(x, dice.near(width * 2**deep), 3, act="relu", dilation=dice.one(1, 1, 2))
    for level in reversed(range(deep)):
        x = net.concat(down[level], net.conv(net.grow(x, 2, mode), down[level].channels))
        x = net.conv(x, dice.near(width * 2**level), 3, act="relu")
    return x


def _convnext(net: Network, dice: _Dice) -> Wire:
    width = dice.base(48)
    x = net.conv(_image(net, dice), width, 4, 4)
    for stage in range(dice.between(2, 4)):
        if stage:
            x = net.conv(x, dice.near(width * 2**stage), 2, 2)
        for _ in range(dice.blocks()):
            y = net.transpose(net.conv(x, x.channels, 7, 1, x.channels), 0, 2, 3, 1)
            y = net.linear(net.linear(net.layer_norm(y), dice.near(4 * x.channels), "gelu"), x.channels)
            x = net.add(x, net.transpose(y, 0, 3, 1, 2))
    return x


def _encoder(net: Network, dice: _Dice, x: Wire, pre: bool) -> Wire:
    """Transformer layers, normalised before (`pre`) or after each part."""
    act = dice.word("gelu", "gelu", "relu")
    size = dice.one(32, 64, 64)
    for _ in range(dice.between(2, 5)):
        heads = max(1, dice.near(x.shape[2], size) // size)
        hidden = dice.near(x.shape[2] * dice.one(2, 4), 16)
        y = net.attention(net.layer_norm(x) if pre else x, heads, size)
        x = net.add(x, y) if pre else net.layer_norm(net.add(x, y))
        y = net.linear(net.linear(net.layer_norm(x) if pre else x, hidden, act), x.shape[2])
        x = net.add(x, y) if pre else net.layer_norm(net.add(x, y))
    return net.layer_norm(x) if pre else x


def _vit(net: Network, dice: _Dice) -> Wire:
    patch, side, width = dice.one(8, 16), dice.one(6, 8, 12, 14), dice.base(224, 32)
    image = net.input(1, 3, patch * side, patch * side)
    x = net.node(
        "Conv",
        [image, net.weight(width, 3, patch, patch), net.weight(width)],
        [1, width, side, side],
        kernel_shape=[patch] * 2,
        strides=[patch] * 2,
    )
    x = net.transpose(net.reshape(x, 1, width, side * side), 0, 2, 1)
    x = net.node("Add", [x, net.weight(1, side * side, width)], x.shape)
    x = _encoder(net, dice, x, pre=True)
    return net.node("ReduceMean", [x], [1, width], axes=[1], keepdims=0)


def _bert(net: Network, dice: _Dice) -> Wire:
    tokens, width = dice.one(16, 32, 64, 128), dice.base(224, 32)
    ids = net.input(1, tokens, elem_type=onnx.TensorProto.INT64)
    x = net.node("Gather", [net.weight(dice.one(1000, 4000), width), ids], [1, tokens, width], axis=0)
    x = net.layer_norm(net.node("Add", [x, net.weight(1, tokens, width)], x.shape))
    x = _encoder(net, dice, x, pre=False)
    return net.node("ReduceMean", [x], [1, width], axes=[1], keepdims=0)


FAMILIES: dict[str, Callable[[Network, _Dice], Wire]] = {
    "resnet": _resnet,
    "mobilenet-v1": _mobilenet_v1,
    "mobilenet-v2": _mobilenet_v2,
    "mobilenet-v3": _mobilenet_v3,
    "efficientnet": _efficientnet,
    "densenet": _densenet,
    "shufflenet": _shufflenet,
    "vgg": _vgg,
    "regnet": _regnet,
    "squeezenet": _squeezenet,
    "inception": _inception,
    "unet": _unet,
    "convnext": _convnext,
    "vit": _vit,
    "bert": _bert,
}


def random_network(family: str, seed: int) -> onnx.ModelProto:
    """A network of a family of FAMILIES with random sizes and weights: batch 1, float32, fixed shapes. Same seed, same network."""
    # The families' numbers keep two families of one seed apart, and the seeds of one family from those of another.
    rng = np.random.default_rng([seed, list(FAMILIES).index(family)])
    net, dice = Network(f"{family}-{seed}", rng), _Dice(rng)
    x = FAMILIES[family](net, dice)
    if family == "unet":
        return net.model(net.conv(x, dice.between(1, 20)))
    classes = dice.one(10, 100, 1000)
    return net.model(net.gemm(x, classes) if len(x.shape) == 2 else net.head(x, classes))
