"""Building published networks again and exporting them to ONNX. Needs torch, torchvision, timm and pytorchcv, and only when it is used.

Weights are random: nothing here is trained or downloaded, and the graphs are only looked at for their kernels.
"""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

from graphopt.cost.fit.recipes import Recipe
from graphopt.errors import UnsupportedError

_OPSET = 17


def export(recipe: Recipe, folder: Path) -> Path:
    """The exported graph of a recipe in `folder`, made unless it lies there. Raises UnsupportedError where a package is missing."""
    path = folder / recipe.file
    if path.exists():
        return path
    torch = _package("torch")
    model = _build(recipe).eval()
    folder.mkdir(parents=True, exist_ok=True)
    half_made = path.with_suffix(".part")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        picture = torch.zeros(1, 3, recipe.size, recipe.size)
        torch.onnx.export(
            model, (picture,), str(half_made), opset_version=_OPSET, dynamo=False, input_names=["input"], output_names=["output"]
        )
    return half_made.rename(path)


def _build(recipe: Recipe) -> Any:
    options: dict[str, Any] = dict(recipe.options)
    package = _package(recipe.package)
    if recipe.package == "torchvision":
        if recipe.constructor in ("googlenet", "inception_v3"):
            options |= {"init_weights": False, "aux_logits": False}
        return _package("torchvision.models").get_model(recipe.constructor, weights=None, **options)
    if recipe.package == "timm":
        if "channel_multiplier" in options:  # a family that timm has one width of, by the generator behind it
            generator = _package("timm.models.efficientnet")._gen_mobilenet_v1
            return generator(recipe.constructor, pretrained=False, **options)
        return package.create_model(recipe.constructor, pretrained=False, exportable=True, **options)
    return _package("pytorchcv.model_provider").get_model(recipe.constructor, pretrained=False, **options)


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        wanted = "torch, torchvision, timm and pytorchcv"
        raise UnsupportedError(
            f"networks are rebuilt with {wanted}, and {name.partition('.')[0]} cannot be imported ({error}): "
            "install it, or give --graphs with exported graphs"
        ) from error
