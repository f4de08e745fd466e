"""Quality as one number, higher is better: accuracy, fidelity to the original model, or a function of the user's."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from graphopt.errors import DataError, GraphoptError
from graphopt.quality.arrays import AnyArray
from graphopt.quality.inputs import Data
from graphopt.quality.runtime import run

Metric = Callable[[ort.InferenceSession, Data], float]


def predict(session: ort.InferenceSession, data: Data) -> dict[str, AnyArray]:
    """The model's outputs for all of `data`, by name; those of several runs are joined along axis 0.

    Outputs without axes become one number per run; outputs whose other sizes differ from run to run (detections) are flattened first.
    Raises RuntimeRefusedError.
    """
    runs = [run(session, feeds) for feeds in data.runs()]
    if len(runs) == 1:
        return runs[0]
    return {name: _joined([outputs[name] for outputs in runs if name in outputs]) for name in dict.fromkeys(n for r in runs for n in r)}


def _joined(parts: list[AnyArray]) -> AnyArray:
    if parts[0].ndim == 0:
        return np.stack(parts)
    same = all(part.shape[1:] == parts[0].shape[1:] for part in parts)
    return np.concatenate(parts if same else [part.reshape(-1) for part in parts])


def top1(session: ort.InferenceSession, data: Data) -> float:
    """The share, 0 to 1, of labels that the model's first output gives.

    The output holds one score per class, along axis 1 or else along the last axis, or is the class itself: its shape without the class
    axis, or its whole shape, must be that of the labels. Raises DataError where there are no labels or they do not fit.
    """
    if data.labels is None:
        raise DataError("top1 needs labels: an array 'labels' in the data file, one class index per sample")
    if data.labels.dtype.kind not in "iub":
        raise DataError(f"top1 needs class indices as labels, but the labels are {data.labels.dtype}")
    name = session.get_outputs()[0].name
    outputs = predict(session, data)
    if name not in outputs:
        raise DataError(f"top1 needs a tensor as the first output; {name!r} is none")
    scores, wanted = outputs[name], data.labels.shape
    if scores.shape == wanted and scores.dtype.kind in "iub":
        classes = scores
    elif scores.ndim >= 2 and scores.shape[:1] + scores.shape[2:] == wanted:
        classes = scores.argmax(axis=1)
    elif scores.ndim >= 2 and scores.shape[:-1] == wanted:
        classes = scores.argmax(axis=-1)
    else:
        raise DataError(f"top1: output {name!r} has shape {list(scores.shape)}, which does not fit labels of shape {list(wanted)}")
    return float(np.mean(classes == data.labels))


@dataclass(frozen=True)
class Fidelity:
    """How near a model's outputs are to `reference`, the original's outputs for the same data: 1 the same, 0 nothing in common.

    Per sample (a row along axis 0) of a floating-point output, 1 - |y - r| / |r| with the Euclidean norm, at least 0: the share of the
    original's answer that is still there. It means the same for logits, boxes, embeddings and pixels, needs no labels, falls smoothly
    (agreement of the largest class would not move until a decision flips), and does not depend on the output's scale. An output that is
    0 everywhere scores 1, and so do infinities and NaN in the same places as the original's; where only one of both is finite: 0. Outputs
    of other types score the share of equal elements per sample. Means over samples, then over outputs. An output of another shape
    (detections) scores 0.
    """

    reference: Mapping[str, AnyArray]

    def __call__(self, session: ort.InferenceSession, data: Data) -> float:
        return self.of(predict(session, data))

    def of(self, outputs: Mapping[str, AnyArray]) -> float:
        """The fidelity of outputs that are already there. Raises DataError where one is missing."""
        if missing := [name for name in self.reference if name not in outputs]:
            raise DataError(f"fidelity: the model has no output {missing[0]!r}, which the original has")
        scores = [_agreement(outputs[name], reference) for name, reference in self.reference.items()]
        return float(np.mean(scores)) if scores else 1.0


def _agreement(output: AnyArray, reference: AnyArray) -> float:
    if output.shape != reference.shape:
        return 0.0
    if not reference.size:
        return 1.0
    rows = (reference.shape[0], -1) if reference.ndim > 1 else (-1, 1) if reference.ndim == 1 else (1, 1)
    y, r = output.reshape(rows), reference.reshape(rows)
    if r.dtype.kind in "iubOSU":
        return float(np.mean(y == r))
    wide = np.complex128 if r.dtype.kind == "c" else np.float64
    y, r = y.astype(wide), r.astype(wide)
    same = (y == r) | (np.isnan(y) & np.isnan(r))
    broken = ~same & ~(np.isfinite(y) & np.isfinite(r))
    with np.errstate(invalid="ignore"):
        error = np.linalg.norm(np.where(same | broken, 0, y - r), axis=1)
    size = np.linalg.norm(np.where(np.isfinite(r), r, 0), axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(error == 0, 0, error / size)  # an error where the original is 0 is infinitely large
    return float(np.mean(np.where(broken.any(axis=1), 0, np.maximum(0, 1 - relative))))


def find_metric(name: str, reference: Mapping[str, AnyArray] | None = None) -> Metric:
    """The metric `top1`, `fidelity` (against the original's outputs, `reference`), or `module:function` of the user's.

    A user's function is called with an `onnxruntime.InferenceSession` and the `Data`, and returns a number, higher is better. Its module is
    looked for in the current folder too. Raises DataError where there is no such metric; what a user's function raises or returns other
    than a finite number becomes a DataError.
    """
    if name == "top1":
        return top1
    if name == "fidelity":
        if reference is None:
            raise DataError("fidelity needs the original model's outputs to compare with")
        return Fidelity(reference)
    module, colon, function = name.partition(":")
    if not (module and colon and function):
        raise DataError(f"there is no metric {name!r}; give top1, fidelity or module:function")
    return _guarded(name, _imported(name, module, function))


def _imported(name: str, module: str, function: str) -> Callable[..., Any]:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module)
        for part in function.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise DataError(f"metric {name!r} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        if here in sys.path:
            sys.path.remove(here)
    if not callable(found):
        raise DataError(f"metric {name!r} is not a function but {type(found).__name__}")
    return found  # type: ignore[no-any-return]


def _guarded(name: str, function: Callable[..., Any]) -> Metric:
    def metric(session: ort.InferenceSession, data: Data) -> float:
        try:
            result = function(session, data)
            value = float(result)
        except GraphoptError:
            raise
        except Exception as error:
            raise DataError(f"metric {name!r} failed: {type(error).__name__}: {error}") from error
        if not math.isfinite(value):
            raise DataError(f"metric {name!r} returned {value}, which cannot be compared")
        return value

    return metric
