"""Torch-Pruning's global magnitude pruning of an ONNX model, at many ratios, each exported to ONNX. Started by allocation.py.

    python benchmarks/_torch_global.py MODEL.onnx OUT --ratios 0.1 0.2 ... [--round-to 8]

Needs torch, torch-pruning and onnx. _onnx_to_torch.py makes a torch module of the model. Prints one line of JSON:
{"made": {ratio: file}, "failed": {ratio: why}} or {"why": ...}.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path

import onnx
import torch
import torch_pruning
from _onnx_to_torch import Converted
from torch import nn


def pruned(model: onnx.ModelProto, example: torch.Tensor, ratio: float, round_to: int | None) -> nn.Module:
    made = Converted(model)
    last = [layer for layer in made.modules() if isinstance(layer, nn.Linear)][-1:]
    pruner = torch_pruning.pruner.MagnitudePruner(
        made,
        example,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        global_pruning=True,
        pruning_ratio=ratio,
        max_pruning_ratio=0.9,
        round_to=round_to,
        ignored_layers=last,
    )
    pruner.step()
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--ratios", type=float, nargs="+", required=True)
    parser.add_argument("--round-to", type=int)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    graph = onnx.load(arguments.model)
    made, failed = {}, {}
    try:
        model = Converted(graph)
        source, output = model.inputs[0], model.outputs[0]
        shape = [dim.dim_value or 1 for dim in next(v for v in graph.graph.input if v.name == source).type.tensor_type.shape.dim]
        example = torch.zeros(shape)
        model(example)
    except (ValueError, KeyError, RuntimeError) as error:
        print(json.dumps({"why": f"{type(error).__name__}: {error}"}))
        return
    for ratio in arguments.ratios:
        file = arguments.out / f"{ratio:.3f}.onnx"
        try:
            small = pruned(graph, example, ratio, arguments.round_to)
            names = {
                "input_names": [source],
                "output_names": [output],
                "dynamic_axes": {source: {0: "n"}, output: {0: "n"}},
            }
            torch.onnx.export(small, (example,), file, dynamo=False, opset_version=17, **names)
            made[ratio] = str(file)
        except Exception as error:  # a fact of the table
            failed[ratio] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    print(json.dumps({"made": made, "failed": failed}))


if __name__ == "__main__":
    main()
