"""The pass that takes a subnet out of a supernet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from graphopt.errors import DataError
from graphopt.ir import Graph
from graphopt.pipeline import Context, Pass, PassResult, parameter
from graphopt.supernet import Config, extract, load_config, load_supernet, load_transforms, recalibrate, transforms_beside


@dataclass(frozen=True)
class ExtractSubnet(Pass):
    """Take the subnet of a configuration out of an elastic supernet: depths, widths, kernels, resolution (docs/supernets.md)."""

    name: ClassVar[str] = "extract-subnet"

    supernet: str = parameter(help="side file that describes the supernet, JSON")
    config: str | None = parameter(None, help="configuration of the subnet, JSON; without one the largest network stays")
    transforms: str | None = parameter(None, help=".npz file of kernel transforms; else the one that the side file names, beside it")
    sort_channels: str | None = parameter(None, choices=("l1",), help="sort channels by importance first, as the configuration's key does")
    recalibrate: bool = parameter(False, help="compute batch normalization statistics anew from the data")

    def apply(self, graph: Graph, context: Context) -> PassResult:
        if self.recalibrate and context.data is None:
            raise DataError(f"{self.name}: recalibrate needs data; give it with --data")
        supernet = load_supernet(self.supernet)
        config = Config() if self.config is None else load_config(self.config)
        if self.sort_channels is not None:
            config = replace(config, sort_channels=self.sort_channels)
        transforms = transforms_beside(supernet) if self.transforms is None else load_transforms(self.transforms)
        done = extract(graph, supernet, config, transforms, context.permit)
        summary, changed = dict(done.summary), done.changed
        if self.recalibrate and context.data is not None and context.permit("compute batch normalization statistics anew"):
            summary["recalibrated"] = recalibrate(graph, context.data)
            changed = True
        if done.notes:
            summary["note"] = "; ".join(done.notes)
        return PassResult(changed, summary, done.kept)
