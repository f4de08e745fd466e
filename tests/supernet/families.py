"""Small supernets of the three families, with side files and transforms, from parameters named as in the package `ofa`.

Everything is written down from the published descriptions, independently of graphopt.supernet; expected/ holds what the package itself
computes with the same parameters (make_expected.py).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from .builder import BN, Builder

Array = npt.NDArray[Any]
CLASSES, SIZE = 10, 64
FAMILIES = ("ofa_mbv3", "ofa_proxyless", "ofa_resnet")

# MobileNetV3 and ProxylessNAS at width 0.25: stem, first block, stages; all multiples of 8.
WIDTHS = {"ofa_mbv3": (8, 8, 8, 16, 24, 32, 40), "ofa_proxyless": (8, 8, 8, 16, 24, 24, 48, 80)}
STRIDES = {"ofa_mbv3": (2, 2, 2, 1, 2), "ofa_proxyless": (2, 2, 2, 1, 2, 1)}
DEPTHS = {"ofa_mbv3": (4, 4, 4, 4, 4), "ofa_proxyless": (4, 4, 4, 4, 4, 1)}
HIDDEN = {"ofa_mbv3": ("relu", "relu", "h_swish", "h_swish", "h_swish"), "ofa_proxyless": ("relu6",) * 6}
SQUEEZES = {"ofa_mbv3": (False, True, False, True, True), "ofa_proxyless": (False,) * 6}
# ResNet with narrower stages than published, 160, 128, 256, 512, and multipliers 0.25, 0.4, 0.5.
RESNET_WIDTHS = ((40, 64, 80), (32, 48, 64), (64, 104, 128), (128, 208, 256))
RESNET_STEM = ((8, 16, 16), (16, 24, 32))
RESNET_DEPTHS = (4, 4, 6, 4)
RESNET_RATIOS = (0.2, 0.25, 0.35)


@dataclass(frozen=True)
class Small:
    """A small supernet: the model, its side file, its transforms by key."""

    model: onnx.ModelProto
    document: dict[str, Any]
    transforms: dict[str, Array]


class Parameters(dict[str, Array]):
    """Parameters made when they are first asked for, each from its own name: their order does not matter."""

    def __init__(self, shapes: dict[str, tuple[int, ...]]) -> None:
        super().__init__((name, _drawn(name, shape)) for name, shape in shapes.items())


def _drawn(name: str, shape: tuple[int, ...]) -> Array:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("_matrix"):
        return (np.eye(shape[0]) + rng.normal(size=shape) * 0.05).astype(np.float32)
    if name.endswith("running_var") or (".bn." in name and name.endswith("weight")):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 100
    return (rng.normal(size=shape) / np.sqrt(fan_in)).astype(np.float32)


def shapes_of(family: str) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter of the elastic module."""
    return _resnet_shapes() if family == "ofa_resnet" else _mbconv_shapes(family)


def small(family: str, *, fold: bool = False, awkward: bool = False) -> Small:
    parameters = Parameters(shapes_of(family))
    made = Builder(parameters, fold=fold, awkward=awkward, epsilon=1e-3 if family == "ofa_proxyless" else 1e-5)
    document = _resnet(made) if family == "ofa_resnet" else _mbconv(made, family)
    document |= {"schema": "ofa-supernet/1", "family": family, "input": "input", "output": "output", "image_size": SIZE, "divisor": 8}
    document["bn_folded"] = fold
    transforms = {}
    for stage in document["stages"]:
        for block in stage["blocks"]:
            for step in ("7to5", "5to3"):
                matrix = parameters.get(f"blocks.{block['slot'] + 1}.conv.depth_conv.conv.{step}_matrix")
                if matrix is not None:
                    transforms[f"{block['convs']['depthwise']['weight']}.{step}_matrix"] = matrix
    return Small(made.model("logits/out", SIZE, CLASSES), document, transforms)


