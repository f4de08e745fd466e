"""A draft of the side file from what can be seen in the graph, with a list of what cannot."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from graphopt.ir import Graph
from graphopt.supernet.detect import Found, find_blocks
from graphopt.supernet.family import MBV3, PROXYLESS, RESNET, SCHEMA, Block, Layer, Stage, StemConv, Supernet
from graphopt.supernet.neighbours import is_conv, weight_shape
from graphopt.supernet.operands import stored
from graphopt.supernet.rounding import middle, squeezed

_DIVISOR = 8


@dataclass(frozen=True)
class Draft:
    """What was found, what was seen in it (for people), and what has to be filled in by somebody who knows the training."""

    supernet: Supernet
    seen: tuple[str, ...]
    unknown: tuple[str, ...]


def draft_supernet(graph: Graph, model: str | None = None) -> Draft | None:
    """A draft for the graph, None where no blocks are found; `model` is the file's name."""
    found = find_blocks(graph)
    if not found.blocks:
        return None
    stages = split_stages(found.blocks)
    ratio = _ratio(found)
    kernels = sorted({size for block in found.blocks for size in [_kernel(graph, block)] if size})
    lengths = Counter(len(stage) for stage in stages)
    most = max(lengths, key=lambda length: (lengths[length], length))  # a longer one may be two that look like one
    squeezes = any("se_reduce" in block.convs for block in found.blocks)
    supernet = Supernet(
        family=RESNET if found.bottlenecks else MBV3 if squeezes else PROXYLESS,
        input=_image_input(graph),
        output=graph.outputs[0].name,
        image_size=_image_size(graph) or 224,
        stages=tuple(_stage(number, blocks, found.bottlenecks) for number, blocks in enumerate(stages)),
        kernel_sizes=(3,) if found.bottlenecks else tuple(range(3, kernels[-1] + 1, 2)),
        expand_ratios=(ratio,) if ratio is not None else (6.0,),
        depths=tuple(range(3)) if found.bottlenecks else tuple(range(min(2, most), most + 1)),
        divisor=_DIVISOR,
        depth_rule="offset" if found.bottlenecks else "absolute",
        mid_rule="out*e" if found.bottlenecks else "in*e",
        se_reduction=_reduction(graph, found) or 4,
        bn_folded=not any(node.op_type == "BatchNormalization" for node in graph.nodes),
        width_mults=(1.0,) if found.bottlenecks else (),
        stem=_stem(found),
        classifier=found.classifier,
        classifier_axis=found.classifier_axis,
        model=model,
    )
    return Draft(supernet, _seen(supernet, found, kernels), _unknown(supernet, found, ratio, _image_size(graph)))


def split_stages(blocks: tuple[Block, ...]) -> list[tuple[Block, ...]]:
    """Blocks by stage: a block whose shortcut is no identity starts one."""
    stages: list[list[Block]] = []
    for block in blocks:
        if not stages or not block.shortcut:
            stages.append([])
        stages[-1].append(block)
    return [tuple(stage) for stage in stages]


def to_document(supernet: Supernet) -> dict[str, Any]:
    """The side file of a supernet of a family, as JSON's own types."""
    resnet = supernet.family == RESNET
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "family": supernet.family,
        "model": supernet.model,
        "input": supernet.input,
        "output": supernet.output,
        "image_size": supernet.image_size,
        "divisor": supernet.divisor,
        "bn_folded": supernet.bn_folded,
        "kernel_sizes": list(supernet.kernel_sizes),
        "expand_ratios": list(supernet.expand_ratios),
        "depths": list(supernet.depths),
        "depth_rule": supernet.depth_rule,
        "mid_rule": supernet.mid_rule,
        "se_reduction": supernet.se_reduction,
        "transforms": supernet.transforms,
    }
    if resnet:
        document["width_mults"] = list(supernet.width_mults)
        document["stem"] = [_stem_document(conv) for conv in supernet.stem]
        if supernet.classifier is not None:
            document["classifier"] = {**_layer_document(supernet.classifier), "input_axis": supernet.classifier_axis}
    document["stages"] = [_stage_document(stage) for stage in supernet.stages]
    return document


def _stage_document(stage: Stage) -> dict[str, Any]:
    width = {} if stage.width_slot is None else {"width_slot": stage.width_slot, "out_choices": list(stage.out_choices)}
    blocks = [
        {
            "slot": block.slot,
            "input": block.input,
            "output": block.output,
            "in": block.into,
            "mid": block.mid,
            "out": block.out,
            "stride": block.stride,
            "shortcut": block.shortcut,
            "convs": {role: _layer_document(layer) for role, layer in block.convs.items()},
        }
        for block in stage.blocks
    ]
    return {"depth_slot": stage.depth_slot, "base_depth": stage.base_depth, **width, "blocks": blocks}


