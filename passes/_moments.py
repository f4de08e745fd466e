"""What passes that approximate layers know of them beside the weight."""

from __future__ import annotations

from collections.abc import Iterator

from graphopt.ir import Graph
from graphopt.pipeline import Context
from graphopt.quality import check_time
from graphopt.repair import ConvLayer, Layer, Moments, calibration, input_moments

from ._families import Family


def with_moments(graph: Graph, families: list[Family], context: Context) -> Iterator[tuple[Family, Moments | None]]:
    """The families with the moments of their inputs, where there is data; what lies in a subgraph has none."""
    seen = [family for family in families if family.graph is graph]
    if context.data is None or not seen:
        yield from ((family, None) for family in families)
        return
    by_weight = {family.weight: family for family in seen}
    layers = {weight: family.layers for weight, family in by_weight.items()}
    for weight, moments in input_moments(graph, layers, calibration(graph, context.data), context.seed):
        check_time()  # what is made of each takes a while, and runs no model
        yield by_weight[weight], moments
    yield from ((family, None) for family in families if family.graph is not graph)


def scale_of(graph: Graph, layer: Layer) -> tuple[float, ...]:
    """Places of the input for each place of the output, along each kernel axis."""
    if not isinstance(layer, ConvLayer):
        return ()
    strides = layer.windows.strides
    before, after = graph.shape(layer.source), graph.shape(layer.node.output())
    if before is None or after is None:
        return tuple(float(stride) for stride in strides)
    return tuple(
        x / y if isinstance(x, int) and isinstance(y, int) and y else float(stride)
        for x, y, stride in zip(before[2:], after[2:], strides, strict=True)
    )
