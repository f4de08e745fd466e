"""What the analysis finds in the blocks that real networks are built of: each prunable group in full, and masked equality of cuts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graphopt.channels import Analysis, analyse
from tests.channels.build import INT64, Build
from tests.channels.masked import assert_masked_equal

_BLOCKS: dict[str, tuple[Callable[[Build], str], list[str]]] = {}


def block(*groups: str) -> Callable[[Callable[[Build], str]], Callable[[Build], str]]:
    """Register a function that builds a model and names its output, with the prunable groups that the model should have."""

    def register(build: Callable[[Build], str]) -> Callable[[Build], str]:
        _BLOCKS[build.__name__] = (build, sorted(groups))
        return build

    return register


def described(analysis: Analysis) -> list[str]:
    """`size kind: members`, sorted; a star after inexact groups' kind, a count after members of which a unit takes several indices."""
    lines = []
    for group in analysis.groups:
        if group.prunable:
            star = "*" if group.inexact is not None else ""
            members = sorted(f"{m.name}{'' if m.indices.shape[1] == 1 else f'({m.indices.shape[1]})'}" for m in group.members)
            lines.append(f"{group.size} {group.kind}{star}: {' '.join(members)}")
    return sorted(lines)


@pytest.mark.parametrize("name", _BLOCKS)
def test_groups(name: str) -> None: ...


def image(m: Build, channels: int = 3, size: int = 4) -> str:
    return m.input(2, channels, size, size)


def conv(m: Build, x: str, out: int, into: int, kernel: int = 1, *, group: int = 1, bias: bool = False) -> str:
    extra = [m.tensor(m.rng.standard_normal(out).astype(np.float32), m.name("b"))] if bias else []
    return m.node("Conv", x, m.weight(out, into // group, kernel, kernel, scale=0.3), *extra, group=group, pads=[kernel // 2] * 4)


def norm(m: Build, x: str, channels: int) -> str:
    return m.node("BatchNormalization", x, *(m.tensor(m.rng.uniform(0.5, 1.5, channels).astype(np.float32), m.name("n")) for _ in range(4)))


def linear(m: Build, x: str, into: int, out: int, *, bias: bool = False) -> str:
    made = m.node("MatMul", x, m.weight(into, out, scale=0.3))
    return m.node("Add", made, m.tensor(m.rng.standard_normal(out).astype(np.float32), m.name("b"))) if bias else made


def scalar(m: Build, value: float) -> str:
    return m.tensor(np.float32(value))


@block("6 channels: b1:0 n1:0 n2:0 n3:0 n4:0 w1:0 w2:1")
def a_chain(m: Build) -> str:
    return conv(m, m.node("Relu", norm(m, conv(m, image(m), 6, 3, bias=True), 6)), 4, 6, 3)


@block("6 channels: w1:0 w3:0 w4:1", "8 channels: w2:0 w3:1")
def a_residual_block(m: Build) -> str:
    x = conv(m, image(m), 6, 3)
    inner = conv(m, m.node("Relu", conv(m, x, 8, 6)), 6, 8)
    return conv(m, m.node("Relu", m.node("Add", inner, x)), 4, 6)


@block("6 channels: b1:0 n1:0 n2:0 n3:0 n4:0 w1:0 w2:0 w3:1")
def a_depthwise_block(m: Build) -> str:
    x = m.node("HardSwish", norm(m, conv(m, conv(m, image(m), 6, 3), 6, 6, 3, group=6, bias=True), 6))
    return conv(m, x, 4, 6)


@block("3 channels: w1:0 w2:0(2) w3:1(2)")
def a_depthwise_multiplier(m: Build) -> str:
    return conv(m, conv(m, conv(m, image(m), 3, 3), 6, 3, 3, group=3), 4, 6)


@block("4 channels: w1:0 w2:1 w3:1", "5 channels: w2:0 w3:1")
def a_dense_block(m: Build) -> str:
    x = conv(m, image(m), 4, 3)
    return conv(m, m.node("Concat", x, conv(m, x, 5, 4), axis=1), 4, 9)


@block("2 groups: w1:0(4) w2:0(6) w3:1(6)", "4 channels: w1:0(2) w2:1", "6 channels: w2:0(2) w3:1(2)")
def a_grouped_convolution(m: Build) -> str:
    return conv(m, conv(m, conv(m, image(m), 8, 3), 12, 8, group=2), 4, 12)


@block("2 groups: w1:0(6) w2:0(6) w3:0(6) w4:1(6)", "2 groups: w1:0(6) w2:0(6) w3:0(6) w4:1(6)")
def grouped_convolutions_of_unequal_groups(m: Build) -> str:
    x = conv(m, conv(m, conv(m, image(m), 12, 3), 12, 12, group=2), 12, 12, group=3)
    return conv(m, x, 4, 12)
