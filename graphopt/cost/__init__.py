"""What a model costs: parameters, multiply-accumulates, bytes."""

from .counts import Counts, count, macs_by_node, parameters, serialised_bytes
from .sizes import KnownTypes, fixed_types

__all__ = ["Counts", "KnownTypes", "count", "fixed_types", "macs_by_node", "parameters", "serialised_bytes"]
