"""Kernels taken apart into what is executed and how large it is."""

from __future__ import annotations

import numpy as np
import pytest

from graphopt.cost.kernel import Signature
from graphopt.cost.templates import find_template, joined, split

SIGNATURES = [
    "nchwc.Conv(float[1,64,8,8], *float[32,64,3,3], *float[32], float[1,32,8,8]) -> float[1,32,8,8] {activation=Relu kernel_shape=[3,3]}",
    "Conv(float[1,16,8,8], *float[16,1,3,3], _, float[]) -> float[1,16,8,8] {group=16 auto_pad=VALID}",
    "Concat(float[1,16,8,8], float[1,48,8,8]) -> float[1,64,8,8] {axis=1}",
    "Resize(float[2,3], *float[4]) -> float[4,6] {mode=linear scales=[2.0,2.0] perm=[0,1]}",
    "Split(float[10]) -> float[4], float[6]",
]


@pytest.mark.parametrize("text", SIGNATURES)
def test_apart_and_together_again(text: str) -> None:
    sig = Signature.parse(text)
    skeleton, numbers = split(sig)
    assert joined(skeleton, numbers) == sig
    assert not any(split(skeleton)[1])
    assert skeleton.operator == sig.operator


def test_numbers_are_found_to_be_sizes_or_multiples_of_them() -> None:
    sizes = np.array([[16, 32, 48], [64, 48, 16]])
    seen = np.array([[1, 16, 32, 128], [1, 32, 32, 96], [1, 48, 32, 32]])
    skeleton, _ = split(Signature.parse("Relu(float[1,1,1,1]) -> float[]"))
    template = find_template(skeleton, seen, sizes)
    assert template is not None
    assert template.varying == ((1, 0, 1.0), (3, 1, 2.0))
    assert str(template.at({0: 80, 1: 5})) == "Relu(float[1,80,32,10]) -> float[]"
    assert find_template(skeleton, np.array([[1], [2], [4]]), sizes) is None


def test_a_concat_goes_by_its_total() -> None:
    sig = Signature.parse(SIGNATURES[2])
    skeleton, numbers = split(sig)
    seen = np.array(
        [numbers, *(split(Signature.parse(SIGNATURES[2].replace("[1,16", f"[1,{a}").replace("64", f"{a + 48}")))[1] for a in (32, 8))]
    )
    template = find_template(skeleton, seen, np.array([[16, 32, 8], [64, 80, 56]]))
    assert template is not None
    by_total = template.by_total()
    assert by_total is not None
    assert by_total.sizes == (1,)
    assert str(by_total.at({1: 32})) == "Concat(float[1,8,8,8], float[1,24,8,8]) -> float[1,32,8,8] {axis=1}"
    other, numbers = split(Signature.parse(SIGNATURES[4]))
    relu = find_template(other, np.array([numbers, numbers]), np.zeros((0, 2), np.int64))
    assert relu is not None
    assert relu.by_total() is None