def _stem_document(conv: StemConv) -> dict[str, Any]:
    skip = {"skippable": True, "depth_slot": conv.depth_slot} if conv.skippable else {}
    document = {"conv": _layer_document(conv.conv), "width_slot": conv.width_slot, "out_choices": list(conv.out_choices)}
    return {**document, "input": conv.input, "output": conv.output, **skip}


def _layer_document(layer: Layer) -> dict[str, str | None]:
    return {"node": layer.node, "weight": layer.weight}


def _stage(number: int, blocks: tuple[Block, ...], bottlenecks: bool) -> Stage:
    if not bottlenecks:
        return Stage(number, 0, blocks)
    return Stage(number + 1, max(1, len(blocks) - 2), blocks, number + 2, (blocks[0].out,))


def _stem(found: Found) -> tuple[StemConv, ...]:
    slots = (0, 0, 1)
    return tuple(
        StemConv(layer, slots[place], (channels,), source, output, skippable=place == 1, depth_slot=0)
        for place, (layer, source, output, channels) in enumerate(found.stem)
    )


def _ratio(found: Found) -> float | None:
    """A ratio that all middles come from, None where there is none among the usual ones."""
    candidates = [*range(1, 13), *(step / 20 for step in range(1, 20))]
    width = [(block.out if found.bottlenecks else block.into, block.mid) for block in found.blocks]
    fits = [ratio for ratio in candidates if all(middle(size, ratio, _DIVISOR) == mid for size, mid in width)]
    return fits[0] if fits else None


def _kernel(graph: Graph, block: Block) -> int:
    layer = block.convs.get("depthwise")
    value = graph.value(layer.weight) if layer is not None and layer.weight is not None else None
    tensor = None if value is None else stored(value)
    return 0 if tensor is None else tensor.shape[2]


def _reduction(graph: Graph, found: Found) -> int | None:
    widths = {node.name or node.output().name: weight_shape(node)[0] for node in graph.nodes if is_conv(node) and weight_shape(node)}
    pairs = [(block.mid, widths[block.convs["se_reduce"].node]) for block in found.blocks if "se_reduce" in block.convs]
    return next((rate for rate in (4, 2, 8, 16) if all(squeezed(mid, rate, _DIVISOR) == small for mid, small in pairs)), None)


def _image_input(graph: Graph) -> str:
    return next((value.name for value in graph.inputs if not value.is_initializer), graph.inputs[0].name)


def _image_size(graph: Graph) -> int | None:
    shape = graph.shape(graph.value(_image_input(graph)))
    return shape[2] if shape is not None and len(shape) == 4 and isinstance(shape[2], int) else None


def _seen(supernet: Supernet, found: Found, kernels: list[int]) -> tuple[str, ...]:
    kind = "bottleneck" if found.bottlenecks else "inverted bottleneck"
    lengths = " + ".join(str(len(stage.blocks)) for stage in supernet.stages)
    seen = [f"{len(found.blocks)} {kind} blocks in {len(supernet.stages)} stages: {lengths}"]
    if kernels:
        seen.append(f"depthwise kernels of size {', '.join(map(str, kernels))}")
    squeezes = sum("se_reduce" in block.convs for block in found.blocks)
    if squeezes:
        seen.append(f"squeeze-and-excitation in {squeezes} blocks")
    if found.stem:
        seen.append("a stem of three convolutions, the middle one with an identity around it")
    seen.append("batch normalization is folded" if supernet.bn_folded else "batch normalization is kept")
    return tuple(seen)


def _unknown(supernet: Supernet, found: Found, ratio: float | None, size: int | None) -> tuple[str, ...]:
    unknown = ["kernel_sizes, expand_ratios, depths: the choices that were trained; the draft holds the usual ones around the maximum"]
    if ratio is None:
        unknown.append("expand_ratios: no usual ratio gives the widths that were found; the divisor may be another")
    if size is None:
        unknown.append("image_size: the input does not state one; the draft says 224")
    if found.bottlenecks:
        unknown.append("width_mults and every out_choices: the smaller widths; base_depth: how many blocks of a stage always stay")
        if not found.stem:
            unknown.append("stem: it is not of the form conv, conv with an identity around it, conv; the draft leaves it as it is")
        if found.classifier is None:
            unknown.append("classifier: no Gemm or MatMul takes the last stage's channels")
    else:
        unknown.append("transforms: the kernel matrices are in the checkpoint only; without them smaller kernels are centre crops")
    if any(b.input != a.output for a, b in zip(found.blocks, found.blocks[1:], strict=False)):
        unknown.append("stages: something lies between two blocks, so their numbering may not be that of the training")
    if any(len(stage.blocks) != len(supernet.stages[0].blocks) for stage in supernet.stages) and not found.bottlenecks:
        unknown.append("stages: they differ in length; neighbouring stages of equal width and stride 1 look like one")
    unknown.append("whether channels are sorted by importance")
    return tuple(unknown)
