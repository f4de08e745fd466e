from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphopt.cost.families import family
from graphopt.cost.kernel import Signature
from graphopt.cost.profile.adaptive import Pool, choose
from graphopt.cost.profile.plan import around_plain, fallbacks, grids, resized, steps, wanted

from .fakes import fake_ms

DENSE = Signature.parse(
    "nchwc.Conv(float[1,64,28,28], *float[128,64,3,3], *float[128], float[1,128,28,28]) -> float[1,128,28,28] "
    "{activation=Relu kernel_shape=[3,3] pads=[1,1,1,1]}"
)
DEPTHWISE = Signature.parse(
    "nchwc.Conv(float[1,96,7,7], *float[96,1,3,3], *float[96]) -> float[1,96,7,7] {group=96 kernel_shape=[3,3] pads=[1,1,1,1]}"
)
IMAGE = Signature.parse("nchwc.Conv(float[1,3,56,56], *float[64,3,7,7], *float[64]) -> float[1,64,50,50] {kernel_shape=[7,7]}")
RESHAPE = Signature.parse("Reshape(float[4,6], *int64[2]) -> float[6,4]")
SOFTMAX = Signature.parse("Softmax(float[1,10]) -> float[1,10] {axis=1}")


@given(st.integers(1, 2048), st.integers(1, 6), st.sampled_from([1, 8, 16]))
def test_steps_are_whole_blocks_up_to_the_largest(largest: int, count: int, block: int) -> None:
    found = steps(largest, count, block)
    assert 1 <= len(found) <= count
    assert all(width % block == 0 and width > 0 for width in found)
    assert found == sorted(set(found))
    assert largest <= found[-1] < largest + block


def test_a_grid_is_nine_pairs_of_widths_in_whole_blocks() -> None:
    found = list(grids([DENSE], 16))
    assert len(found) == len(set(found)) == 9
    assert {sig.operands[0].shape[1] for sig in found if sig.operands[0]} == {16, 32, 64}
    assert {family(sig, 16) for sig in found} == {"nchwc.dense"}


def test_small_pictures_have_finer_grids_and_depthwise_ones_one_direction() -> None:
    found = list(grids([DEPTHWISE], 16))
    assert len(found) == 4
    assert all(sig.attribute("group") == sig.outputs[0].shape[1] for sig in found)


def test_the_channels_of_an_image_are_not_changed() -> None:
    assert {sig.operands[0].shape[1] for sig in grids([IMAGE], 16) if sig.operands[0]} == {3}


def test_plain_convolutions_get_other_odd_widths() -> None:
    plain, separate, image, grouped = (
        Signature.parse(text)
        for text in (
            "FusedConv(float[1,38,28,28], *float[75,38,3,3], *float[75]) -> float[1,75,28,28] {activation=Relu kernel_shape=[3,3] pads=[1,1,1,1]}",
            "Conv(float[1,75,28,28], *float[75,1,5,5]) -> float[1,75,14,14] {group=75 kernel_shape=[5,5] pads=[2,2,2,2] strides=[2,2]}",
            "Conv(float[1,3,28,28], *float[75,3,3,3]) -> float[1,75,26,26] {kernel_shape=[3,3]}",
            "Conv(float[1,38,28,28], *float[76,19,1,1]) -> float[1,76,28,28] {group=2 kernel_shape=[1,1]}",
        )
    )
    assert [sig.operands[1].shape[:2] for sig in around_plain([plain, DENSE]) if sig.operands[1]] == [(45, 23), (113, 57)]
    assert [(sig.attribute("group"), sig.outputs[0].shape[1]) for sig in around_plain([separate])] == [(45, 45), (113, 113)]
    assert [sig.operands[1].shape[:2] for sig in around_plain([image]) if sig.operands[1]] == [(45, 3), (113, 3)]
    assert list(around_plain([grouped])) == []
    assert {family(sig, 16) for sig in around_plain([plain])} == {family(plain, 16)}


def test_blocked_convolutions_are_measured_in_the_plain_layout_too() -> None:
    found = list(fallbacks([DENSE, DEPTHWISE, IMAGE, SOFTMAX], 16))
    assert [(sig.operator, sig.operands[0].shape[1], sig.outputs[0].shape[1]) for sig in found if sig.operands[0]] == [
        ("FusedConv", 27, 51),
        ("FusedConv", 49, 97),
        ("Conv", 39, 39),
        ("Conv", 73, 73),
    ]
    assert {family(sig, 16) for sig in found} == {"conv.dense", "conv.depthwise"}
    assert set(found) <= set(wanted([Counter({DENSE: 2, DEPTHWISE: 1})], 16))


def test_a_resized_convolution_is_consistent() -> None:
    found = resized(DENSE, 48, 80)
    shapes = [operand.shape for operand in found.operands if operand is not None]
    assert shapes == [(1, 48, 28, 28), (80, 48, 3, 3), (80,), (1, 80, 28, 28)]
    assert found.outputs[0].shape == (1, 80, 28, 28)
    assert resized(DENSE, 64, 128) == DENSE


def test_the_models_own_kernels_come_first_and_views_not_at_all() -> None:
    other = resized(DENSE, 16, 16)
    found = wanted([Counter({SOFTMAX: 1, RESHAPE: 3}), Counter({DENSE: 2}), Counter({other: 1})], 16)
    assert found[0] == SOFTMAX
    assert RESHAPE not in found
    assert {DENSE, other} <= set(found)


def pool() -> Pool:
    counts = {resized(DENSE, 16 * i, 16 * j): 1 for i in range(1, 9) for j in range(1, 9)}
    counts |= {resized(DEPTHWISE, 16 * i, 16 * i): 3 for i in range(1, 20)}
    counts |= {Signature.parse(f"Relu(float[1,{size}]) -> float[1,{size}]"): 5 for size in range(100, 160)}
    return Pool(counts, 16)


@pytest.mark.parametrize("known", [0, 60])
def test_no_kernel_is_chosen_twice_and_every_family_has_some(known: int) -> None:
    measured = {sig: fake_ms(str(sig)) for sig in list(pool().counts)[:known]}
    avoid = frozenset({str(DENSE)})
    found = choose(pool(), measured, avoid, 40, np.random.default_rng(0))
    assert len(found) == len(set(found)) <= 40
    assert not set(found) & set(measured)
    assert str(DENSE) not in set(map(str, found))
    assert {family(sig, 16) for sig in [*found, *measured]} == {"nchwc.dense", "nchwc.depthwise", "relu"}


def test_families_that_bear_the_time_get_more_than_those_that_are_many() -> None:
    found = choose(pool(), {}, frozenset(), 40, np.random.default_rng(0))
    counts = Counter(family(sig, 16) for sig in found)
    assert counts["nchwc.dense"] > counts["relu"]


def test_a_family_that_is_predicted_badly_gets_more() -> None:
    rng = np.random.default_rng(0)
    everything = list(pool().counts)
    half = [everything[place] for place in rng.permutation(len(everything))[: len(everything) // 2]]

    def chosen(noise: float) -> int:
        noisy = {sig: fake_ms(str(sig)) * (np.exp(rng.normal() * noise) if family(sig, 16) == "relu" else 1.0) for sig in half}
        found = choose(pool(), noisy, frozenset(), 30, np.random.default_rng(1))
        return sum(family(sig, 16) == "relu" for sig in found)

    assert chosen(0.7) > chosen(0.0)


def test_nothing_is_chosen_from_what_is_measured_already() -> None:
    measured = {sig: fake_ms(str(sig)) for sig in pool().counts}
    assert choose(pool(), measured, frozenset(), 10, np.random.default_rng(0)) == []
