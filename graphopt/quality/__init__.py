"""Running models in ONNX Runtime: input data, metrics, latency."""

from graphopt.quality.inputs import LABELS, Data, load_data, synthetic_inputs
from graphopt.quality.measure import Latency, measure
from graphopt.quality.metrics import Fidelity, Metric, find_metric, predict, top1
from graphopt.quality.runtime import Model, default_threads, run, session

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
