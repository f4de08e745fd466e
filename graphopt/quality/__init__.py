"""Running models in ONNX Runtime: input data, metrics, latency."""

from graphopt.quality.inputs import Data, load_data, synthetic_inputs
from graphopt.quality.measure import Latency, measure
from graphopt.quality.metrics import METRICS, Fidelity, Metric, find_metric, needs_original, predict, top1
from graphopt.quality.runtime import Model, default_threads, run, session
from graphopt.quality.sources import LABELS, Source

__all__ = [
    "LABELS",
    "METRICS",
    "Data",
    "Fidelity",
    "Latency",
    "Metric",
    "Model",
    "Source",
    "default_threads",
    "find_metric",
    "load_data",
    "measure",
    "needs_original",
    "predict",
    "run",
    "session",
    "synthetic_inputs",
    "top1",
]
