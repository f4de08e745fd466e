"""From a module of the published `ofa` package to what extraction needs: the largest network as ONNX, its side file, the transforms."""

from __future__ import annotations

import copy
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from graphopt.errors import SupernetError, UnsupportedError
from graphopt.ir import load
from graphopt.ir.files import atomic_file, write_atomically
from graphopt.supernet import Block, Stage, StemConv, Supernet
from graphopt.supernet.draft import draft_supernet, to_document
from graphopt.supernet.family import MBV3, PROXYLESS, RESNET

_EXPORTERS = ("torchscript", "dynamo")


@dataclass(frozen=True)
class ExportedSupernet:
    """The files that were written; `transforms` is None where the supernet has no kernel transforms."""

    model: Path
    side_file: Path
    transforms: Path | None


def export_supernet(
    module: Any,
    folder: str | os.PathLike[str],
    *,
    image_size: int = 224,
    exporter: str = "torchscript",
    keep_bn: bool = True,
    opset: int = 18,
) -> ExportedSupernet:
    """Write `supernet.onnx`, `supernet.json` and, where there are kernel matrices, `transforms.npz` into `folder`.

    `module` is an OFAMobileNetV3, OFAProxylessNASNets or OFAResNets of the package `ofa`; it is left as it was. The batch size is free.
    `keep_bn` keeps BatchNormalization nodes, which sorting and recalibration need; otherwise PyTorch folds them. Raises SupernetError where
    the exported graph is not what the module says, UnsupportedError without torch.
    """
    if exporter not in _EXPORTERS:
        raise SupernetError(f"exporter must be one of {', '.join(_EXPORTERS)}, not {exporter!r}")
    _family(module)
    elastic = copy.deepcopy(module).eval()
    elastic.set_max_net()
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    model = target / "supernet.onnx"
    _export(elastic.get_active_subnet(preserve_weight=True).eval(), model, image_size, exporter, keep_bn, opset)
    supernet, matrices = describe(elastic, model, image_size)
    transforms = target / "transforms.npz" if matrices else None
    if transforms is not None:
        with atomic_file(transforms) as file:
            np.savez(file, **matrices)  # type: ignore[arg-type]  # numpy's stubs take every keyword for allow_pickle
        supernet = replace(supernet, transforms=transforms.name)
    side_file = target / "supernet.json"
    write_atomically(side_file, (json.dumps(to_document(supernet), indent=1) + "\n").encode())
    return ExportedSupernet(model, side_file, transforms)


def describe(module: Any, model: str | os.PathLike[str], image_size: int) -> tuple[Supernet, dict[str, npt.NDArray[Any]]]:
    """The description of an elastic module whose largest network was exported to `model`, and its kernel matrices by key.

    The blocks are found in the graph and matched with the module's by their order; stages and choices are the module's.
    """
    draft = draft_supernet(load(model), Path(model).name)
    if draft is None:
        raise SupernetError(f"no blocks were found in {os.fspath(model)}")
    family, blocks = _family(module), tuple(draft.supernet.blocks)
    groups = [list(group) for group in module.grouped_block_index]
    first = groups[0][0]  # the block before it is fixed in the inverted bottleneck families
    if sum(len(group) for group in groups) != len(blocks):
        raise SupernetError(f"{os.fspath(model)} shows {len(blocks)} blocks, and the module has {sum(map(len, groups))} elastic ones")
    resnet = family == RESNET
    stages = []
    for number, group in enumerate(groups):
        part = tuple(blocks[index - first] for index in group)
        stages.append(_resnet_stage(module, number, group, part) if resnet else Stage(number, 0, part))
    supernet = replace(
        draft.supernet,
        family=family,
        image_size=image_size,
        stages=tuple(stages),
        kernel_sizes=(3,) if resnet else tuple(module.ks_list),
        expand_ratios=tuple(module.expand_ratio_list),
        depths=tuple(module.depth_list),
        divisor=int(getattr(module, "CHANNEL_DIVISIBLE", 8)),
        se_reduction=next((int(part.reduction) for part in module.modules() if hasattr(part, "reduction")), 4),
        width_mults=tuple(module.width_mult_list) if resnet else (),
        stem=_stem(module, draft.supernet.stem) if resnet else (),
    )
    matrices = {} if resnet else _matrices(module, first, blocks)
    return supernet, matrices


def _family(module: Any) -> str:
    if hasattr(module, "input_stem"):
        return RESNET
    if not hasattr(module, "block_group_info"):
        raise SupernetError(f"{type(module).__name__} is no OFAMobileNetV3, OFAProxylessNASNets or OFAResNets of the package ofa")
    return MBV3 if hasattr(module, "final_expand_layer") else PROXYLESS


def _resnet_stage(module: Any, number: int, group: list[int], blocks: tuple[Block, ...]) -> Stage:
    choices = tuple(int(width) for width in module.blocks[group[0]].out_channel_list)
    return Stage(number + 1, len(group) - max(module.depth_list), blocks, number + 2, choices)


def _stem(module: Any, found: tuple[StemConv, ...]) -> tuple[StemConv, ...]:
    if len(found) != 3:
        raise SupernetError("the stem of the exported ResNet was not recognised")
    outer, last = (tuple(int(width) for width in module.input_stem[place].out_channel_list) for place in (0, 2))
    return replace(found[0], out_choices=outer), replace(found[1], out_choices=outer), replace(found[2], out_choices=last)


def _matrices(module: Any, first: int, blocks: tuple[Block, ...]) -> dict[str, npt.NDArray[Any]]:
    """The kernel matrices by `<depthwise weight>.7to5_matrix`."""
    found = {}
    for place, block in enumerate(blocks):
        conv = module.blocks[first + place].conv.depth_conv.conv
        for name, matrix in conv.named_parameters():
            if name.endswith("_matrix"):
                found[f"{block.convs['depthwise'].weight}.{name}"] = matrix.detach().cpu().numpy()
    return found


def _export(network: Any, path: Path, image_size: int, exporter: str, keep_bn: bool, opset: int) -> None:
    try:
        import torch
    except ImportError:
        raise UnsupportedError("export_supernet needs PyTorch; install graphopt with the extra `torch`") from None
    example = (torch.zeros(2, 3, image_size, image_size),)
    names = {"input_names": ["input"], "output_names": ["output"], "opset_version": opset}
    if exporter == "dynamo":
        batch = torch.export.Dim("batch")
        torch.onnx.export(
            network,
            example,
            path,
            dynamo=True,
            optimize=not keep_bn,
            dynamic_shapes=({0: batch},),
            external_data=False,
            verbose=False,
            **names,
        )
        return
    mode = torch.onnx.TrainingMode.PRESERVE if keep_bn else torch.onnx.TrainingMode.EVAL
    axes = {"input": {0: "batch"}, "output": {0: "batch"}}
    torch.onnx.export(network, example, path, dynamo=False, training=mode, do_constant_folding=not keep_bn, dynamic_axes=axes, **names)
