"""How much each value of each site is thought to harm: from the weights, at the layers behind, or at the model's outputs.

- `weights`: what the pass says without data.
- `activations`: how far the outputs of the layers behind the site are from what they were on calibration data, squared error over squared
  size (the error that He et al., Channel Pruning for Accelerating Very Deep Neural Networks, 2017, minimise layer by layer).
- `evaluation`: how far the outputs of the whole model are from what they were, as AIMET and FastNAS (Model Optimizer) find sensitivities; no labels
  are needed. The agreement of outputs a before and b after is 2ab / (a^2 + b^2), and the harm is -log of it, the mean of that of the outputs and of
  that of what varies in them from sample to sample (which is the concordance of Lin, 1989): it stays finite and tells apart models that are
  far from the original, where the squared error only says whose outputs are large. Outputs that are scores of classes are compared as they are and
  as the probabilities that they stand for, half each: which class wins hangs on the scores of those near the top, not on all alike.

The last two carry out a few values of each site, with all other sites as they are, and place the other values between those by what the
weights say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import softmax

from graphopt.allocation.joint import FINALISTS, PER_SITE, Judge
from graphopt.allocation.nearby import Nearby
from graphopt.allocation.sites import Plan, Site
from graphopt.cost import macs_by_node
from graphopt.errors import DataError
from graphopt.ir import Graph
from graphopt.pipeline import Context
from graphopt.quality import Data, fitted, predict, session
from graphopt.quality.arrays import AnyArray
from graphopt.repair import calibration

if TYPE_CHECKING:
    from graphopt.allocation.compressing import CompressingPass

HARMS = ("auto", "weights", "activations", "evaluation")

SAMPLES = 128  # of the calibration data, on which models are compared
SURE_SAMPLES = 1024  # on which the last few plans are
MEASURED = 2  # values of a site that are carried out, the strongest among them
_AFFORDABLE = 1.5e12  # multiply-accumulates that `auto` spends at most; a constant, not a clock: the same call must give the same plan
_LEAST = 1e-6  # agreement that is told from none
_ROUNDING = 1e-3  # of a sum of probabilities in half precision
_PER_MODEL = 2e9  # what making a model and a session of it takes, in the same unit

Measure = Callable[[str, int], float]


def with_harms(pass_: CompressingPass, graph: Graph, context: Context, sites: Sequence[Site]) -> tuple[Site, ...]:
    """`sites` of the root `graph`, whose harms are those that the pass states, with the harms that `pass_.harm` asks for.

    A plan is carried out by `pass_.rebuilt(graph, context, {site.name: value})`. Harms of a site ascend with the strength of its values;
    the first is 0. Raises DataError where an estimate needs calibration data and there is none.
    """
    kind = _kind(pass_, graph, context, sites)
    if kind == "weights" or (kind == "activations" and pass_.states_activations):
        return tuple(replace(site, harms=_ascending(site.harms)) for site in sites)
    assert context.data is not None
    data = calibration(graph, context.data).first(SAMPLES)

    def rebuilt(name: str, value: int) -> Graph:
        return pass_.rebuilt(graph, context, {name: value})

    if kind == "evaluation":
        whole = Outputs(graph, data)
        return tuple(_measured(site, lambda name, value: whole.harm(rebuilt(name, value))) for site in sites)
    nearby = Nearby(graph, data)
    return tuple(_measured(site, lambda name, value: nearby.error(rebuilt(name, value))) for site in sites)


def judges_of(pass_: CompressingPass, graph: Graph, context: Context, sites: Sequence[Site]) -> tuple[Judge, Judge] | None:
    """What gives the harm of whole plans over `sites`, where harms are those of the model's outputs; None otherwise. They remember plans.

    The first looks at SAMPLES samples, for many plans, the second at SURE_SAMPLES, for few. None as well where `auto` can afford the harms of
    sites, but not of plans.
    """
    if _kind(pass_, graph, context, sites) != "evaluation":
        return None
    models = len(sites) * (MEASURED + PER_SITE) + FINALISTS * SURE_SAMPLES // SAMPLES
    if pass_.harm == "auto" and _price(graph, context, models) > _AFFORDABLE:
        return None
    assert context.data is not None
    data = calibration(graph, context.data)

    def judge_on(samples: int) -> Judge:
        whole = Outputs(graph, data.first(samples))

        @cache
        def judge(plan: Plan) -> float:
            return whole.harm(
                pass_.rebuilt(graph, context, {s.name: s.values[place] for s, place in zip(sites, plan, strict=True) if place})
            )

        return judge

    return judge_on(SAMPLES), judge_on(SURE_SAMPLES)


def _kind(pass_: CompressingPass, graph: Graph, context: Context, sites: Sequence[Site]) -> str:
    if pass_.harm in ("activations", "evaluation") and context.data is None:
        raise DataError(f"{pass_.name}: harm={pass_.harm} needs calibration data (--data, or data= in Python)")
    if pass_.harm != "auto":
        return pass_.harm
    if context.data is None:
        return "weights"
    return "evaluation" if _price(graph, context, len(sites) * MEASURED) <= _AFFORDABLE else "activations"


def _price(graph: Graph, context: Context, models: int) -> float:
    """Of evaluating so many models beside the original, in multiply-accumulates."""
    assert context.data is not None
    data = calibration(graph, context.data).first(SAMPLES)
    macs = float(sum(found or 0 for found in macs_by_node(graph).values()))  # of one run, whose free dimensions count as 1
    runs = data.samples if data.free_batch else len(list(data.runs()))
    return (1 + models) * (macs * runs + _PER_MODEL)


class Outputs:
    """How far the floating-point outputs of a changed copy of `graph` are from its own on `data`."""

    def __init__(self, graph: Graph, data: Data) -> None:
        self._data = data
        self._wanted = {name: array.astype(np.float64) for name, array in predict(session(graph), data).items() if array.dtype.kind == "f"}

    def harm(self, changed: Graph) -> float:
        """See above; the mean over the outputs, from 0 to about 14. Raises RuntimeRefusedError."""
        found = predict(session(changed), fitted(self._data, changed))
        return float(np.mean([_lost(array, found[name]) for name, array in self._wanted.items()] or [0.0]))


def _lost(wanted: AnyArray, found: AnyArray) -> float:
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return -math.log(_LEAST)  # outputs of another size (of a resized picture, say) have nothing to be compared with
    found = found.astype(np.float64)
    lost = _mean_disagreement(wanted, found)
    return (lost + _mean_disagreement(softmax(wanted, -1), softmax(found, -1))) / 2 if _are_scores(wanted) else lost


def _are_scores(array: AnyArray) -> bool:
    """Whether it may hold scores of classes, [samples, classes], that are no probabilities yet."""
    if array.ndim != 2 or array.shape[1] < 2 or not np.isfinite(array).all():
        return False
    return bool((array < 0).any() or not np.allclose(array.sum(-1), 1, atol=_ROUNDING))


def _mean_disagreement(wanted: AnyArray, found: AnyArray) -> float:
    """Of the arrays, and of what varies in them from sample to sample."""
    lost = [_disagreement(wanted, found)]
    varying = wanted - wanted.mean(0) if wanted.ndim else wanted
    if varying.any():
        lost.append(_disagreement(varying, found - found.mean(0)))
    return sum(lost) / len(lost)


def _disagreement(a: AnyArray, b: AnyArray) -> float:
    if np.array_equal(a, b):
        return 0.0
    agreement = 2 * float((a * b).sum()) / float(np.square(a).sum() + np.square(b).sum())
    return -math.log(min(max(agreement, _LEAST), 1.0))


def _measured(site: Site, measure: Measure) -> Site:
    """The site with harms that are measured at some of its values."""
    stated = _ascending(site.harms)
    places = _places(site)
    found = _ascending([0.0, *(measure(site.name, site.values[place]) for place in places)])
    known = np.array([0, *places])
    along = np.array(stated) if all(stated[a] < stated[b] for a, b in pairwise(known)) else np.arange(len(stated))
    harms = np.interp(along, along[known], found)
    return replace(site, harms=_ascending(harms.tolist()))


def _places(site: Site) -> list[int]:
    """Places of the values that are carried out: the strongest, and others evenly between it and leaving the site as it is."""
    last = len(site.values) - 1
    return sorted({round(last * part / MEASURED) for part in range(1, MEASURED + 1)} - {0})


def _ascending(harms: Sequence[float]) -> tuple[float, ...]:
    return tuple(accumulate(map(float, harms), max))
