"""Quality as one number, higher is better: accuracy, fidelity to the original model, or a function of the user's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort

from graphopt.errors import DataError, GraphoptError
from graphopt.quality.arrays import AnyArray
from graphopt.quality.imports import imported, is_function_name
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
    labels, scores = _classified("top1", session, data)
    if scores.shape == labels.shape and scores.dtype.kind in "iub":
        return float(np.mean(scores == labels))
    return float(np.mean(_by_class("top1", scores, labels).argmax(axis=-1) == labels))


def top5(session: ort.InferenceSession, data: Data) -> float:
    """The share, 0 to 1, of labels among the five classes of highest score in the model's first output; shapes and errors as for top1."""
    labels, scores = _classified("top5", session, data)
    best = np.argsort(-_by_class("top5", scores, labels), axis=-1, kind="stable")[..., :5]
    return float(np.mean((best == labels[..., np.newaxis]).any(axis=-1)))


def _classified(metric: str, session: ort.InferenceSession, data: Data) -> tuple[AnyArray, AnyArray]:
    """The labels, and the model's first output. Raises DataError where they do not fit each other."""
    if data.labels is None:
        raise DataError(f"{metric} needs labels: an array 'labels' in the data file, one class index per sample")
    if data.labels.dtype.kind not in "iub":
        raise DataError(f"{metric} needs class indices as labels, but the labels are {data.labels.dtype}")
    name = session.get_outputs()[0].name
    outputs = predict(session, data)
    if name not in outputs:
        raise DataError(f"{metric} needs a tensor as the first output; {name!r} is none")
    scores, wanted = outputs[name], data.labels.shape
    if wanted not in (scores.shape, scores.shape[:1] + scores.shape[2:], scores.shape[:-1]):
        raise DataError(f"{metric}: output {name!r} has shape {list(scores.shape)}, which does not fit labels of shape {list(wanted)}")
    return data.labels, scores


def _by_class(metric: str, scores: AnyArray, labels: AnyArray) -> AnyArray:
    """The scores with the classes along the last axis."""
    if scores.ndim >= 2 and scores.shape[:1] + scores.shape[2:] == labels.shape:
        return np.moveaxis(scores, 1, -1)
    if scores.ndim >= 2 and scores.shape[:-1] == labels.shape:
        return scores
    raise DataError(
        f"{metric} needs a score per class, but the first output has the labels' own shape {list(scores.shape)}, {scores.dtype}"
    )


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


@dataclass(frozen=True)
class Cosine:
    """Mean cosine similarity, -1 to 1, of each sample's outputs with `reference`, the original's: blind to scale, unlike fidelity.

    Where both are 0 everywhere they count as equal. Means over samples, then over the floating-point outputs; an output of another shape
    scores 0.
    """

    reference: Mapping[str, AnyArray]

    def __call__(self, session: ort.InferenceSession, data: Data) -> float:
        return _mean_over_outputs("cosine", predict(session, data), self.reference, _cosine)


def _cosine(output: AnyArray, reference: AnyArray) -> float:
    if output.shape != reference.shape:
        return 0.0
    y, r = _samples(output), _samples(reference)
    sizes = np.linalg.norm(y, axis=1) * np.linalg.norm(r, axis=1)
    both_zero = (np.abs(y).max(axis=1, initial=0) == 0) & (np.abs(r).max(axis=1, initial=0) == 0)
    similar = np.where(both_zero, 1.0, (y * r).sum(axis=1) / np.where(sizes > 0, sizes, 1))
    return float(np.mean(np.nan_to_num(similar, nan=0.0)))


@dataclass(frozen=True)
class NegativeMse:
    """Minus the mean squared error of the outputs, so that higher is better.

    Against the data's labels where they are floating-point numbers in the shape of the first output, else against `reference`, the
    original's outputs (the mean over the floating-point ones). Raises DataError where neither is there or fits.
    """

    reference: Mapping[str, AnyArray] | None

    def __call__(self, session: ort.InferenceSession, data: Data) -> float:
        outputs = predict(session, data)
        if data.labels is not None and data.labels.dtype.kind == "f":
            first = session.get_outputs()[0].name
            return _mean_over_outputs("mse", outputs, {first: data.labels}, _negative_mse)
        if self.reference is None:
            raise DataError("mse needs labels that are floating-point numbers, or the original model's outputs to compare with")
        return _mean_over_outputs("mse", outputs, self.reference, _negative_mse)


def _negative_mse(output: AnyArray, wanted: AnyArray) -> float:
    if output.shape != wanted.shape:
        raise DataError(f"mse: an output of shape {list(output.shape)} cannot be compared with shape {list(wanted.shape)}")
    return -float(np.mean((output.astype(np.float64) - wanted.astype(np.float64)) ** 2))


def _samples(array: AnyArray) -> AnyArray:
    rows = array.reshape(len(array), -1) if array.ndim > 1 else array.reshape(1, -1)
    return rows.astype(np.float64)


def _mean_over_outputs(
    metric: str, outputs: Mapping[str, AnyArray], wanted: Mapping[str, AnyArray], score: Callable[[AnyArray, AnyArray], float]
) -> float:
    if missing := [name for name in wanted if name not in outputs]:
        raise DataError(f"{metric}: the model has no output {missing[0]!r}")
    scores = [score(outputs[name], array) for name, array in wanted.items() if array.dtype.kind == "f" and array.size]
    if not scores:
        raise DataError(f"{metric} needs an output of floating-point numbers, and this model has none")
    value = float(np.mean(scores))
    if not math.isfinite(value):
        raise DataError(f"{metric} is {value}: the model's outputs are not finite numbers")
    return value


_BY_LABELS: dict[str, Metric] = {"top1": top1, "top5": top5}
_AGAINST_ORIGINAL: dict[str, Callable[[Mapping[str, AnyArray]], Metric]] = {"fidelity": Fidelity, "cosine": Cosine}
METRICS = (*_BY_LABELS, *_AGAINST_ORIGINAL, "mse")


def needs_original(name: str) -> bool:
    """Whether the metric compares with the original model's outputs, which `find_metric` then wants."""
    return name in _AGAINST_ORIGINAL or name == "mse"


def find_metric(name: str, reference: Mapping[str, AnyArray] | None = None) -> Metric:
    """The metric of a name in METRICS, those against the original with its outputs, `reference`; or `module:function` of the user's.

    A user's function is called with an `onnxruntime.InferenceSession` and the `Data`, and returns a number, higher is better. Its module is
    looked for in the current folder too. Raises DataError where there is no such metric; what a user's function raises or returns other
    than a finite number becomes a DataError.
    """
    if name in _BY_LABELS:
        return _BY_LABELS[name]
    if name == "mse":
        return NegativeMse(reference)
    if name in _AGAINST_ORIGINAL:
        if reference is None:
            raise DataError(f"{name} needs the original model's outputs to compare with")
        return _AGAINST_ORIGINAL[name](reference)
    if not is_function_name(name):
        raise DataError(f"there is no metric {name!r}; give {', '.join(METRICS)} or module:function")
    return _guarded(name, imported("metric", name))


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
