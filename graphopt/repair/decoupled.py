"""Sums of depthwise and pointwise convolutions that stand for a dense one."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from graphopt.repair.forms import Factors, Kernel, Stage
from graphopt.repair.lowrank import Split, improved

Array = npt.NDArray[Any]


def decouple(kernel: Kernel, pairs: int) -> Factors:
    """`pairs` depthwise kernels for each input channel, then 1 x 1: the best sum of so many pairs, exact where there are as many as places.

    The kernels of one input channel to all outputs are a matrix of outputs x places, of which each pair is a term of rank 1 (Guo et al.,
    Network Decoupling: From Regular to Depthwise Separable Convolutions, 2018). With data they are found as if channels were unrelated, and
    the 1 x 1 convolution is then the best for them.
    """
    groups, outs, channels, *sizes = kernel.weight.shape
    by_channel = kernel.weight.reshape(groups, outs, channels, -1).swapaxes(1, 2).reshape(groups * channels, outs, -1)
    places = by_channel.shape[2]
    second = kernel.second
    blocks = None
    if second is not None:
        whole = second.reshape(groups, channels, places, channels, places)
        blocks = np.einsum("gckcl->gckl", whole).reshape(groups * channels, places, places)
    point, depth = Split(by_channel, blocks).factors(pairs)  # [groups * channels, outs, pairs], [groups * channels, pairs, places]
    first = depth.reshape(groups, channels, pairs, places)
    last = point.reshape(groups, channels, outs, pairs).transpose(0, 2, 1, 3).reshape(groups, outs, channels * pairs)
    if second is not None:
        last = _best_last(kernel.matrix, second, first, last)
    matrix = np.einsum("gocp,gcpk->gock", last.reshape(groups, outs, channels, pairs), first, optimize=True)
    stages = (
        Stage(first.reshape(groups * channels, pairs, 1, *sizes), frozenset(range(len(sizes)))),
        Stage(last.reshape(groups, outs, channels * pairs, *[1] * len(sizes)), frozenset()),
    )
    return Factors(stages, matrix.reshape(groups, outs, -1))


def decoupled_macs(kernel: Kernel, pairs: int) -> float:
    """Multiply-accumulates for each place of the output."""
    groups, outs, channels = kernel.weight.shape[:3]
    places = kernel.matrix.shape[2] // channels
    return float(groups * channels * pairs * (places + outs))


def _best_last(matrix: Array, second: Array, first: Array, before: Array) -> Array:
    """The least-squares weight on top of the depthwise outputs."""
    groups, channels, pairs, places = first.shape
    across = np.einsum("gock,gcpk->gocp", (matrix @ second).reshape(groups, -1, channels, places), first, optimize=True)
    half = np.einsum("gnck,gcpk->gncp", second.reshape(groups, -1, channels, places), first, optimize=True)
    moments = np.einsum("gckn,gcpk->gcpn", half.reshape(groups, channels, places, -1), first, optimize=True)
    size = channels * pairs
    return improved(before, moments.reshape(groups, size, size), across.reshape(groups, -1, size))
