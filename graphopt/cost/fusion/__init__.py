"""Which kernels a runtime executes for a graph: rules as data (TOML), and the engine that applies them."""

from graphopt.cost.fusion.fused import Fused, fuse, kernels
from graphopt.cost.fusion.load import load_rules
from graphopt.cost.fusion.rules import FusionRules

__all__ = ["Fused", "FusionRules", "fuse", "kernels", "load_rules"]
