"""Finding the blocks of a supernet in the graph alone."""

from __future__ import annotations

from dataclasses import dataclass

from graphopt.ir import Graph, Node, Value
from graphopt.supernet.family import Block, Layer
from graphopt.supernet.neighbours import (
    anchors_after,
    conv_before,
    is_conv,
    is_depthwise,
    is_pointwise,
    node_name,
    readers,
    stride,
    weight_name,
    weight_shape,
    writes,
)

_POOLS = ("ReduceMean", "GlobalAveragePool")


@dataclass(frozen=True)
class Found:
    """Blocks in the graph's order, numbered as slots, all of one kind; `stem` are the convolutions A, B, C of a ResNet-D stem, or empty."""

    bottlenecks: bool
    blocks: tuple[Block, ...]
    stem: tuple[tuple[Layer, str, str, int], ...] = ()  # layer, input, output, channels
    classifier: Layer | None = None
    classifier_axis: int = 1


def find_blocks(graph: Graph) -> Found:
    """The inverted bottlenecks of the graph, or where there are none its bottlenecks."""
    blocks = [block for node in graph.nodes if is_depthwise(node) and (block := _inverted(graph, node)) is not None]
    used = [layer.node for block in blocks for layer in block.convs.values()]
    if blocks and len(set(used)) == len(used):
        return Found(False, _numbered(blocks))
    bottlenecks = [block for node in graph.nodes if node.op_type == "Relu" and (block := _bottleneck(graph, node)) is not None]
    if not bottlenecks:
        return Found(False, ())
    layer, axis = _classifier(graph, bottlenecks[-1].out)
    return Found(True, _numbered(bottlenecks), _stem(graph, graph.value(bottlenecks[0].input)), layer, axis)


def layer_of(node: Node) -> Layer:
    return Layer(node_name(node), weight_name(node))


def _numbered(blocks: list[Block]) -> tuple[Block, ...]:
    return tuple(Block(slot, b.input, b.output, b.into, b.mid, b.out, b.stride, b.shortcut, b.convs) for slot, b in enumerate(blocks))


def _inverted(graph: Graph, depthwise: Node) -> Block | None:
    """The block around a depthwise convolution: 1x1, depthwise, perhaps squeeze-and-excitation, 1x1, perhaps + input."""
    mid = weight_shape(depthwise)[0]
    expand = conv_before(depthwise.input(0))
    if expand is None or not is_pointwise(expand) or weight_shape(expand)[0] != mid or stride(expand) != 1:
        return None
    after = anchors_after(graph, depthwise.output())
    convs = [node for node in after if is_conv(node)]
    if len(convs) != 1 or not is_pointwise(convs[0]) or weight_shape(convs[0])[1] != mid:
        return None
    project = convs[0]
    layers = {"expand": layer_of(expand), "depthwise": layer_of(depthwise)}
    pools = [node for node in after if node.op_type in _POOLS]
    if pools:
        branch = _squeeze(graph, pools[0], mid)
        if branch is None:
            return None
        layers |= {"se_reduce": layer_of(branch[0]), "se_expand": layer_of(branch[1])}
    elif len(after) != 1:
        return None
    layers["project"] = layer_of(project)
    source, output, shortcut = expand.inputs[0], writes(graph, project), False
    if source is None:
        return None
    read = readers(graph, output)
    if len(read) == 1 and read[0][0].op_type == "Add" and source in read[0][0].inputs and output is not source:
        output, shortcut = read[0][0].output(), True
    shape = weight_shape(project)
    return Block(0, source.name, output.name, weight_shape(expand)[1], mid, shape[0], stride(depthwise), shortcut, layers)


