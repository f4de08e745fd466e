"""Latency of a graph on a target. Pure: the same graph and the same target give the same number."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from graphopt.cost.coefficients import Coefficients
from graphopt.cost.features import Described
from graphopt.cost.fitting import describer
from graphopt.cost.fusion import FusionRules, fuse, load_rules
from graphopt.cost.installed import find_target
from graphopt.cost.interval import Interval
from graphopt.cost.kernel import Kernel, Signature
from graphopt.cost.linear import Floats
from graphopt.cost.network import SUMMANDS, Correction, Totals, besides
from graphopt.cost.open_shapes import Sizes, fix_sizes
from graphopt.cost.prediction import Bound, KernelTime, Prediction
from graphopt.cost.sizes import KnownTypes, fixed_types
from graphopt.cost.target import Target
from graphopt.cost.times import MODELS, Estimate, KernelTimes, Model
from graphopt.errors import TargetError
from graphopt.ir import Graph, inline_functions, load

_WARN_SHARE = 0.02  # of the time in families that were never measured, from which the interval cannot be trusted
_COMPUTE = frozenset(
    {"macs", "out_elements", "elements", "rows", "panels", "activation", "clipped", "unfolded"}
    | {"steps", "single_steps", "idle", "filter_loads", "far_loads", "aliased_loads", "passes"}
)
_LAUNCH = frozenset({"launch", "batch", "pieces", "calls"})
_NOTHING = Estimate(0.0, 0.0, "unknown")


@dataclass(frozen=True)
class Latency:
    """Milliseconds of a network with the ends of the 90 % interval."""

    ms: float
    low_ms: float
    high_ms: float


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a kernel by its signature alone."""

    described: Described
    estimate: Estimate
    bound: Bound


