"""How a published network is built again: a package, a constructor of it, options, and the side of the picture that it looks at."""

from __future__ import annotations

import re
from dataclasses import dataclass

PACKAGES = ("torchvision", "timm", "pytorchcv")


@dataclass(frozen=True)
class Recipe:
    """`torchvision:mobilenet_v2{width_mult=0.5}@192`: package, constructor, its options, side in pixels."""

    package: str
    constructor: str
    size: int
    options: tuple[tuple[str, float], ...] = ()

    def __str__(self) -> str:
        options = ",".join(f"{name}={value:g}" for name, value in self.options)
        return f"{self.package}:{self.constructor}{f'{{{options}}}' if options else ''}@{self.size}"

    @property
    def file(self) -> str:
        """What the exported graph is called in a folder of graphs."""
        return re.sub(r"[^\w.=-]+", "-", str(self)) + ".onnx"


def pip_recipe(equivalent: str, size: int) -> Recipe | None:
    """The recipe behind a cell of the tables' column `pip_equivalent`; None for an empty one, and for what it does not build."""
    generated = re.fullmatch(r"timm MobileNetV1 channel_multiplier=([\d.]+)", equivalent)
    if generated:
        return Recipe("timm", "mobilenetv1_100", size, (("channel_multiplier", float(generated[1])),))
    named = re.fullmatch(r"(torchvision|timm) ([\w.]+)(?:\(width_mult=([\d.]+)\))?", equivalent)
    if named is None:
        return None
    options = (("width_mult", float(named[3])),) if named[3] else ()
    return Recipe(named[1], named[2], size, options)