def _squeeze(graph: Graph, pool: Node, mid: int) -> tuple[Node, Node] | None:
    """The two 1x1 convolutions behind a global mean, which may take two steps."""
    after = anchors_after(graph, pool.output())
    if len(after) == 1 and after[0].op_type in _POOLS:
        after = anchors_after(graph, after[0].output())
    if len(after) != 1 or not is_pointwise(after[0]) or weight_shape(after[0])[1] != mid:
        return None
    behind = [node for node in anchors_after(graph, after[0].output()) if is_conv(node)]
    if len(behind) != 1 or not is_pointwise(behind[0]) or weight_shape(behind[0])[:2] != (mid, weight_shape(after[0])[0]):
        return None
    return after[0], behind[0]


def _bottleneck(graph: Graph, last: Node) -> Block | None:
    """The block that ends at a Relu: relu(1x1, kxk, 1x1 + shortcut)."""
    source = last.input(0)
    add = None if source is None else source.producer
    if add is None or add.op_type != "Add" or len(add.inputs) != 2:
        return None
    for main, other in (add.inputs, add.inputs[::-1]):
        if main is None or other is None:
            continue
        conv3 = _direct_conv(graph, main)
        conv2 = conv_before(conv3.input(0)) if conv3 is not None and is_pointwise(conv3) else None
        conv1 = conv_before(conv2.input(0)) if conv2 is not None and not is_pointwise(conv2) else None
        if conv1 is None or conv2 is None or conv3 is None or not is_pointwise(conv1) or conv2.attributes.get("group", 1) != 1:
            continue
        (mid, into), out, start = weight_shape(conv1)[:2], weight_shape(conv3)[0], conv1.inputs[0]
        if weight_shape(conv2)[:2] != (mid, mid) or weight_shape(conv3)[1] != mid or start is None:
            continue
        layers = {"conv1": layer_of(conv1), "conv2": layer_of(conv2), "conv3": layer_of(conv3)}
        if other is not start:
            shortcut = _direct_conv(graph, other)
            if shortcut is None or not is_pointwise(shortcut) or start not in (shortcut.input(0), _before_pool(shortcut.input(0))):
                continue
            layers["downsample"] = layer_of(shortcut)
        return Block(0, start.name, last.output().name, into, mid, out, stride(conv2), other is start, layers)
    return None


def _direct_conv(graph: Graph, value: Value) -> Node | None:
    """The convolution that writes `value`, itself or through its batch normalization."""
    node = value.producer
    if node is not None and node.op_type == "BatchNormalization" and node.inputs[0] is not None:
        node = node.inputs[0].producer
    return node if node is not None and is_conv(node) and writes(graph, node) is value else None


def _before_pool(value: Value | None) -> Value | None:
    node = None if value is None else value.producer
    return node.input(0) if node is not None and node.op_type in ("AveragePool", "MaxPool") else value


def _stem(graph: Graph, first: Value) -> tuple[tuple[Layer, str, str, int], ...]:
    """The convolutions A, B with an identity around it, and C, before the pool that feeds the first block."""
    end = _before_pool(first)
    last = conv_before(end)
    if end is None or last is None or last.inputs[0] is None:
        return ()
    add = last.inputs[0].producer
    if add is None or add.op_type != "Add":
        return ()
    for around, inner in (add.inputs, add.inputs[::-1]):
        middle, start = conv_before(inner), conv_before(around)
        if middle is None or start is None or around is None or middle.inputs[0] is not around or start.inputs[0] is None:
            continue
        parts = ((start, start.inputs[0], around), (middle, around, add.output()), (last, add.output(), end))
        return tuple((layer_of(conv), source.name, output.name, weight_shape(conv)[0]) for conv, source, output in parts)
    return ()


def _classifier(graph: Graph, width: int) -> tuple[Layer | None, int]:
    """The last Gemm or MatMul whose weight takes `width` inputs, and the weight's axis for them."""
    for node in reversed(graph.nodes):
        if node.op_type not in ("Gemm", "MatMul") or node.domain:
            continue
        shape = weight_shape(node)
        axis = 1 if node.attributes.get("transB", 0) else 0
        if len(shape) == 2 and shape[axis] == width:
            return layer_of(node), axis
    return None, 1