def _bn(shapes: dict[str, tuple[int, ...]], prefix: str, channels: int) -> None:
    shapes.update((f"{prefix}.{part}", (channels,)) for part in BN)


def _mbconv_shapes(family: str) -> dict[str, tuple[int, ...]]:
    widths, shapes = WIDTHS[family], dict[str, tuple[int, ...]]()
    shapes["first_conv.conv.weight"] = (widths[0], 3, 3, 3)
    _bn(shapes, "first_conv.bn", widths[0])
    shapes["blocks.0.conv.depth_conv.conv.weight"] = (widths[0], 1, 3, 3)
    _bn(shapes, "blocks.0.conv.depth_conv.bn", widths[0])
    shapes["blocks.0.conv.point_linear.conv.weight"] = (widths[1], widths[0], 1, 1)
    _bn(shapes, "blocks.0.conv.point_linear.bn", widths[1])
    into, number = widths[1], 1
    for stage, out in enumerate(widths[2:]):
        for _ in range(DEPTHS[family][stage]):
            block, mid = f"blocks.{number}.conv", into * 6
            shapes[f"{block}.inverted_bottleneck.conv.conv.weight"] = (mid, into, 1, 1)
            shapes[f"{block}.depth_conv.conv.conv.weight"] = (mid, 1, 7, 7)
            shapes[f"{block}.depth_conv.conv.7to5_matrix"] = (25, 25)
            shapes[f"{block}.depth_conv.conv.5to3_matrix"] = (9, 9)
            shapes[f"{block}.point_linear.conv.conv.weight"] = (out, mid, 1, 1)
            for part, channels in (("inverted_bottleneck", mid), ("depth_conv", mid), ("point_linear", out)):
                _bn(shapes, f"{block}.{part}.bn.bn", channels)
            if SQUEEZES[family][stage]:
                small = max(8, (mid // 4 + 4) // 8 * 8)  # the widths here need no step up
                for part, shape in (("reduce", (small, mid)), ("expand", (mid, small))):
                    shapes[f"{block}.depth_conv.se.fc.{part}.weight"] = (*shape, 1, 1)
                    shapes[f"{block}.depth_conv.se.fc.{part}.bias"] = shape[:1]
            into, number = out, number + 1
    if family == "ofa_mbv3":
        shapes["final_expand_layer.conv.weight"] = (240, into, 1, 1)
        _bn(shapes, "final_expand_layer.bn", 240)
        shapes["feature_mix_layer.conv.weight"] = (320, 240, 1, 1)
    else:
        shapes["feature_mix_layer.conv.weight"] = (320, into, 1, 1)
        _bn(shapes, "feature_mix_layer.bn", 320)
    return shapes | {"classifier.linear.weight": (CLASSES, 320), "classifier.linear.bias": (CLASSES,)}


def _mbconv(made: Builder, family: str) -> dict[str, Any]:
    v3 = family == "ofa_mbv3"
    x = made.conv("input", "first", "first_conv.conv.weight", "first_conv.bn", stride=2)
    x = made.act(x, "first/act", "h_swish" if v3 else "relu6")
    fixed = "blocks.0.conv"
    y = made.conv(x, "fixed/depthwise", f"{fixed}.depth_conv.conv.weight", f"{fixed}.depth_conv.bn", group=WIDTHS[family][0])
    y = made.act(y, "fixed/act", "relu" if v3 else "relu6")
    y = made.conv(y, "fixed/project", f"{fixed}.point_linear.conv.weight", f"{fixed}.point_linear.bn")
    x = made.node("Add", [y, x], "fixed/add") if v3 else y
    into, stages, slot = WIDTHS[family][1], list[dict[str, Any]](), 0
    for stage, out in enumerate(WIDTHS[family][2:]):
        blocks = []
        for place in range(DEPTHS[family][stage]):
            stride = STRIDES[family][stage] if place == 0 else 1
            x, block = _mbconv_block(made, x, slot, stride, HIDDEN[family][stage], SQUEEZES[family][stage], (into, out))
            blocks.append(block)
            into, slot = out, slot + 1
        stages.append({"depth_slot": stage, "base_depth": 0, "blocks": blocks})
    if v3:
        x = made.act(made.conv(x, "final", "final_expand_layer.conv.weight", "final_expand_layer.bn"), "final/act", "h_swish")
        x = made.act(made.conv(made.mean(x, "pool", 1), "mix", "feature_mix_layer.conv.weight", None), "mix/act", "h_swish")
        x = made.node("Flatten", [x], "flat")
    else:
        x = made.act(made.conv(x, "mix", "feature_mix_layer.conv.weight", "feature_mix_layer.bn"), "mix/act", "relu6")
        x = made.mean(x, "pool", 0)
    made.linear(x, "logits", "classifier.linear")
    return {"kernel_sizes": [3, 5, 7], "expand_ratios": [3, 4, 6], "depths": [2, 3, 4], "transforms": "transforms.npz", "stages": stages}


def _mbconv_block(
    made: Builder, x: str, slot: int, stride: int, act: str, squeeze: bool, widths: tuple[int, int]
) -> tuple[str, dict[str, Any]]:
    into, out = widths
    names, name, mid = f"blocks.{slot + 1}.conv", f"block{slot}", into * 6
    y = made.conv(x, f"{name}/expand", f"{names}.inverted_bottleneck.conv.conv.weight", f"{names}.inverted_bottleneck.bn.bn")
    y = made.act(y, f"{name}/act1", act)
    depthwise = f"{names}.depth_conv.conv.conv.weight", f"{names}.depth_conv.bn.bn"
    y = made.conv(y, f"{name}/depthwise", *depthwise, stride=stride, group=mid)
    y = made.act(y, f"{name}/act2", act)
    roles = ["expand", "depthwise", "project"]
    if squeeze:
        roles += ["se_reduce", "se_expand"]
        fc = f"{names}.depth_conv.se.fc"
        s = made.conv(made.mean(y, f"{name}/pool", 1), f"{name}/se_reduce", f"{fc}.reduce.weight", None, bias=f"{fc}.reduce.bias")
        s = made.conv(made.act(s, f"{name}/se_act", "relu"), f"{name}/se_expand", f"{fc}.expand.weight", None, bias=f"{fc}.expand.bias")
        y = made.node("Mul", [y, made.hard_sigmoid(s, f"{name}/se_gate")], f"{name}/se")
    y = made.conv(y, f"{name}/project", f"{names}.point_linear.conv.conv.weight", f"{names}.point_linear.bn.bn")
    shortcut = stride == 1 and into == out
    y = made.node("Add", [y, x], f"{name}/add") if shortcut else y
    convs = {role: made.layer(f"{name}/{role}") for role in roles}
    record = {"slot": slot, "input": x, "output": y, "in": into, "mid": mid, "out": out, "stride": stride, "shortcut": shortcut}
    return y, record | {"convs": convs}


def _resnet_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    a, c = RESNET_STEM[0][-1], RESNET_STEM[1][-1]
    for prefix, shape in (("input_stem.0", (a, 3)), ("input_stem.1.conv", (a, a)), ("input_stem.2", (c, a))):
        shapes[f"{prefix}.conv.conv.weight"] = (*shape, 3, 3)
        _bn(shapes, f"{prefix}.bn.bn", shape[0])
    into, number = c, 0
    for widths, depth in zip(RESNET_WIDTHS, RESNET_DEPTHS, strict=True):
        out = widths[-1]
        mid = _divisible(round(out * RESNET_RATIOS[-1]))
        for place in range(depth):
            block = f"blocks.{number}"
            convs = [("conv1", (mid, into, 1, 1)), ("conv2", (mid, mid, 3, 3)), ("conv3", (out, mid, 1, 1))]
            convs += [("downsample", (out, into, 1, 1))] if place == 0 else []
            for role, kernel in convs:
                shapes[f"{block}.{role}.conv.conv.weight"] = kernel
                _bn(shapes, f"{block}.{role}.bn.bn", kernel[0])
            into, number = out, number + 1
    return shapes | {"classifier.linear.linear.weight": (CLASSES, into), "classifier.linear.linear.bias": (CLASSES,)}


def _divisible(size: float) -> int:
    """The rule of the package, as it is published."""
    rounded = max(8, int(size + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * size else rounded


def _resnet(made: Builder) -> dict[str, Any]:
    def stem(x: str, place: int, prefix: str, stride: int) -> str:
        y = made.conv(x, f"stem{place}", f"{prefix}.conv.conv.weight", f"{prefix}.bn.bn", stride=stride)
        return made.act(y, f"stem{place}/act", "relu")

    a = stem("input", 0, "input_stem.0", 2)
    b = made.node("Add", [stem(a, 1, "input_stem.1.conv", 1), a], "stem1/add")
    c = stem(b, 2, "input_stem.2", 1)
    borders = [("input", a), (a, b), (b, c)]
    parts = [
        {
            "conv": made.layer(f"stem{place}"),
            "width_slot": place // 2,
            "out_choices": list(RESNET_STEM[place // 2]),
            "input": i,
            "output": o,
        }
        for place, (i, o) in enumerate(borders)
    ]
    parts[1] |= {"skippable": True, "depth_slot": 0}
    x = made.node("MaxPool", [c], "maxpool", kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2])
    into, stages, slot = RESNET_STEM[1][-1], list[dict[str, Any]](), 0
    for number, (widths, depth) in enumerate(zip(RESNET_WIDTHS, RESNET_DEPTHS, strict=True)):
        blocks = []
        for place in range(depth):
            x, block = _bottleneck(made, x, slot, (1 if number == 0 else 2) if place == 0 else 1, into, widths[-1], place == 0)
            blocks.append(block)
            into, slot = widths[-1], slot + 1
        stage = {"depth_slot": number + 1, "base_depth": depth - 2, "width_slot": number + 2, "out_choices": list(widths)}
        stages.append(stage | {"blocks": blocks})
    made.linear(made.mean(x, "pool", 0), "logits", "classifier.linear.linear")
    spaces = {"kernel_sizes": [3], "expand_ratios": list(RESNET_RATIOS), "depths": [0, 1, 2], "width_mults": [0.25, 0.4, 0.5]}
    rules = {"depth_rule": "offset", "mid_rule": "out*e", "classifier": {**made.layer("logits"), "input_axis": 1}}
    return {**spaces, **rules, "stem": parts, "stages": stages}


def _bottleneck(made: Builder, x: str, slot: int, stride: int, into: int, out: int, first: bool) -> tuple[str, dict[str, Any]]:
    name, names = f"block{slot}", f"blocks.{slot}"

    def conv(y: str, role: str, stride: int = 1) -> str:
        return made.conv(y, f"{name}/{role}", f"{names}.{role}.conv.conv.weight", f"{names}.{role}.bn.bn", stride=stride)

    y = made.act(conv(x, "conv1"), f"{name}/act1", "relu")
    y = conv(made.act(conv(y, "conv2", stride), f"{name}/act2", "relu"), "conv3")
    shortcut, roles = x, ["conv1", "conv2", "conv3"]
    if first:
        size = [stride, stride]
        shortcut = conv(made.node("AveragePool", [x], f"{name}/pool", kernel_shape=size, strides=size, ceil_mode=1), "downsample")
        roles.append("downsample")
    output = made.act(made.node("Add", [y, shortcut], f"{name}/add"), f"{name}/act3", "relu")
    mid = _divisible(round(out * RESNET_RATIOS[-1]))
    record = {"slot": slot, "input": x, "output": output, "in": into, "mid": mid, "out": out, "stride": stride, "shortcut": not first}
    return output, record | {"convs": {role: made.layer(f"{name}/{role}") for role in roles}}
