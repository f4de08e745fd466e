"""Types of a graph's values once its free dimensions are given sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx

from graphopt.ir import Graph, Tensor, TensorType, Value
from graphopt.ir.emit import emit_graph, inline_tensor
from graphopt.ir.tensors import tensor_header

_LARGEST_SHAPE = 256  # elements; larger tensors are weights, whose contents say nothing about shapes


@dataclass(frozen=True)
class KnownTypes:
    """Types of the values of a graph, its subgraphs' included, and in words what they take for granted."""

    by_value: Mapping[Value, TensorType]
    assumptions: tuple[str, ...]

    def static(self, value: Value | None) -> tuple[int, ...] | None:
        """The shape of `value` in numbers, None where it is not known."""
        known = None if value is None else self.by_value.get(value)
        return None if known is None else known.static


def fixed_types(graph: Graph, sizes: Mapping[str, int] | None = None, shapes: Mapping[str, Sequence[int]] | None = None) -> KnownTypes:
    """The types of the root `graph` with each free dimension of its inputs as `sizes` says by name, otherwise 1.

    `shapes` gives whole shapes by input, which decide where they are given.
    """
    sizes, shapes = sizes or {}, shapes or {}
    free = list(free_dimensions(graph))
    if not free and not shapes:
        return KnownTypes(graph.types(), ())
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    model.ClearField("training_info")
    model.graph.CopyFrom(emit_graph(graph, _without_weights, infos=False))
    state_sizes(model, sizes, shapes)
    twin = Graph.from_proto(model)
    types = twin.types()
    return KnownTypes(
        dict(_paired(graph, twin, types)), tuple(dict.fromkeys(_assumption(*where, sizes) for where in free if where[0] not in shapes))
    )


def state_sizes(model: onnx.ModelProto, sizes: Mapping[str, int], shapes: Mapping[str, Sequence[int]]) -> None:
    """Give the inputs of `model` the `shapes`, by name, and each dimension that is free then what `sizes` says by its name, otherwise 1."""
    for info in model.graph.input:
        if info.name in shapes:
            del info.type.tensor_type.shape.dim[:]
            info.type.tensor_type.shape.dim.extend(onnx.TensorShapeProto.Dimension(dim_value=size) for size in shapes[info.name])
    for dim in (dim for info in model.graph.input for dim in info.type.tensor_type.shape.dim if not dim.HasField("dim_value")):
        dim.dim_value = sizes.get(dim.dim_param, 1)
    for info in model.graph.output:  # what they say may name the free dimensions; inference finds them anew
        info.type.tensor_type.ClearField("shape")


def free_dimensions(graph: Graph) -> Iterator[tuple[str, int, str]]:
    """(input, axis, name of the dimension or empty) of the inputs' dimensions without a size."""
    for value in graph.inputs:
        if value.type is not None:
            for axis, dim in enumerate(value.type.tensor_type.shape.dim):
                if not dim.HasField("dim_value"):
                    yield value.name, axis, dim.dim_param


def _assumption(name: str, axis: int, symbol: str, sizes: Mapping[str, int]) -> str:
    if symbol:
        return f"dimension {symbol!r} taken as {sizes.get(symbol, 1)}"
    return f"axis {axis} of input {name!r}, which is free, taken as 1"


def _without_weights(tensor: Tensor, header: onnx.TensorProto | None, name: str) -> onnx.TensorProto:
    return inline_tensor(tensor, header, name) if tensor.size <= _LARGEST_SHAPE else tensor_header(header, tensor, name)


def _paired(graph: Graph, twin: Graph, types: Mapping[Value, TensorType]) -> Iterator[tuple[Value, TensorType]]:
    for name, value in graph.values.items():
        same = twin.values.get(name)
        if same is not None and same in types:
            yield value, types[same]
    for node, other in zip(graph.nodes, twin.nodes, strict=True):
        for inner, inner_twin in zip(node.subgraphs, other.subgraphs, strict=True):
            yield from _paired(inner, inner_twin, types)
