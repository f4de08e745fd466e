"""Laws from whole networks alone, for devices of which nobody published the time of a single kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from graphopt.cost.families import DEPTHWISE, kin
from graphopt.cost.features import Described
from graphopt.cost.linear import ALL, Floats, Law, LinearModel, robust_nnls

Rows = npt.NDArray[np.intp]

TRAFFIC = "bytes"  # in_bytes and out_bytes together
_TRAFFIC = ("in_bytes", "out_bytes")
_STRENGTHS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # of the pull towards the pool, weakest first
# A depthwise operation costs a multiple of a dense one wherever kernels were measured by themselves (4.2 on an Adreno 640, about as much on
# CPUs), and what networks show of it is hard to tell from the pointwise convolutions beside it.
_USUAL = {(DEPTHWISE, "macs"): 4.0}
_LEAST_WORK = 0.25  # of the prior price that an operation costs at least: no family computes much faster than its kin
_SCALE_HOLD = 5.0  # how much harder than a price the scale of known times is held at 1
_RUN_SHARE = 0.1
_LEAST_SHARE = 0.02  # of a network's time that the pool grants every feature, so that a price of zero can still rise


@dataclass(frozen=True)
class Observed:
    """A network that was measured: its kernels with how often each runs, and milliseconds.

    `known_ms` is the time of further kernels, not among `kernels`, that are known already, but for a scale that all networks share.
    """

    name: str
    kernels: Sequence[tuple[Described, int]]
    ms: float
    known_ms: float = 0.0


@dataclass(frozen=True)
class PoolOptions:
    """How laws are found from few networks.

    `features`: those with a price of their own; `bytes` stands for in_bytes and out_bytes at one price. `extra`: more features by family.
    `groups`: what each family is priced as, when not as itself; families of one group share their prices. `ignored`: families at no price.
    `strength`: how strongly a group's prices are pulled towards those of its kin and of all kernels, relative to them; None: the one that
    predicts left-out networks best. `constant`: whether a network has a constant of its own.
    """

    features: tuple[str, ...] = ("launch", "macs", TRAFFIC, "weight_bytes")
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()
    strength: float | None = None
    constant: bool = False


@dataclass(frozen=True)
class PooledFit:
    """Laws, the constant of a run in milliseconds, the scale of what was known before, and the strength of the pull they were found with."""

    model: LinearModel
    constant_ms: float
    scale: float
    strength: float

    def ms(self, network: Observed) -> float:
        """The time of a network."""
        launched = [(kernel, count) for kernel, count in network.kernels if not kernel.free]
        times = self.model.ms([kernel for kernel, _ in launched])
        own = float(times @ np.array([count for _, count in launched], dtype=np.float64))
        return own + self.constant_ms + self.scale * network.known_ms


def fit_from_networks(networks: Sequence[Observed], options: PoolOptions | None = None) -> PooledFit:
    """Laws such that the sums over kernels meet the networks' times, by non-negative least squares of the relative error.

    First one law for all kernels, then one per kin drawn towards it, then one per group of families drawn towards its kin's. A price is drawn in
    units of the prior price, so that the pull is a factor and not a difference; with few networks it decides, with many the networks do.
    """
    options = options or PoolOptions()
    if options.strength is not None:
        return _fit(_Table(networks, options), np.arange(len(networks)), options.strength)
    table = _Table(networks, options)
    strength = min(_STRENGTHS, key=lambda pull: (_left_out_error(table, pull), -pull))
    return _fit(table, np.arange(len(networks)), strength)


def leave_one_out(networks: Sequence[Observed], options: PoolOptions | None = None, folds: int | None = None) -> Floats:
    """The time of each network by laws that were fitted without it (`folds`: without its share of that many), pull chosen without it, too."""
    options = options or PoolOptions()
    table = _Table(networks, options)
    every = np.arange(len(networks))
    found = np.zeros(len(networks))
    for held in _folds(len(networks), folds):
        kept = np.setdiff1d(every, held)
        strength = options.strength
        if strength is None:
            strength = min(_STRENGTHS, key=lambda pull, kept=kept: (_left_out_error(table, pull, kept), -pull))  # type: ignore[misc]
        fit = _fit(table, kept, strength)
        found[held] = [fit.ms(networks[place]) for place in held]
    return found


def _folds(size: int, folds: int | None) -> list[Rows]:
    return [np.arange(start, size, min(folds or size, size)) for start in range(min(folds or size, size))]


def _left_out_error(table: _Table, strength: float, kept: Rows | None = None) -> float:
    """Mean absolute log error of networks, a fifth of them left out of the fit at a time."""
    every = np.arange(len(table.networks)) if kept is None else kept
    if len(every) < 2:
        return 0.0  # nothing can be left out, so that all strengths are alike, and the strongest is taken
    off = []
    for held in _folds(len(every), 5):
        fit = _fit(table, np.delete(every, held), strength)
        off += [abs(np.log(max(fit.ms(table.networks[place]), 1e-9) / table.ms[place])) for place in every[held]]
    return float(np.mean(off))


class _Table:
    """Sums of features by network and group."""

    def __init__(self, networks: Sequence[Observed], options: PoolOptions) -> None:
        self.networks, self.options = networks, options
        self.ms = np.array([network.ms for network in networks])
        families = sorted({kernel.family for network in networks for kernel, _ in network.kernels if not kernel.free} - options.ignored)
        self.group_of = {family: options.groups.get(family, family) for family in families}
        self.groups = sorted(set(self.group_of.values()))
        self.columns = {group: self._features(group) for group in self.groups}
        self.sums = {group: np.zeros((len(networks), len(names))) for group, names in self.columns.items()}
        for row, network in enumerate(networks):
            for kernel, count in network.kernels:
                group = None if kernel.free else self.group_of.get(kernel.family)
                if group is not None:
                    self.sums[group][row] += [count * _amount(kernel, name) for name in self.columns[group]]
        self.rest = np.array([[float(options.constant), network.known_ms] for network in networks]).reshape(len(networks), 2)
        self.kin_of = {group: kin(next(f for f, g in self.group_of.items() if g == group)) for group in self.groups}

    @staticmethod
    def rest_prior(ms: Floats) -> Floats:
        """The constant of a run, a tenth of the quickest network, and the scale of what is known."""
        return np.array([_RUN_SHARE * float(ms.min()), 1.0])

    def _features(self, group: str) -> tuple[str, ...]:
        return (*self.options.features, *self.options.extra.get(group, ()))


def _amount(kernel: Described, name: str) -> float:
    if name == TRAFFIC:
        return sum(kernel.features[part] for part in _TRAFFIC)
    return kernel.features.get(name, 0.0)


def _fit(table: _Table, rows: Rows, strength: float) -> PooledFit:
    ms, width = table.ms[rows], len(table.options.features)
    sums = {group: block[rows] for group, block in table.sums.items()}
    nothing = np.zeros((len(rows), width))
    everything = sum((block[:, :width] for block in sums.values()), nothing)
    rest = table.rest[rows]
    start = np.where(rest.any(axis=0), table.rest_prior(ms), 0.0)

    # One law for all kernels; a price that it puts at zero still gets a little, so that it can rise where a family needs it.
    blocks, _ = _drawn([table.options.features], [everything], [_share(everything, ms, 1.0 / width)], rest, start, ms, strength)
    base = np.maximum(blocks[0], _share(everything, ms, _LEAST_SHARE))
    kins = sorted(set(table.kin_of.values()))
    by_kin = [sum((sums[g][:, :width] for g in table.groups if table.kin_of[g] == name), nothing) for name in kins]
    usual = [base * np.array([_USUAL.get((name, feature), 1.0) for feature in table.options.features]) for name in kins]
    prices, _ = _drawn([table.options.features] * len(kins), by_kin, usual, rest, start, ms, strength)
    of_kin = dict(zip(kins, prices, strict=True))

    priors = []
    for group in table.groups:
        own = np.maximum(of_kin[table.kin_of[group]], 0.1 * base)
        priors.append(np.concatenate([own, _share(sums[group][:, width:], ms, _LEAST_SHARE)]))
    prices, found = _drawn([table.columns[group] for group in sums], list(sums.values()), priors, rest, start, ms, strength)
    laws = {group: _law(table.columns[group], price) for group, price in zip(table.groups, prices, strict=True)}
    seen = {group for group in table.groups if sums[group].any()}
    families = {family: laws[group] for family, group in table.group_of.items() if group in seen}
    families |= {family: {"launch": 0.0} for family in table.options.ignored}
    common = table.options.features
    wider = {name: _law(common, price) for name, price in of_kin.items()} | {ALL: _law(common, base)}
    return PooledFit(LinearModel(families, wider), float(found[0]), float(found[1]), strength)


def _share(block: Floats, ms: Floats, share: float) -> Floats:
    """Prices at which each feature makes up this share of the networks' times; 0 for a feature that is not there."""
    typical = (block / ms[:, None]).mean(axis=0)
    return np.where(typical > 0, share / np.maximum(typical, 1e-300), 0.0)


