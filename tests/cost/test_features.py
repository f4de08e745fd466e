from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from graphopt.cost.features import describe, features
from graphopt.cost.kernel import Operand, Signature, signature

from .kernels_by_law import conv, elementwise, gemm


def test_a_convolution_counts_operations_as_executed() -> None:
    assert features(conv(16, 32, 8), 16)["macs"] == 32 * 8 * 8 * 16 * 9
    assert features(conv(20, 36, 8), 16)["macs"] == features(conv(32, 48, 8), 16)["macs"] == 48 * 8 * 8 * 32 * 9
    assert features(conv(20, 36, 8, operator="Conv"), 16)["macs"] == 36 * 8 * 8 * 20 * 9
    assert features(conv(20, 36, 8, operator="Conv"), 16, everywhere=True)["macs"] == 48 * 8 * 8 * 32 * 9
    assert features(conv(20, 20, 8, group=20), 16)["macs"] == 32 * 8 * 8 * 9


def test_windows_in_the_padding_are_not_executed() -> None:
    plain = conv(16, 16, 4)
    padded = signature(plain.operator, plain.operands, plain.outputs, [*plain.attributes, ("pads", (1, 1, 1, 1))])
    # Of 4 x 3 rows of the window two lie outside; of 4 columns of the output two see padding, and of their 3 places one each.
    assert features(padded, 16)["macs"] == pytest.approx(features(plain, 16)["macs"] * 10 / 12)
    assert features(padded, 16)["single_steps"] == 10 * 16 * (2 + 2)


@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 3), st.integers(1, 2), st.integers(0, 3), st.integers(0, 3))
def test_weights_that_only_meet_padding_are_not_read(size: int, taps: int, stride: int, dilation: int, before: int, after: int) -> None:
    """Of each axis those taps are read that a window of the padded image puts on the image: as a window over places 1 (image) and 0 says."""
    reach = dilation * (taps - 1) + 1
    padded = np.pad(np.ones(size, int), (before, after))
    assume(len(padded) >= reach)
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach)[::stride, ::dilation]
    axis = int(windows.any(axis=0).sum())
    sig = signature(
        "nchwc.Conv",
        [Operand((1, 16, size, 8)), Operand((32, 16, taps, 1), constant=True)],
        [Operand((1, 32, len(windows), 8))],
        [("dilations", (dilation, 1)), ("kernel_shape", (taps, 1)), ("pads", (before, 0, after, 0)), ("strides", (stride, 1))],
    )
    assert features(sig, 16)["weight_bytes"] == pytest.approx(32 * 16 * axis * 4)
    plain = signature("Conv", sig.operands, sig.outputs, sig.attributes)
    assert features(plain, 16)["weight_bytes"] == 32 * 16 * taps * 4


def test_bytes() -> None:
    found = features(conv(16, 32, 8, stride=2))
    assert found["in_bytes"] == 16 * 64 * 4
    assert found["out_bytes"] == 32 * 16 * 4
    assert found["weight_bytes"] == (32 * 16 * 9 + 32) * 4
    assert found["launch"] == 1
    assert found["added_bytes"] == 0


def test_a_residual_input_is_seen() -> None:
    plain = conv(16, 16, 8)
    added = signature(plain.operator, [*plain.operands, Operand((1, 16, 8, 8))], plain.outputs, plain.attributes)
    assert features(added)["added_bytes"] == 16 * 64 * 4


def test_matrices() -> None:
    found = features(gemm(5, 7, 11))
    assert found["macs"] == 5 * 7 * 11
    assert found["panels"] == 7
    turned = signature("Gemm", [Operand((7, 5)), Operand((7, 11), constant=True)], [Operand((5, 11))], [("transA", 1)])
    assert features(turned)["macs"] == 5 * 7 * 11
    batched = signature("MatMul", [Operand((3, 5, 7)), Operand((3, 7, 11))], [Operand((3, 5, 11))])
    assert features(batched)["macs"] == 3 * 5 * 7 * 11
    vector = signature("MatMul", [Operand((5, 7)), Operand((7,), constant=True)], [Operand((5,))])
    assert features(vector)["macs"] == 35


def test_stretches_that_are_copied() -> None:
    turned = signature("Transpose", [Operand((2, 3, 4, 5))], [Operand((2, 4, 3, 5))], [("perm", (0, 2, 1, 3))])
    assert features(turned)["chunks"] == 2 * 3 * 4
    joined = signature("Concat", [Operand((2, 3, 4))] * 3, [Operand((2, 9, 4))], [("axis", 1)])
    assert (features(joined)["pieces"], features(joined)["chunks"]) == (3, 6)


@pytest.mark.parametrize(("shape", "chunks"), [((1, 8, 1, 1), 8), ((8, 1, 1), 8), ((1, 1, 4, 4), 8), ((4,), 32), ((1, 1, 4, 1), 32)])
def test_stretches_of_a_broadcast(shape: tuple[int, ...], chunks: int) -> None:
    found = features(signature("Mul", [Operand((1, 8, 4, 4)), Operand(shape)], [Operand((1, 8, 4, 4))]))
    assert found["chunks"] == chunks


def test_alike_kernels_lie_close() -> None:
    def apart(one: Signature, other: Signature) -> float:
        a, b = describe(one, 16).place, describe(other, 16).place
        assert a.keys() == b.keys()
        return sum((a[name] - b[name]) ** 2 for name in a)

    assert apart(conv(64, 64, 28), conv(64, 80, 28)) < apart(conv(64, 64, 28), conv(64, 256, 28))
    assert apart(conv(64, 64, 28), conv(64, 64, 28)) == 0


@given(st.sampled_from(["Relu", "Add", "Softmax", "Transpose", "Concat", "Gather", "Resize", "MaxPool", "my.Op", "LSTM"]), st.data())
def test_features_are_finite_and_never_negative(operator: str, data: st.DataObject) -> None:
    shapes = st.lists(st.integers(0, 9), max_size=5).map(tuple)
    operands = data.draw(st.lists(st.none() | shapes.map(Operand), max_size=3))
    sig = signature(operator, operands, [Operand(data.draw(shapes))])
    found = describe(sig, 16)
    assert all(0 <= value < float("inf") for value in found.features.values())
    assert all(abs(value) < float("inf") for value in found.place.values())
    assert describe(elementwise("Relu", 3), 16).features["launch"] == 1
