from .counts import Counts, count, macs_by_node, parameters, serialised_bytes
from .fitting import fit_target
from .installed import find_target, installed_targets
from .memory import Memory, peak_memory
from .network import SUMMANDS
from .operators import Cost, operator_cost
from .prediction import KernelTime, Prediction
from .predictor import Predictor, predict
from .sizes import KnownTypes, fixed_types
from .target import Target
from .traffic import Traffic, total_traffic, traffic_by_node
from .width_tables import WidthTables
from .widths import Widths
from .worthwhile import SiteWidths, WidthAdvice, candidate_widths, predicted_widths, worthwhile_widths

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
