"""Another height and width of the input."""

from __future__ import annotations

import math
from collections.abc import Mapping

from graphopt.errors import SupernetError
from graphopt.ir import Graph, Node, TensorType, Value
from graphopt.quality.inputs import declared_shape

Types = Mapping[Value, TensorType]


def needs_resize(graph: Graph, name: str, size: int) -> bool:
    """Whether the image input has another size, or none of its own. Raises SupernetError where it is no image input."""
    shape = declared_shape(_image_input(graph, name))
    return shape is None or tuple(shape[2:]) != (size, size)


def resize(graph: Graph, name: str, size: int) -> None:
    """Give the image input (N, C, H, W) the height and width `size`; what the outputs state about shapes follows.

    Raises SupernetError, which names the node, where the model has a size built in that does not fit any more.
    """
    value = _image_input(graph, name)
    before = graph.types()
    known = before[value]
    assert known.shape is not None
    graph.declare(value, known.elem_type, (*known.shape[:2], size, size))
    for output in graph.outputs:
        if output in before and not graph.is_input(output):
            graph.declare(output, before[output].elem_type, None)  # what it stated would be held against what is inferred
    after = graph.types()
    for node in graph.nodes:
        _check(graph, node, before, after, size)
    for output in dict.fromkeys(graph.outputs):
        if output in after and not graph.is_input(output):
            graph.declare(output, after[output].elem_type, after[output].shape)


def _image_input(graph: Graph, name: str) -> Value:
    value = next((value for value in graph.inputs if value.name == name), None)
    if value is None:
        raise SupernetError(f"image_size needs the input {name!r} that the side file names, which this model does not have")
    shape = declared_shape(value)
    if shape is None or len(shape) != 4:
        raise SupernetError(
            f"image_size needs an input of shape (N, C, H, W), and {name!r} has {'no stated rank' if shape is None else list(shape)}"
        )
    return value


def _check(graph: Graph, node: Node, before: Types, after: Types, size: int) -> None:
    """Raise SupernetError where the node cannot work at the new size."""
    output = node.outputs[0] if node.outputs else None
    old, new = _shape(before, output), _shape(after, output)
    why = None
    if node.op_type == "Reshape" and not node.domain:
        why = _reshape_misfit(graph, node, before, after)
    elif node.op_type in ("Gemm", "MatMul") and not node.domain:
        why = _product_misfit(node, after)
    if why is None and old is not None and new is None:
        why = "its shape cannot be inferred any more"
    if why is not None:
        raise SupernetError(f"image_size {size} does not fit {node.label}: {why}; the model has a size built in there")


def _reshape_misfit(graph: Graph, node: Node, before: Types, after: Types) -> str | None:
    source, target = node.input(0), graph.constant(node.input(1))
    shape, old, new = _shape(after, source), _shape(before, node.output()), _shape(after, node.output())
    if target is None or shape is None:
        return None
    sizes = [int(size) for size in target.reshape(-1)]
    copied = {place for place, size in enumerate(sizes) if size == 0 and place < len(shape) and not node.attributes.get("allowzero", 0)}
    numbers = [size for place, size in enumerate(shape) if place not in copied]
    wanted = [size for place, size in enumerate(sizes) if place not in copied]
    if all(isinstance(size, int) for size in numbers):
        total, stated = math.prod(size for size in numbers if isinstance(size, int)), math.prod(size for size in wanted if size != -1)
        if (stated and total % stated) if -1 in wanted else total != stated:
            return f"values of shape {list(shape)} reach it, and it arranges them as {sizes}"
    first = _shape(before, source)
    if first is not None and -1 not in wanted and _known(first, copied) != _known(shape, copied):
        return f"values of shape {list(shape)} reach it, {list(first)} before, and it arranges them as {sizes}"
    kept_batch = old and first and old[0] == first[0]
    if kept_batch and new and old and new[0] != old[0]:
        return f"it would turn a batch of {old[0]} into {new[0]}" if new[0] is not None else "it would change the batch size"
    return None


def _known(shape: tuple[int | str | None, ...], left_out: set[int]) -> int:
    """The product of the sizes that are known."""
    return math.prod(size for place, size in enumerate(shape) if isinstance(size, int) and place not in left_out)


def _product_misfit(node: Node, after: Types) -> str | None:
    left, right = _shape(after, node.input(0)), _shape(after, node.input(1))
    if not left or not right:
        return None
    attributes = node.attributes
    inner = left[0 if attributes.get("transA", 0) else -1]
    rows = right[-1] if attributes.get("transB", 0) or len(right) == 1 else right[-2]
    if isinstance(inner, int) and isinstance(rows, int) and inner != rows:
        return f"{inner} values per row reach it, and its weight takes {rows}"
    return None


def _shape(types: Types, value: Value | None) -> tuple[int | str | None, ...] | None:
    known = types.get(value) if value is not None else None
    return None if known is None else known.shape
