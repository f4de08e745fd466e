"""Running models in ONNX Runtime: input data, metrics, latency."""

from graphopt.quality.deadline import check_time, until
from graphopt.quality.inputs import Data, load_data, synthetic_inputs
from graphopt.quality.measure import Latency, measure
from graphopt.quality.metrics import METRICS, Fidelity, Metric, find_metric, needs_original, predict, top1
from graphopt.quality.resample import fitted, fitted_arrays, input_shapes, resample
from graphopt.quality.runtime import Model, run, session
from graphopt.quality.sources import LABELS, Source
from graphopt.quality.split import PARTS, SHARES, split
from graphopt.quality.threads import at_most, default_threads, one_blas_thread

__all__ = [
    "LABELS",
    "METRICS",
    "PARTS",
    "SHARES",
    "Data",
    "Fidelity",
    "Latency",
    "Metric",
    "Model",
    "Source",
    "at_most",
    "check_time",
    "default_threads",
    "find_metric",
    "fitted",
    "fitted_arrays",
    "input_shapes",
    "load_data",
    "measure",
    "needs_original",
    "one_blas_thread",
    "predict",
    "resample",
    "run",
    "session",
    "split",
    "synthetic_inputs",
    "top1",
    "until",
]
