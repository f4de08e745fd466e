"""Errors on networks that neither the fit nor the table of kernels has seen."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from math import log
from typing import Any

from graphopt.cost.fitting import fit_target
from graphopt.cost.interval import Interval, coverage, fit_interval
from graphopt.cost.predictor import Predictor
from graphopt.cost.target import MeasuredNetwork, Target
from graphopt.cost.times import MODELS, Model

_FOLDS = 5


def without(target: Target, places: Collection[int], strict: bool = False) -> Target:
    """The target fitted without the networks at `places`, and without the kernels that only they run; `strict`: that they run at all."""
    kept = [network for place, network in enumerate(target.networks) if place not in places]
    gone = {sig for place in places for sig, _ in target.networks[place].kernels}
    if not strict:
        gone -= {sig for network in kept for sig, _ in network.kernels}
    kernels = tuple(kernel for kernel in target.kernels if kernel.signature not in gone)
    return fit_target(replace(target, kernels=kernels, networks=tuple(kept)), held_out=False)


def with_held_out_error(target: Target, folds: int = _FOLDS) -> Target:
    """A fitted target whose kernels were measured inside its networks, with the error and interval of networks whose kernels are left out, too.

    `fit_target` leaves the table as it is, because elsewhere kernels are measured by themselves: here that would let each network see itself.
    """
    assert target.coefficients is not None
    error: dict[str, Any] = {}
    intervals: dict[str, Interval] = {}
    trials: dict[Model, list[tuple[float, float]]] = {model: [] for model in MODELS}  # relative error, score
    for start in range(folds):
        places = range(start, len(target.networks), folds)
        fitted = without(target, places)
        for model in MODELS:
            predictor = Predictor(fitted, model)
            trials[model] += [_trial(predictor, target.networks[place]) for place in places]
    for model, found in trials.items():
        off = [abs(relative) for relative, _ in found]
        scores = [own for _, own in found]
        prefix = "" if model == "fused" else f"{model}_"
        error[f"{prefix}mape"] = round(sum(off) / len(off), 4)
        error[f"{prefix}within5"] = round(sum(size <= 0.05 for size in off) / len(off), 4)
        error[f"{prefix}within10"] = round(sum(size <= 0.1 for size in off) / len(off), 4)
        error[f"{prefix}coverage90"] = round(coverage(scores), 4)
        intervals[model] = fit_interval(scores)
    error["method"] = f"networks left out of the fit, with the kernels that only they run, {folds} folds"
    error["networks"] = len(target.networks)
    return replace(target, error=error, coefficients=replace(target.coefficients, intervals=intervals))


def _trial(predictor: Predictor, network: MeasuredNetwork) -> tuple[float, float]:
    """Relative error, and the conformal score: the error in units of what the prediction is unsure by."""
    found = predictor.latency([sig for sig, count in network.kernels for _ in range(count)])
    unsure = log(found.high_ms / found.ms) / predictor.interval.quantile
    return found.ms / network.ms - 1, abs(log(found.ms / network.ms)) / unsure
