"""How much each unit of a channel group matters for what the layers after it compute on calibration data.

Measured at the Conv, Gemm and MatMul nodes that read the units; a group's scores are the mean over these, each divided by its mean.

- `activation`: the mean magnitude of a unit's values.
- `apoz`: the share of them that are not zero (Hu et al., Network Trimming, 2016, by which few zeros are important).
- `reconstruction`: when a unit goes if they go one by one, the next always the one that leaves the readers' outputs nearest to what they
  were (ThiNet, Luo et al., 2017).
- `obs`: the error of the readers' outputs without the unit when all others make good for it as well as they can (optimal brain surgeon,
  Hassibi and Stork 1992, for whole units).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graphopt.channels import ChannelGroup
from graphopt.ir import Graph, Value
from graphopt.quality import Data
from graphopt.repair.layers import ConvLayer, GemmLayer, Layer, NoLayer, layer_of
from graphopt.repair.moments import input_moments
from graphopt.repair.stream import Stream

DATA_CRITERIA = ("activation", "apoz", "reconstruction", "obs")

Scores = npt.NDArray[np.float64]
Array = npt.NDArray[Any]

_RIDGE = 1e-4  # of the mean second moment, without which inputs that depend on each other make every unit dispensable


@dataclass(frozen=True)
class Reader:
    """A layer that reads a group's units; `places[u]` are the indices of unit u on the channel axis of what it reads."""

    layer: Layer
    group: ChannelGroup
    places: npt.NDArray[np.int64]


def data_scores(graph: Graph, groups: Sequence[ChannelGroup], criterion: str, data: Data, seed: int) -> dict[ChannelGroup, Scores]:
    """Scores for those of the groups of the root `graph` that such layers read; for `reconstruction` and `obs` depthwise ones do not count."""
    readers = list(_readers(graph, groups))
    if criterion in ("activation", "apoz"):
        measured = _by_values(graph, readers, criterion, data)
    else:
        dense = [reader for reader in readers if reader.layer.groups == 1]
        measured = _by_outputs(graph, dense, criterion, data, seed)
    found: dict[ChannelGroup, list[Scores]] = {}
    for reader, scores in measured:
        mean = scores.mean()
        found.setdefault(reader.group, []).append(scores / mean if mean > 0 else np.ones_like(scores))
    return {group: np.asarray(np.mean(each, axis=0), np.float64) for group, each in found.items()}


def _readers(graph: Graph, groups: Sequence[ChannelGroup]) -> list[Reader]:
    members: dict[Value, list[tuple[ChannelGroup, int, npt.NDArray[np.int64]]]] = {}
    for group in groups:
        for member in group.members:
            members.setdefault(member.value, []).append((group, member.axis, member.indices))
    found = []
    for node in graph.nodes:
        try:
            layer = layer_of(graph, node)
        except NoLayer:
            continue
        axis = _input_axis(layer)
        found += [Reader(layer, group, places) for group, number, places in members.get(layer.value, []) if number == axis]
    return found


def _input_axis(layer: Layer) -> int | None:
    """The weight's axis that holds the channels that are read, None for a layer in groups that is not depthwise, and for stacks."""
    match layer:
        case ConvLayer():
            return 1 if layer.groups == 1 else 0 if layer.sizes[1] == 1 and layer.weight.shape[1] == 1 else None
        case GemmLayer():
            return 1 if layer.outs_first else 0
    return None if layer.weight.ndim > 2 else 0 if layer.slot else 1


def _by_values(graph: Graph, readers: Sequence[Reader], criterion: str, data: Data) -> list[tuple[Reader, Scores]]:
    sources = list(dict.fromkeys(reader.layer.source for reader in readers))
    if not sources:
        return []
    axes = {reader.layer.source: _channel_axis(reader.layer) for reader in readers}
    sums: dict[Value, Array] = {}
    for found in Stream(graph, data).values(sources):
        for value, x in found.items():
            by_channel = np.moveaxis(x, axes[value], 0).reshape(x.shape[axes[value]], -1)
            part = np.abs(by_channel).sum(axis=1, dtype=np.float64) if criterion == "activation" else np.count_nonzero(by_channel, axis=1)
            sums[value] = sums.get(value, np.zeros(len(part))) + part
    return [(reader, np.asarray(sums[reader.layer.source][reader.places].mean(axis=1), np.float64)) for reader in readers]


def _channel_axis(layer: Layer) -> int:
    if isinstance(layer, ConvLayer):
        return 1
    if isinstance(layer, GemmLayer):
        transposed = bool(layer.node.attributes.get("transA" if layer.slot else "transB", 0))
        return 0 if transposed == bool(layer.slot) else 1
    return -1 if layer.slot else -2


def _by_outputs(graph: Graph, readers: Sequence[Reader], criterion: str, data: Data, seed: int) -> list[tuple[Reader, Scores]]:
    by_weight: dict[Value, list[Reader]] = {}
    for reader in readers:
        by_weight.setdefault(reader.layer.value, []).append(reader)
    layers: Mapping[Value, list[Layer]] = {
        weight: list({r.layer.node: r.layer for r in each}.values()) for weight, each in by_weight.items()
    }
    found = []
    for weight, moments in input_moments(graph, layers, data, seed) if layers else ():
        for reader in by_weight[weight]:
            per_place = reader.layer.sizes[2] // (
                reader.layer.weight.shape[1] if isinstance(reader.layer, ConvLayer) else reader.layer.sizes[2]
            )
            rows = (reader.places[:, :, np.newaxis] * per_place + np.arange(per_place)).reshape(len(reader.places), -1)
            matrix, second = reader.layer.matrix[0], moments.second[0]
            if criterion == "reconstruction":
                found.append((reader, _one_by_one(matrix, second, rows)))
            else:  # a bias makes good for means
                found.append((reader, _surgeon(matrix, second if reader.layer.bias(graph) is None else moments.centered[0], rows)))
    return found


def _one_by_one(matrix: Array, second: Array, rows: npt.NDArray[np.int64]) -> Scores:
    """The places of the units in the order in which they go, from 1."""
    shared = second * (matrix.T @ matrix)  # what inputs i and j add to the outputs' energy together
    units = len(rows)
    summed = shared[rows].sum(axis=1)  # [units, ins]
    gram = np.stack([summed[:, own].sum(axis=1) for own in rows], axis=1)
    scores, left = np.empty(units), np.ones(units, bool)
    together = np.zeros(units)  # of each unit with all that went
    for place in range(units):
        cost = np.where(left, np.diagonal(gram) + 2 * together, np.inf)
        unit = int(np.argmin(cost))
        scores[unit], left[unit] = place + 1, False
        together += gram[:, unit]
    return scores


def _surgeon(matrix: Array, second: Array, rows: npt.NDArray[np.int64]) -> Scores:
    """tr(W_u [(S⁻¹)_uu]⁻¹ W_uᵀ) for each unit u."""
    size = len(second)
    level = max(float(np.trace(second)) / size, np.finfo(np.float64).tiny)
    inverse = np.linalg.inv(second + _RIDGE * level * np.eye(size))
    blocks = inverse[rows[:, :, np.newaxis], rows[:, np.newaxis, :]]
    own = matrix[:, rows].transpose(1, 2, 0)  # [units, inputs of one, outs]
    return np.asarray((own * np.linalg.solve(blocks, own)).sum(axis=(1, 2)).clip(min=0), np.float64)
