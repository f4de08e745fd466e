"""Running models in ONNX Runtime: input data, metrics, latency."""

from .inputs import LABELS, Data, load_data, synthetic_inputs
from .measure import Latency, measure
from .metrics import Fidelity, Metric, find_metric, predict, top1
from .runtime import Model, default_threads, run, session

__all__ = [
    "LABELS",
    "Data",
    "Fidelity",
    "Latency",
    "Metric",
    "Model",
    "default_threads",
    "find_metric",
    "load_data",
    "measure",
    "predict",
    "run",
    "session",
    "synthetic_inputs",
    "top1",
]
