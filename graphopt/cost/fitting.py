"""From what was measured of a target to what predictions need: a pure function of the target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from graphopt.cost.coefficients import Coefficients
from graphopt.cost.families import is_unknown, kin
from graphopt.cost.features import Described, describe
from graphopt.cost.interval import coverage, drift, fit_interval, score
from graphopt.cost.kernel import Signature
from graphopt.cost.linear import Floats, Law, LinearModel, fit_from_kernels
from graphopt.cost.network import Correction, Totals, fit_correction
from graphopt.cost.pooled import Observed, PoolOptions, fit_from_networks
from graphopt.cost.residual import Smoothness, fit_residuals
from graphopt.cost.target import MeasuredNetwork, Target
from graphopt.cost.times import MODELS, Estimate, KernelTimes, Model
from graphopt.errors import TargetError

_FOLDS = 10
_LEAVE_ONE_OUT = 40  # networks up to which each is left out by itself
_ENOUGH = 8  # networks from which laws of unmeasured families are taken from them
_LEAST_SCALE = 0.1  # of the sum of kernels in a network's time
_UNLIKE_KIN = 3.0  # how many times more or less than its kin a family may cost
_OPTIONS = ("features", "extra", "groups", "ignored", "strength", "constant")

Describe = Callable[[Signature], Described]


@dataclass(frozen=True, eq=False)
class _Network:
    """A measured network with its kernels described; what a runtime does not launch is left out."""

    name: str
    ms: float
    kernels: tuple[tuple[Described, int], ...]


@dataclass(frozen=True)
class _KernelFit:
    """What measured kernels alone give."""

    measured: tuple[Described, ...]
    ms: Floats
    spread: Floats
    linear: LinearModel
    smoothness: Mapping[str, Smoothness]
    alike: bool = True  # measured in the same way as networks are

    def times(self, model: Model, linear: LinearModel) -> KernelTimes:
        return KernelTimes(self.measured, self.ms, linear, self.smoothness, model, self.spread)

    @cached_property
    def _own(self) -> dict[Model, tuple[KernelTimes, dict[_Network, list[Estimate]]]]:
        return {model: (self.times(model, self.linear), {}) for model in MODELS}

    def estimates(self, network: _Network, model: Model, added: Mapping[str, Law]) -> list[Estimate]:
        """The time of each kernel of a network, those of the families `added` by their laws.

        The others are worked out once, as they are needed again for each network that is left out.
        """
        times, known = self._own[model]
        kernels = [kernel for kernel, _ in network.kernels]
        if network not in known:
            known[network] = times.estimate(kernels)
        by_law = LinearModel(added).ms(kernels).tolist() if added else [0.0] * len(kernels)
        return [
            Estimate(ms, 0.0, "linear") if kernel.family in added else estimate
            for kernel, ms, estimate in zip(kernels, by_law, known[network], strict=True)
        ]


@dataclass(frozen=True)
class _NetworkFit:
    """Laws, those of them that whole networks add to those of measured kernels, and the correction of their sum."""

    linear: LinearModel
    added: Mapping[str, Law]
    correction: Correction
    strength: float | None = None  # of the pull with which laws were found from networks


def describer(target: Target) -> Describe:
    """How kernels of a target are described."""
    return partial(describe, block=target.block, everywhere=target.pads_everywhere)


def pool_options(target: Target) -> PoolOptions:
    """The section `fit` of a target. Raises TargetError for what it cannot say."""
    given = dict(target.fit)
    unknown = given.keys() - set(_OPTIONS)
    if unknown:
        raise TargetError(
            f"target {target.name}: unknown options of the fit: {', '.join(sorted(unknown))}; known are {', '.join(_OPTIONS)}"
        )
    for name, kind in (("features", tuple), ("ignored", frozenset)):
        if name in given:
            given[name] = kind(given[name])
    if "extra" in given:
        given["extra"] = {group: tuple(names) for group, names in given["extra"].items()}
    return PoolOptions(**given)


def fit_target(target: Target, held_out: bool = True) -> Target:
    """The target with coefficients, and with `error` from networks held out, which also give the interval.

    Where kernels were measured, they give laws and residuals, and networks the correction of the sum, besides the laws of families of which
    no kernel was measured; otherwise networks give everything. `held_out=False` saves the time of it; the interval is then a guess.
    Raises TargetError where nothing was measured.
    """
    if not target.kernels and not target.networks:
        raise TargetError(f"target {target.name}: neither kernels nor networks were measured, so there is nothing to fit")
    described = describer(target)
    networks = [_network(network, described) for network in target.networks]
    options = pool_options(target)
    kernels = _fit_kernels(target, described)
    models = MODELS if kernels.measured else ("fused", "linear")
    fits = {model: _fit_networks(networks, kernels, model, options) for model in models}
    # Beside a table the pull matters little: it is the same for all folds. Without one it is chosen again in each.
    folded = {model: replace(options, strength=fits[model].strength) if kernels.measured else options for model in models}
    found = {model: _held_out(networks, kernels, model, folded[model]) for model in models} if held_out and len(networks) > 1 else {}
    if not kernels.measured and found:
        found["linear"] = found["fused"]
    moved = drift([(network.spread, network.count) for network in target.networks])
    coefficients = Coefficients(
        fits["fused"].linear,
        {model: fit.correction for model, fit in fits.items()},
        {model: replace(fit_interval(_scores(found.get(model, []))), drift=moved) for model in models},
        kernels.smoothness,
        len(target.kernels),
    )
    error = _errors(found) | ({"method": _method(kernels, networks), "networks": len(networks)} if found else {})
    return replace(target, coefficients=coefficients, error=error)


def _network(network: MeasuredNetwork, described: Describe) -> _Network:
    pairs = [(described(sig), count) for sig, count in network.kernels]
    return _Network(network.name, network.ms, tuple((kernel, count) for kernel, count in pairs if not kernel.free))


def _fit_kernels(target: Target, described: Describe) -> _KernelFit:
    measured = tuple(described(kernel.signature) for kernel in target.kernels)
    ms = np.array([kernel.ms for kernel in target.kernels], dtype=np.float64)
    spread = np.array([kernel.spread for kernel in target.kernels], dtype=np.float64)
    if not measured:
        return _KernelFit((), ms, spread, LinearModel({}), {})
    linear = fit_from_kernels(measured, ms, spread)
    ratios = np.log(ms / np.maximum(linear.ms(measured), 1e-9))
    return _KernelFit(measured, ms, spread, linear, fit_residuals(measured, ratios, spread), alike=target.runtime == "onnxruntime")


def _fit_networks(networks: Sequence[_Network], kernels: _KernelFit, model: Model, options: PoolOptions) -> _NetworkFit:
    """The network level from some networks."""
    if not kernels.measured:
        pooled = fit_from_networks([Observed(n.name, n.kernels, n.ms) for n in networks], options)
        return _NetworkFit(pooled.model, {}, Correction(run_ms=pooled.constant_ms), pooled.strength)
    linear, added = kernels.linear, dict[str, Law]()
    missing = _missing(networks, linear)
    prior, strength = Correction(), options.strength
    if model != "lut" and missing and len(networks) >= _ENOUGH:
        observed = [_observed(network, kernels.estimates(network, model, {}), missing) for network in networks]
        pooled = fit_from_networks(observed, replace(options, constant=True))
        # The correction scales the whole sum, and these prices are for a sum that is already scaled.
        scale = max(pooled.scale, _LEAST_SCALE)
        prior = Correction(scale=scale, run_ms=pooled.constant_ms)
        strength = pooled.strength
        laws = {family: _scaled(law, 1 / scale) for family, law in pooled.model.families.items() if family in missing}
        added = {family: _bounded(family, law, networks, linear) for family, law in laws.items()}
        linear = LinearModel({**linear.families, **added}, linear.kins)
    totals = [_totals(network, kernels.estimates(network, model, added))[0] for network in networks]
    return _NetworkFit(linear, added, fit_correction(totals, [network.ms for network in networks], prior, kernels.alike), strength)


def _missing(networks: Sequence[_Network], linear: LinearModel) -> set[str]:
    """Families of the networks that have no law."""
    families = {kernel.family for network in networks for kernel, _ in network.kernels}
    return {family for family in families if not linear.knows(family) and not is_unknown(family)}


def _observed(network: _Network, estimates: Sequence[Estimate], missing: set[str]) -> Observed:
    pairs = zip(network.kernels, estimates, strict=True)
    known_ms = sum(estimate.ms * count for (kernel, count), estimate in pairs if kernel.family not in missing)
    return Observed(network.name, [pair for pair in network.kernels if pair[0].family in missing], network.ms, known_ms)


def _bounded(family: str, law: Law, networks: Sequence[_Network], linear: LinearModel) -> Law:
    """The law of a family that only networks show, within a factor of what its kin costs: what nothing else explains falls to it, too."""
    usual = linear.kins.get(kin(family))
    if usual is None:
        return law
    kernels = [kernel for network in networks for kernel, _ in network.kernels if kernel.family == family]
    own, expected = (float(LinearModel({family: prices}).ms(kernels).sum()) for prices in (law, usual))
    if expected <= 0:
        return law
    if own <= 0:
        return _scaled(usual, 1 / _UNLIKE_KIN)
    return _scaled(law, min(max(own, expected / _UNLIKE_KIN), expected * _UNLIKE_KIN) / own)


def _scaled(law: Mapping[str, float], factor: float) -> dict[str, float]:
    return {name: price * factor for name, price in law.items()}


def _totals(network: _Network, estimates: Sequence[Estimate]) -> tuple[Totals, float]:
    """Sums over the kernels, and how unsure a kernel is on average by time."""
    counted = [(kernel, estimate, count) for (kernel, count), estimate in zip(network.kernels, estimates, strict=True)]
    totals = Totals.of((kernel, estimate.ms, count) for kernel, estimate, count in counted)
    unsure = sum(estimate.ms * estimate.sigma * count for _, estimate, count in counted)
    return totals, unsure / totals.kernels_ms if totals.kernels_ms else 0.0


@dataclass(frozen=True)
class _Trial:
    predicted: float
    measured: float
    sigma: float
    leverage: float


def _held_out(networks: Sequence[_Network], kernels: _KernelFit, model: Model, options: PoolOptions) -> list[_Trial]:
    """Each network as predicted by a network level that was fitted without it."""
    if model == "linear" and not kernels.measured:
        return []  # the same as fused
    folds = len(networks) if len(networks) <= _LEAVE_ONE_OUT else _FOLDS
    found = []
    for start in range(folds):
        held = networks[start::folds]
        fit = _fit_networks([network for place, network in enumerate(networks) if place % folds != start], kernels, model, options)
        for network in held:
            if kernels.measured:
                estimates = kernels.estimates(network, model, fit.added)
            else:
                estimates = kernels.times(model, fit.linear).estimate([kernel for kernel, _ in network.kernels])
            totals, sigma = _totals(network, estimates)
            ms = fit.correction.ms(totals)
            sigma += fit.correction.streamed(totals.weight_bytes, ms)
            found.append(_Trial(ms, network.ms, sigma, fit.correction.leverage(totals, ms)))
    return found


def _scores(trials: Sequence[_Trial]) -> list[float]:
    return [score(trial.predicted, trial.measured, trial.sigma, trial.leverage) for trial in trials]


def _errors(found: Mapping[Model, Sequence[_Trial]]) -> dict[str, Any]:
    """Figures of the fused model, and of the others with their name in front."""
    result: dict[str, Any] = {}
    for model, trials in found.items():
        off = np.array([abs(trial.predicted / trial.measured - 1) for trial in trials])
        prefix = "" if model == "fused" else f"{model}_"
        figures = {
            "mape": off.mean(),
            "within5": (off <= 0.05).mean(),
            "within10": (off <= 0.1).mean(),
            "coverage90": coverage(_scores(trials)),
        }
        result |= {f"{prefix}{name}": round(float(value), 4) for name, value in figures.items()}
    return result


def _method(kernels: _KernelFit, networks: Sequence[_Network]) -> str:
    how = "each left out by itself" if len(networks) <= _LEAVE_ONE_OUT else f"{_FOLDS} folds"
    what = "the correction of the sum of kernels" if kernels.measured else "the laws"
    return f"networks left out of the fit of {what}, {how}"
