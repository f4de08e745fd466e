"""What a model costs: parameters, multiply-accumulates, bytes, memory, and milliseconds on a target."""

from graphopt.cost.counts import Counts, count, macs_by_node, parameters, serialised_bytes
from graphopt.cost.fitting import fit_target
from graphopt.cost.installed import find_target, installed_targets
from graphopt.cost.memory import Memory, peak_memory
from graphopt.cost.network import SUMMANDS
from graphopt.cost.operators import Cost, operator_cost
from graphopt.cost.prediction import KernelTime, Prediction
from graphopt.cost.predictor import Predictor, predict
from graphopt.cost.sizes import KnownTypes, fixed_types
from graphopt.cost.target import Target
from graphopt.cost.traffic import Traffic, total_traffic, traffic_by_node
from graphopt.cost.width_tables import WidthTables
from graphopt.cost.widths import Widths
from graphopt.cost.worthwhile import SiteWidths, WidthAdvice, candidate_widths, predicted_widths, worthwhile_widths

__all__ = [
    "SUMMANDS",
    "Cost",
    "Counts",
    "KernelTime",
    "KnownTypes",
    "Memory",
    "Prediction",
    "Predictor",
    "SiteWidths",
    "Target",
    "Traffic",
    "WidthAdvice",
    "WidthTables",
    "Widths",
    "candidate_widths",
    "count",
    "find_target",
    "fit_target",
    "fixed_types",
    "installed_targets",
    "macs_by_node",
    "operator_cost",
    "parameters",
    "peak_memory",
    "predict",
    "predicted_widths",
    "serialised_bytes",
    "total_traffic",
    "traffic_by_node",
    "worthwhile_widths",
]
