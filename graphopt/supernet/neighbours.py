"""Walking a graph from layer to layer, past activations and normalizations."""

from __future__ import annotations

from graphopt.ir import Graph, Node, Value
from graphopt.supernet.operands import stored

_UNARY = frozenset(
    {
        "BatchNormalization",
        "Cast",
        "Clip",
        "Elu",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "LeakyRelu",
        "Mish",
        "PRelu",
        "Relu",
        "Sigmoid",
        "Softplus",
        "Swish",
        "Tanh",
    }
)
_BINARY = frozenset({"Add", "Div", "Max", "Min", "Mul", "Sub"})


def readers(graph: Graph, value: Value) -> list[tuple[Node, int]]:
    """(node, input slot) of what uses the contents of `value`, not only its type or shape."""
    return [(node, slot) for node, slot in graph.consumers(value) if node.op_type != "Shape" and (node.op_type, slot) != ("CastLike", 1)]


def is_elementwise(node: Node) -> bool:
    return not node.domain and node.op_type in (_UNARY | _BINARY)


def activations(node: Node) -> list[Value]:
    """The inputs of an elementwise node that are no constants."""
    read = node.inputs[:1] if node.op_type in _UNARY else node.inputs
    return [value for value in read if value is not None and not is_constant(value)]


def is_constant(value: Value) -> bool:
    """Whether it is stored in the file, or is such a value made the type of another."""
    producer = value.producer
    if producer is not None and producer.op_type in ("Cast", "CastLike") and producer.input(0) is not None:
        return is_constant(producer.inputs[0])  # type: ignore[arg-type]
    return stored(value) is not None


def anchors_before(value: Value) -> set[Node | Value]:
    """What `value` comes from, upstream past elementwise nodes: other nodes, and inputs of the model."""
    found: set[Node | Value] = set()
    stack, seen = [value], {value}
    while stack:
        here = stack.pop()
        node = here.producer
        if node is None:
            found.add(here)
        elif is_elementwise(node):
            for source in activations(node):
                if source not in seen:
                    seen.add(source)
                    stack.append(source)
        else:
            found.add(node)
    return found


def anchors_after(graph: Graph, value: Value) -> list[Node]:
    """The nodes that `value` reaches downstream past elementwise ones, in the graph's order."""
    found: dict[Node, None] = {}
    stack, seen = [value], {value}
    while stack:
        for node, slot in readers(graph, stack.pop()):
            if slot >= 0 and is_elementwise(node) and node.outputs[0] is not None:
                if node.outputs[0] not in seen:
                    seen.add(node.outputs[0])
                    stack.append(node.outputs[0])
            else:
                found[node] = None
    return list(found)


def behind(graph: Graph, value: Value) -> list[Node]:
    """The elementwise nodes that `value` reaches, and the nodes behind them, in no particular order."""
    found: dict[Node, None] = {}
    stack = [value]
    while stack:
        for node, _ in readers(graph, stack.pop()):
            if node not in found:
                found[node] = None
                if is_elementwise(node) and node.outputs[0] is not None:
                    stack.append(node.outputs[0])
    return list(found)


def conv_before(value: Value | None) -> Node | None:
    """The single convolution that `value` comes from past elementwise nodes."""
    if value is None:
        return None
    found = anchors_before(value)
    node = next(iter(found)) if len(found) == 1 else None
    return node if isinstance(node, Node) and is_conv(node) else None


def writes(graph: Graph, conv: Node) -> Value:
    """What a convolution puts out, after its batch normalization if it has one."""
    output = conv.output()
    read = readers(graph, output)
    if len(read) == 1 and read[0][0].op_type == "BatchNormalization" and not graph.is_output(output):
        return read[0][0].output()
    return output


def is_conv(node: Node) -> bool:
    return node.op_type == "Conv" and not node.domain


def weight_shape(node: Node) -> tuple[int, ...]:
    """The shape of the weight, empty where the file does not hold it."""
    value = node.input(1)
    tensor = None if value is None else stored(value)
    return () if tensor is None else tensor.shape


def is_pointwise(node: Node) -> bool:
    """Whether it is a 1x1 convolution over all channels."""
    shape = weight_shape(node)
    return is_conv(node) and len(shape) == 4 and shape[2:] == (1, 1) and node.attributes.get("group", 1) == 1


def is_depthwise(node: Node) -> bool:
    """Whether it is a depthwise convolution, with as many channels out as in and a square kernel."""
    shape = weight_shape(node)
    return is_conv(node) and len(shape) == 4 and shape[1] == 1 and shape[2] == shape[3] and 1 < shape[0] == node.attributes.get("group", 1)


def stride(node: Node) -> int:
    return int(max(node.attributes.get("strides", [1, 1])))


def node_name(node: Node) -> str:
    """The name by which a side file calls the node: a nameless one goes by its first output."""
    return node.name or node.output().name


def weight_name(node: Node) -> str:
    """What a layer's weight is called where the layer reads it: exporters let equal weights share an initializer through Identity nodes."""
    value = node.input(1)
    return value.name if value is not None else ""
