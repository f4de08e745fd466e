"""One torch module through Torch-Pruning, timed; prints one line of JSON. Runs in the interpreter that has torch; started by coverage.py.

    PYTHON benchmarks/_torch_pruning.py EXPORT_SCRIPT SPEC [--ratio 0.5] [--repeats 3]

EXPORT_SCRIPT defines `build(spec)`, which returns a module and its example inputs. Everything that Torch-Pruning's own examples set by hand is
set here: layers that produce the outputs are ignored, `num_heads` is given for the projections of every attention module, and the attributes
that state sizes are put right after the cut. Success is theirs: the forward pass runs (whether the outputs keep their shapes is told apart).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import time
import warnings

import torch
import torch_pruning
from torch import nn

_ENOUGH = 10.0  # seconds: no further repeat after so long
_SEPARATE = (("query", "key", "value"), ("q_proj", "k_proj", "v_proj"), ("q", "k", "v"))
_PACKED = (("qkv",), ("qkv_proj",), ("to_qkv",))
_HEADS = ("num_attention_heads", "num_heads", "n_heads")
_HEAD_DIMS = ("head_dim", "attention_head_size", "key_value_proj_dim")
_WIDTHS = ("all_head_size", "inner_dim", "attn_dim")


def load_builder(script):
    spec = importlib.util.spec_from_file_location("export_zoo", script)
    module = importlib.util.module_from_spec(spec)
    sys.modules["export_zoo"] = module
    spec.loader.exec_module(module)
    return module.build


def tensors(out):
    """The tensors of whatever a model returns."""
    if torch.is_tensor(out):
        return [out]
    if hasattr(out, "to_tuple"):
        out = out.to_tuple()
    parts = out.values() if isinstance(out, dict) else out if isinstance(out, (list, tuple)) else ()
    return [tensor for part in parts for tensor in tensors(part)]


def output_layers(model, outputs):
    """The Linear and Conv modules from which the outputs come without another one in between: those that must keep their widths."""
    owners = {id(m.weight): m for m in model.modules() if isinstance(m, (nn.Linear, nn.modules.conv._ConvNd))}
    found, seen, stack = [], set(), [out.grad_fn for out in outputs if out.grad_fn is not None]
    while stack:
        function = stack.pop()
        if function in seen:
            continue
        seen.add(function)
        sources = [source for source, _ in function.next_functions if source is not None]
        near = (*sources, *(source for function in sources for source, _ in function.next_functions if source is not None))
        own = [owners[id(leaf.variable)] for leaf in near if id(getattr(leaf, "variable", None)) in owners]
        found += own
        stack += [] if own else sources
    return list(dict.fromkeys(found))


def attention(model):
    """(module, heads, projections) of every attention module."""
    for module in model.modules():
        heads = next((getattr(module, name) for name in _HEADS if isinstance(getattr(module, name, None), int)), None)
        if heads is None and hasattr(module, "config") and hasattr(module, "q_proj"):
            heads = module.config.num_attention_heads
        for names in (*_PACKED, *_SEPARATE):
            projections = [getattr(module, name, None) for name in names]
            if heads is not None and all(isinstance(projection, nn.Linear) for projection in projections):
                yield module, heads, projections
                break


def prune(model, inputs, ratio):
    """Prune in place, and say how many seconds building the pruner and its step took."""
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    ignored = output_layers(model, tensors(model(*inputs)))
    heads, rotary = {}, False
    for module, count, projections in attention(model):
        heads |= dict.fromkeys(projections, count)
        if getattr(module, "num_key_value_groups", 1) > 1:
            rotary = True
            heads |= dict.fromkeys(projections[1:], count // module.num_key_value_groups)
    options = {}
    if rotary:  # as in the example for LLMs: rotary embeddings fix the size of a head, so whole heads go
        options = {"prune_num_heads": True, "prune_head_dims": False, "head_pruning_ratio": ratio}
    self_attention = [module for module in model.modules() if isinstance(module, nn.MultiheadAttention)]
    if self_attention:
        options["round_to"] = self_attention[0].num_heads  # as in the example for torchvision
    start = time.perf_counter()
    pruner = torch_pruning.pruner.MagnitudePruner(
        model,
        example_inputs=inputs if len(inputs) > 1 or not inputs[0].is_floating_point() else inputs[0],
        importance=torch_pruning.importance.MagnitudeImportance(p=2),
        pruning_ratio=ratio,
        ignored_layers=ignored,
        num_heads=heads,
        output_transform=tensors,
        in_channel_groups={},
        out_channel_groups={},
        **options,
    )
    pruner.step()
    seconds = time.perf_counter() - start
    put_right(model, pruner)
    return seconds


def put_right(model, pruner):
    """State the new sizes where modules keep them, as the examples do by hand."""
    for module, _, projections in attention(model):
        width = projections[0].out_features // (1 if len(projections) == 3 else 3)
        heads = pruner.num_heads.get(projections[0])
        if not heads:
            continue
        for names, size in ((_HEADS, heads), (_HEAD_DIMS, width // heads), (_WIDTHS, width)):
            for name in names:
                if hasattr(module, name):
                    setattr(module, name, size)
        if hasattr(module, "num_key_value_groups"):
            module.num_key_value_groups = heads // pruner.num_heads[projections[1]]
    if hasattr(model, "conv_proj") and hasattr(model, "hidden_dim"):
        model.hidden_dim = model.conv_proj.out_channels


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("script")
    parser.add_argument("spec")
    parser.add_argument("--ratio", type=float, default=0.5)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    os.environ["TIMM_FUSED_ATTN"] = "0"  # as in Torch-Pruning's example for timm
    warnings.filterwarnings("ignore")
    build = load_builder(options.script)
    found = {"works": False, "stage": "build"}
    try:
        seconds = []
        began = time.perf_counter()
        while len(seconds) < options.repeats and time.perf_counter() - began < _ENOUGH:
            model, inputs = build(options.spec)
            if hasattr(model, "set_attn_implementation"):
                model.set_attn_implementation("eager")
            found["stage"] = "forward before"
            before = sum(parameter.numel() for parameter in model.parameters())
            shapes = [out.shape for out in tensors(model(*inputs))]
            found["stage"] = "prune"
            seconds.append(prune(model, inputs, options.ratio))
        found |= {"seconds": statistics.median(seconds), "stage": "forward after"}
        found["left"] = sum(parameter.numel() for parameter in model.parameters()) / before
        with torch.no_grad():
            after = tensors(model(*inputs))
        found |= {"works": True, "shapes": [out.shape for out in after] == shapes}
    except Exception as error:  # a fact of the table
        found["why"] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    print(json.dumps(found))


if __name__ == "__main__":
    main()
