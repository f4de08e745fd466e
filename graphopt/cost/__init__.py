"""What a model costs: parameters, multiply-accumulates, bytes."""

from graphopt.cost.counts import Counts, count, macs_by_node, parameters, serialised_bytes
from graphopt.cost.sizes import KnownTypes, fixed_types

__all__ = ["Counts", "KnownTypes", "count", "fixed_types", "macs_by_node", "parameters", "serialised_bytes"]