def _drawn(
    features: Sequence[Sequence[str]],
    sums: Sequence[Floats],
    priors: Sequence[Floats],
    rest: Floats,
    rest_prior: Floats,
    ms: Floats,
    strength: float,
) -> tuple[list[Floats], Floats]:
    """Prices of each block of columns, and of the rest, drawn towards their priors."""
    prior = np.concatenate([*priors, rest_prior])
    least = np.concatenate([*([_LEAST_WORK if name == "macs" else 0.0 for name in names] for names in features), np.zeros(len(rest_prior))])
    rows = np.hstack([*sums, rest]) / ms[:, None] * prior
    # In units of the prior: a price is prior * (least + u) with u >= 0, and least + u is held at 1.
    pull = np.sqrt(strength) * np.concatenate([np.ones(len(prior) - 1), [_SCALE_HOLD]]) * (prior > 0)
    stacked, goal = np.vstack([rows, np.diag(pull)]), np.concatenate([np.ones(len(ms)), pull])
    found = (least + robust_nnls(stacked, goal - stacked @ least, sure=len(prior))) * prior
    edges = np.cumsum([block.shape[1] for block in sums])
    return [*np.split(found[: edges[-1]], edges[:-1])], found[edges[-1] :]


def _law(names: Sequence[str], prices: Floats) -> Law:
    law = dict(zip(names, prices.tolist(), strict=True))
    if TRAFFIC in law:
        law |= dict.fromkeys(_TRAFFIC, law.pop(TRAFFIC))
    return law
