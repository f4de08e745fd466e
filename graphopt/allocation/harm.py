"""How much each value of each site is thought to harm: from the weights, at the layers behind, or at the model's outputs.

- `weights`: what the pass says without data.
- `activations`: how far the outputs of the layers behind the site are from what they were on calibration data, squared error over squared
  size (the error that He et al., Channel Pruning for Accelerating Very Deep Neural Networks, 2017, minimise layer by layer).
- `evaluation`: the same at the outputs of the whole model, as AIMET and FastNAS (Model Optimizer) find sensitivities; no labels are needed.

The last two carry out a few values of each site, with all other sites as they are, and place the other values between those by what the
weights say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np

from graphopt.allocation.nearby import Nearby
from graphopt.allocation.sites import Site
from graphopt.cost import macs_by_node
from graphopt.errors import DataError
from graphopt.ir import Graph
from graphopt.pipeline import Context
from graphopt.quality import Data, fitted, predict, session
from graphopt.repair import calibration, output_error

if TYPE_CHECKING:
    from graphopt.allocation.compressing import CompressingPass

HARMS = ("auto", "weights", "activations", "evaluation")

SAMPLES = 64  # of the calibration data, on which models are compared
MEASURED = 2  # values of a site that are carried out, the strongest among them
_AFFORDABLE = 4e12  # multiply-accumulates that `auto` spends at most; a constant, not a clock: the same call must give the same plan
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

    measure = _evaluation(graph, data, rebuilt) if kind == "evaluation" else _activations(graph, data, rebuilt)
    return tuple(_measured(site, measure) for site in sites)


def _kind(pass_: CompressingPass, graph: Graph, context: Context, sites: Sequence[Site]) -> str:
    if pass_.harm in ("activations", "evaluation") and context.data is None:
        raise DataError(f"{pass_.name}: harm={pass_.harm} needs calibration data (--data, or data= in Python)")
    if pass_.harm != "auto":
        return pass_.harm
    if context.data is None:
        return "weights"
    models = 1 + sum(len(_places(site)) for site in sites)
    data = calibration(graph, context.data).first(SAMPLES)
    macs = float(sum(found or 0 for found in macs_by_node(graph).values()))  # of one run, whose free dimensions count as 1
    runs = data.samples if data.free_batch else len(list(data.runs()))
    return "evaluation" if models * (macs * runs + _PER_MODEL) <= _AFFORDABLE else "activations"


def _evaluation(graph: Graph, data: Data, rebuilt: Callable[[str, int], Graph]) -> Measure:
    wanted = predict(session(graph), data)

    def measure(name: str, value: int) -> float:
        made = rebuilt(name, value)
        found = predict(session(made), fitted(data, made))
        if any(found[output].shape != array.shape for output, array in wanted.items()):
            return 1.0  # an output of another size (of a resized picture, say) has nothing to be compared with
        return output_error(wanted, found)

    return measure


def _activations(graph: Graph, data: Data, rebuilt: Callable[[str, int], Graph]) -> Measure:
    nearby = Nearby(graph, data)
    return lambda name, value: nearby.error(rebuilt(name, value))


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
