from __future__ import annotations

import numpy as np
import pytest

from graphopt.repair.forms import Form, Kernel, Spatial, Tucker
from graphopt.repair.lowrank import cost

GROUPS, OUTS, CHANNELS = 2, 6, 4


def kernel(seed: int, *sizes: int) -> Kernel:
    """A weight, and moments of inputs of which some hardly vary and neighbours are alike, as in pictures."""
    rng = np.random.default_rng(seed)
    ins = CHANNELS * int(np.prod(sizes))
    mixed = rng.normal(size=(GROUPS, 4 * ins, ins)) @ rng.normal(size=(GROUPS, ins, ins))
    return Kernel(rng.normal(size=(GROUPS, OUTS, CHANNELS, *sizes)), mixed.swapaxes(1, 2) @ mixed / mixed.shape[1])


def lost(form: Form, ranks: tuple[int, ...], in_turns: bool) -> float:
    return cost(form.kernel.matrix, form.factors(ranks, in_turns).matrix, form.kernel.second)


@pytest.mark.parametrize("seed", range(5))
def test_stages_that_are_solved_in_turns_lose_less(seed: int) -> None:
    spatial, tucker = Spatial(kernel(seed, 3, 3), (0,)), Tucker(kernel(seed, 3, 3))
    assert lost(spatial, (4,), in_turns=True) < 0.95 * lost(spatial, (4,), in_turns=False)
    assert lost(tucker, (2, 4), in_turns=True) < 0.999 * lost(tucker, (2, 4), in_turns=False)


@pytest.mark.parametrize("seed", range(3))
def test_at_full_rank_nothing_is_lost(seed: int) -> None:
    found = kernel(seed, 3, 3)
    for form in (Spatial(found, (1,)), Tucker(found)):
        assert lost(form, form.full, in_turns=True) < 1e-8 * cost(found.matrix, np.zeros_like(found.matrix), found.second)


def test_stages_amount_to_the_matrix() -> None:
    form = Spatial(kernel(0, 3, 3), (0,))
    found = form.factors((3,), in_turns=True)
    first, last = (stage.weight for stage in found.stages)
    assert first.shape == (GROUPS, 3, CHANNELS, 3, 1)
    assert last.shape == (GROUPS, OUTS, 3, 1, 3)
    whole = np.einsum("gorxj,grcix->gocij", last, first)
    np.testing.assert_allclose(found.matrix, whole.reshape(GROUPS, OUTS, -1), rtol=1e-9, atol=1e-12)


def test_where_the_closed_formula_is_the_best_turns_change_nothing() -> None:
    """Where inputs at different places are unrelated and alike, the closed formula is the best, and turns change nothing."""
    weight = np.random.default_rng(0).normal(size=(1, OUTS, CHANNELS, 3, 3))
    form = Spatial(Kernel(weight, np.eye(CHANNELS * 9)[np.newaxis]), (0,))
    values = np.linalg.svd(weight[0].transpose(0, 3, 1, 2).reshape(OUTS * 3, CHANNELS * 3), compute_uv=False)
    assert lost(form, (4,), in_turns=True) == pytest.approx(float((values[4:] ** 2).sum()), rel=1e-6)