class Predictor:
    """Predicts for one target with one model: `fused`, `lut` (the table alone) or `linear` (the laws alone).

    Kernels are remembered by signature, so that a graph of which a few kernels changed costs no more than those.
    Raises TargetError where the target was not fitted, or has no table to look up.
    """

    def __init__(self, target: Target, model: Model = "fused") -> None:
        if model not in MODELS:
            raise TargetError(f"no model {model!r}: there are {', '.join(MODELS)}")
        self.target, self.model = target, model
        coefficients = _checked(target, model)
        self._coefficients = coefficients
        self._describe = describer(target)
        measured = [self._describe(kernel.signature) for kernel in target.kernels]
        ms = np.array([kernel.ms for kernel in target.kernels], dtype=np.float64)
        spread = np.array([kernel.spread for kernel in target.kernels], dtype=np.float64)
        self._times = KernelTimes(measured, ms, coefficients.linear, coefficients.smoothness, model, spread)
        self._times.prepare()
        self._known: dict[Signature, _Known] = {}
        self._rules: FusionRules | None = None

    @property
    def correction(self) -> Correction:
        """From the sum of kernels to the network."""
        return self._coefficients.corrections[self.model]

    @property
    def interval(self) -> Interval:
        return self._coefficients.intervals[self.model]

    @property
    def rules(self) -> FusionRules:
        """The target's fusion rules."""
        if self._rules is None:
            self._rules = load_rules(self.target.rules_file).with_block(self.target.block)
        return self._rules

    def time(self, signatures: Iterable[Signature]) -> Floats:
        """Milliseconds of each kernel by itself."""
        asked = list(signatures)
        self._learn(asked)
        return np.array([self._known[sig].estimate.ms for sig in asked], dtype=np.float64)

    def summands(self, signatures: Iterable[Signature]) -> Floats:
        """What adds up to a network's latency (`correction.times`), shape (4, kernels): milliseconds as the correction weighs them, launches,
        bytes of weights and of activations that leave the cache. Kernels of unknown cost count as nothing."""
        asked = list(signatures)
        self._learn(asked)
        return self._summands([self._known[sig] for sig in asked])

    def latency(self, signatures: Iterable[Signature]) -> Latency:
        """The latency of a network that launches these kernels."""
        asked = list(signatures)
        self._learn(asked)
        return self._latency([self._known[sig] for sig in asked])

    def kernels(self, graph: Graph, sizes: Sizes | None = None) -> tuple[Kernel, ...]:
        """The kernels that the target's runtime makes of the root `graph`. Raises OpenShapeError."""
        return self._kernels(graph, sizes)[0]

    def predict(self, graph: Graph, sizes: Sizes | None = None) -> Prediction:
        """The latency of the root `graph`; `sizes` gives open dimensions by name, or whole shapes by input. Raises OpenShapeError."""
        kernels, types = self._kernels(graph, sizes)
        self._learn([kernel.signature for kernel in kernels])
        timed = [self._timed(kernel, types) for kernel in kernels]
        launched = [self._known[time.kernel.signature] for time in timed if time.source != "unknown"]
        found = self._latency(launched)
        warnings = tuple(self._warnings(timed))
        return Prediction(found.ms, found.low_ms, found.high_ms, self.target.name, self.model, tuple(timed), types.assumptions, warnings)

    def _kernels(self, graph: Graph, sizes: Sizes | None) -> tuple[tuple[Kernel, ...], KnownTypes]:
        inlined = inline_functions(graph)
        fixed = fix_sizes(inlined, sizes)
        types = fixed_types(inlined, fixed.dimensions, fixed.shapes)
        return fuse(inlined, self.rules, types).kernels(), types

    def _learn(self, signatures: Iterable[Signature]) -> None:
        new = [sig for sig in dict.fromkeys(signatures) if sig not in self._known]
        if not new:
            return
        described = [self._describe(sig) for sig in new]
        for sig, kernel, estimate in zip(new, described, self._times.estimate(described), strict=True):
            self._known[sig] = _Known(kernel, estimate, self._bound(kernel))

    def _bound(self, kernel: Described) -> Bound:
        """What most of the time goes to by the law."""
        parts: dict[Bound, float] = {"compute": 0.0, "memory": 0.0, "launch": 0.0}
        for name, ms in self._coefficients.linear.parts(kernel).items():
            parts["compute" if name in _COMPUTE else "launch" if name in _LAUNCH else "memory"] += ms
        best = max(parts, key=lambda name: parts[name])
        return best if parts[best] > 0 else ""

    def _timed(self, kernel: Kernel, types: KnownTypes) -> KernelTime:
        known = self._known[kernel.signature]
        estimate, bound = known.estimate, known.bound
        if estimate.source in ("linear", "near") and any(value is not None and types.static(value) is None for value in kernel.values):
            estimate = _NOTHING  # its signature holds sizes that nobody knows
        if estimate.source in ("free", "unknown"):
            bound = ""
        return KernelTime(kernel, known.described.family, estimate.ms, estimate.sigma, estimate.source, bound)

    def _summands(self, kernels: Sequence[_Known]) -> Floats:
        factor = self.correction.factor
        rows = [(factor(each.described.family) * each.estimate.ms, *besides(each.described, each.estimate.ms)) for each in kernels]
        return np.array(rows, np.float64).reshape(-1, SUMMANDS).T

    def _latency(self, kernels: Sequence[_Known]) -> Latency:
        totals = Totals.of((kernel.described, kernel.estimate.ms, 1) for kernel in kernels)
        total = self.correction.ms(totals)
        ms, unsure, unseen = totals.kernels_ms, 0.0, 0.0
        for kernel in kernels:
            if self._is_unseen(kernel):
                unseen += kernel.estimate.ms * kernel.estimate.sigma
            else:
                unsure += kernel.estimate.ms * kernel.estimate.sigma
        sigma = unsure / ms + self.correction.streamed(totals.weight_bytes, total) if ms else 0.0
        low, high = self.interval.around(total, sigma, unseen / ms if ms else 0.0, self.correction.leverage(totals, total))
        return Latency(total, low, high)

    def _is_unseen(self, kernel: _Known) -> bool:
        return kernel.estimate.source == "linear" and not self._coefficients.linear.knows(kernel.described.family)

    def _warnings(self, kernels: Sequence[KernelTime]) -> Iterable[str]:
        unknown = Counter(kernel.kernel.signature.operator for kernel in kernels if kernel.source == "unknown")
        if unknown:
            which = ", ".join(f"{operator} {count}" for operator, count in sorted(unknown.items()))
            yield f"kernels of unknown cost, which the latency leaves out: {which}"
        total = sum(kernel.ms for kernel in kernels)
        unseen = [kernel for kernel in kernels if kernel.source == "linear" and self._is_unseen(self._known[kernel.kernel.signature])]
        share = sum(kernel.ms for kernel in unseen) / total if total else 0.0
        if share > _WARN_SHARE:
            families = ", ".join(sorted({kernel.family for kernel in unseen}))
            yield (
                f"{share:.0%} of the time is in families that were never measured on {self.target.name} ({families}), "
                "so the interval cannot be trusted; measure them with `graphopt profile --for`"
            )
        if not self.interval.networks:
            yield f"no network was measured on {self.target.name}, so the interval is a guess"


def predict(
    graph: Graph | str | os.PathLike[str], target: Target | str | os.PathLike[str], sizes: Sizes | None = None, model: Model = "fused"
) -> Prediction:
    """The latency of a graph, or of a model file, on a target, or on that of a name or folder.

    `sizes` gives open dimensions by name, or whole shapes by input; `model` is `fused`, `lut` or `linear`. Raises TargetError, OpenShapeError.
    """
    predictor = Predictor(target if isinstance(target, Target) else find_target(target), model)
    return predictor.predict(graph if isinstance(graph, Graph) else load(graph), sizes)


def _checked(target: Target, model: Model) -> Coefficients:
    coefficients = target.coefficients
    if coefficients is None:
        raise TargetError(f"target {target.name} was measured but not fitted yet: it has no coefficients.json")
    if coefficients.kernels != len(target.kernels):
        raise TargetError(
            f"target {target.name}: its coefficients were fitted from {coefficients.kernels} kernels, and kernels.csv has "
            f"{len(target.kernels)}; it is incomplete or was changed since, fit it again"
        )
    if model not in coefficients.corrections or model not in coefficients.intervals:
        why = "no kernel of it was measured, only whole networks" if model == "lut" else "its coefficients lack it; fit it again"
        raise TargetError(f"target {target.name} has no model {model!r}: {why}")
    return coefficients
