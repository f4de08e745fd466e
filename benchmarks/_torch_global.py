"""Torch-Pruning's global magnitude pruning of an ONNX model, at many ratios, each exported to ONNX. Started by allocation.py.

    python benchmarks/_torch_global.py MODEL.onnx OUT --ratios 0.1 0.2 ... [--round-to 8]

Needs torch, torch-pruning and onnx. The model becomes a torch module operator by operator (convolutional networks for classification; another operator is
an error that names it). Prints one line of JSON: {"made": {ratio: file}, "failed": {ratio: why}} or {"why": ...}.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path

import onnx
import torch
import torch_pruning
from onnx import helper, numpy_helper
from torch import nn
from torch.nn import functional


class FromOnnx(nn.Module):
    """Convolutions and products are modules, with the model's weights; the rest is computed by functions."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        super().__init__()
        weights = {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer}
        self.output = graph.output[0].name
        self.input = next(value.name for value in graph.input if value.name not in weights)
        self.layers = nn.ModuleDict()
        self.steps = []
        for number, node in enumerate(graph.node):
            attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
            name = f"layer{number}"
            if node.op_type == "Conv":
                self.layers[name] = convolution(weights, node, attributes)
            elif node.op_type == "Gemm":
                self.layers[name] = product(weights, node, attributes)
            operator = node.op_type
            if operator == "Reshape" and weights[node.input[1]].numel() == 2:  # to rows, whose length changes with the channels
                operator = "Flatten"
            self.steps.append((operator, name, [value for value in node.input if value not in weights], node.output[0], attributes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = {self.input: x}
        for operator, name, inputs, output, attributes in self.steps:
            given = [values[value] for value in inputs]
            values[output] = self.layers[name](*given) if name in self.layers else computed(operator, given, attributes)
        return values[self.output]


class SamePad(nn.Module):
    """Pads so that a window with these strides gives ceil(size / stride) places, more at the end (SAME_UPPER)."""

    def __init__(self, kernel: list[int], strides: list[int]) -> None:
        super().__init__()
        self.kernel, self.strides = kernel, strides

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pads = []
        for size, kernel, stride in zip(x.shape[2:], self.kernel, self.strides, strict=True):
            missing = max((-(-int(size) // stride) - 1) * stride + kernel - int(size), 0)
            pads = [missing // 2, missing - missing // 2, *pads]
        return functional.pad(x, pads)


def convolution(weights: dict[str, torch.Tensor], node: onnx.NodeProto, attributes: dict) -> nn.Module:
    weight = weights[node.input[1]]
    kernel, groups = list(weight.shape[2:]), attributes.get("group", 1)
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    made = nn.Conv2d(
        weight.shape[1] * groups,
        weight.shape[0],
        kernel,
        attributes.get("strides", [1, 1]),
        (top, left) if (top, left) == (bottom, right) else 0,
        attributes.get("dilations", [1, 1]),
        groups,
        bias=len(node.input) > 2,
    )
    made.weight.data = weight
    if len(node.input) > 2:
        made.bias.data = weights[node.input[2]]
    if attributes.get("auto_pad", b"NOTSET") == b"SAME_UPPER":
        return nn.Sequential(SamePad(kernel, list(made.stride)), made)
    return made if (top, left) == (bottom, right) else nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), made)


def product(weights: dict[str, torch.Tensor], node: onnx.NodeProto, attributes: dict) -> nn.Module:
    weight = weights[node.input[1]] if attributes.get("transB", 0) else weights[node.input[1]].T.contiguous()
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=len(node.input) > 2)
    made.weight.data = weight
    if len(node.input) > 2:
        made.bias.data = weights[node.input[2]]
    return made


def computed(operator: str, given: list[torch.Tensor], attributes: dict) -> torch.Tensor:
    if operator == "Relu":
        return functional.relu(given[0])
    if operator == "Add":
        return given[0] + given[1]
    if operator == "GlobalAveragePool":
        return functional.adaptive_avg_pool2d(given[0], 1)
    if operator == "AveragePool" and not any(attributes.get("pads", [0])):
        return functional.avg_pool2d(given[0], attributes["kernel_shape"], attributes["strides"])
    if operator == "MaxPool" and not any(attributes.get("pads", [0])):
        return functional.max_pool2d(given[0], attributes["kernel_shape"], attributes["strides"])
    if operator == "Flatten":
        return torch.flatten(given[0], 1)
    if operator == "Softmax":
        return functional.softmax(given[0], attributes.get("axis", -1))
    if operator == "ReduceMean":
        return given[0].mean((2, 3), keepdim=bool(attributes.get("keepdims", 1)))
    raise NotImplementedError(f"operator {operator}")


def pruned(graph: onnx.GraphProto, example: torch.Tensor, ratio: float, round_to: int | None) -> nn.Module:
    model = FromOnnx(graph).eval()
    last = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1:]
    pruner = torch_pruning.pruner.MagnitudePruner(
        model,
        example,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        global_pruning=True,
        pruning_ratio=ratio,
        max_pruning_ratio=0.9,
        round_to=round_to,
        ignored_layers=last,
    )
    pruner.step()
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--ratios", type=float, nargs="+", required=True)
    parser.add_argument("--round-to", type=int)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    graph = onnx.load(arguments.model).graph
    made, failed = {}, {}
    try:
        model = FromOnnx(graph).eval()
        shape = [dim.dim_value or 1 for dim in next(v for v in graph.input if v.name == model.input).type.tensor_type.shape.dim]
        example = torch.zeros(shape)
        model(example)
    except (NotImplementedError, KeyError, RuntimeError) as error:
        print(json.dumps({"why": f"{type(error).__name__}: {error}"}))
        return
    for ratio in arguments.ratios:
        file = arguments.out / f"{ratio:.3f}.onnx"
        try:
            small = pruned(graph, example, ratio, arguments.round_to)
            names = {
                "input_names": [model.input],
                "output_names": [model.output],
                "dynamic_axes": {model.input: {0: "n"}, model.output: {0: "n"}},
            }
            torch.onnx.export(small, (example,), file, dynamo=False, opset_version=17, **names)
            made[ratio] = str(file)
        except Exception as error:  # a fact of the table
            failed[ratio] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    print(json.dumps({"made": made, "failed": failed}))


if __name__ == "__main__":
    main()
