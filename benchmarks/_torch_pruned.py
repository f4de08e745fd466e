"""An ONNX model through Torch-Pruning down to shares of its multiply-accumulates. Runs in the interpreter that has torch.

    PYTHON benchmarks/_torch_pruned.py MODEL.onnx OUT MACS [MACS ...]

For every share and each of Torch-Pruning's two ways to spread a cut (the same share of every group; the least important channels of all
groups), with its usual importance (the magnitude of a group's weights), OUT/SPREAD_SHARE.onnx is written. The last line is a JSON list of
{"spread", "macs", "file"}, the MACs as they came out. No data is used: that is what Torch-Pruning does without fine-tuning.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import warnings
from pathlib import Path

import onnx
import torch
import torch_pruning
from _onnx_to_torch import Converted
from torch import nn

_STEPS = 10  # halvings of the interval in which the ratio is searched


def example(model):
    """One sample of zeros for each input."""
    constants = {tensor.name for tensor in model.graph.initializer}
    sizes = [
        [max(dim.dim_value, 1) for dim in value.type.tensor_type.shape.dim] for value in model.graph.input if value.name not in constants
    ]
    return tuple(torch.zeros(1, *size[1:]) for size in sizes)


def pruned(module, inputs, ratio, spread):
    """A copy with `ratio` of its channels gone."""
    module = copy.deepcopy(module)
    for parameter in module.parameters():
        parameter.requires_grad_(True)
    last = [layer for layer in module.modules() if isinstance(layer, nn.Linear)][-1:]
    pruner = torch_pruning.pruner.MagnitudePruner(
        module,
        example_inputs=inputs,
        importance=torch_pruning.importance.MagnitudeImportance(p=2),
        pruning_ratio=ratio,
        max_pruning_ratio=0.95,
        global_pruning=spread == "global",
        ignored_layers=last,
        round_to=4,
    )
    pruner.step()
    return module.eval()


def macs(module, inputs):
    return torch_pruning.utils.count_ops_and_params(module, inputs)[0]


def nearest(module, inputs, share, spread):
    """The cut whose multiply-accumulates come nearest to `share` of the module's, and its share."""
    whole, low, high, best = macs(module, inputs), 0.0, 1.0, None
    for _ in range(_STEPS):
        ratio = (low + high) / 2
        found = pruned(module, inputs, ratio, spread)
        left = macs(found, inputs) / whole
        if best is None or abs(left - share) < abs(best[1] - share):
            best = found, left
        low, high = (ratio, high) if left > share else (low, ratio)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    parser.add_argument("macs", type=float, nargs="+")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    model = onnx.load(options.model)
    module, inputs = Converted(model), example(model)
    table = []
    for spread in ("uniform", "global"):
        for share in options.macs:
            found, left = nearest(module, inputs, share, spread)
            path = options.out / f"{spread}_{share}.onnx"
            torch.onnx.export(
                found,
                tuple(torch.cat([array, array]) for array in inputs),
                path,
                input_names=found.inputs,
                output_names=found.outputs,
                dynamic_shapes={"arrays": tuple({0: torch.export.Dim("n")} for _ in inputs)},
                dynamo=True,
                external_data=False,
                verbose=False,
            )
            table.append({"spread": spread, "macs": left, "file": str(path)})
    print(json.dumps(table))


if __name__ == "__main__":
    main()
