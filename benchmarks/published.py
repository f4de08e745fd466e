"""How well the targets made from published measurements predict networks that their fit did not see.

    python benchmarks/published.py [TARGET ...] [--folds 10] [--json FILE]

Networks are left out one at a time (with --folds N: a Nth of them), one model at a time (all its picture sizes), and one family of architectures
at a time. Laws, their pull and the correction of the sum are fitted without them, and so is the table of kernels: a kernel that only the left-out
networks run is taken out of it ("network"), or every kernel that they run at all ("no kernel", stricter, in 10 folds unless --folds says another
number). Beside `fused`: the table alone and the linear laws alone, where single kernels were published, and a time proportional to
multiply-accumulates. Needs nothing but the installed targets. A fit with a table takes some seconds, so a target that has one takes minutes;
with OMP_NUM_THREADS=1 it is no slower. Exits with status 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from graphopt.cost.fit.definitions import DEFINITIONS
from graphopt.cost.fit.held_out import without
from graphopt.cost.fitting import describer
from graphopt.cost.installed import find_target, installed_targets
from graphopt.cost.predictor import Predictor
from graphopt.cost.target import MeasuredNetwork, Target

GOALS = {"jetson-nano": 0.065, "adreno-640": 0.08, "pixel-4-cpu": 0.06, "raspberry-pi-4": 0.085, "jetson-agx-xavier": 0.16}
MODELS = ("fused", "lut", "linear")
_STRICT_FOLDS = 10  # of the stricter way: with a table, a fit takes seconds
WORDS = {"fused": "fused", "lut": "table alone", "linear": "linear alone", "macs": "proportional to MACs"}


@dataclass(frozen=True)
class Score:
    """Figures of one method over the networks of a target."""

    networks: int
    mape: float
    median: float
    within5: float
    within10: float
    tau: float
    worst: tuple[tuple[str, float], ...]


def score(networks: Sequence[MeasuredNetwork], predicted: Sequence[float]) -> Score:
    ms = np.array([network.ms for network in networks])
    off = np.array(predicted) / ms - 1
    size = np.abs(off)
    worst = tuple((networks[place].name, float(off[place])) for place in np.argsort(-size)[:5])
    tau = float(kendalltau(ms, predicted).statistic)
    return Score(len(ms), float(size.mean()), float(np.median(size)), float((size <= 0.05).mean()), float((size <= 0.1).mean()), tau, worst)


def model_of(name: str) -> str:
    """The network without the size of its picture."""
    return name.partition("@")[0]


def family_of(name: str) -> str:
    """The architecture: what is left of the name without sizes and variants."""
    text = model_of(name).lower().replace("_", "")
    for family in ("mobilenetv2", "mobilenetv3", "mobilenetv1"):  # the digit is part of the name
        if text.startswith(family):
            return family
    # Squeeze-and-excitation and pre-activation variants of ResNet have kernels of their own, and are families of their own.
    return re.match(r"[a-z]+", re.sub(r"^(proxyless|spnas|fb)nas?.*", r"\1", text))[0]  # type: ignore[index]


Grouping = Callable[[int, MeasuredNetwork], object]


def held_out(target: Target, group: Grouping, models: Sequence[str], strict: bool = False) -> dict[str, list[float]]:
    """By method the time of each network, from a fit without its group."""
    groups: dict[object, list[int]] = defaultdict(list)
    for place, network in enumerate(target.networks):
        groups[group(place, network)].append(place)
    found = {method: [0.0] * len(target.networks) for method in (*models, "macs")}
    work = [_macs(target, network) for network in target.networks]
    for places in groups.values():
        kept = [place for place in range(len(target.networks)) if place not in places]
        if not kept:
            raise SystemExit(f"{target.name}: all networks are of one group, so that none is left to fit")
        fitted = without(target, places, strict)
        price = _price([work[place] for place in kept], [target.networks[place].ms for place in kept])
        for place in places:
            signatures = [sig for sig, count in target.networks[place].kernels for _ in range(count)]
            for model in models:
                found[model][place] = Predictor(fitted, model).latency(signatures).ms  # type: ignore[arg-type]
            found["macs"][place] = price * work[place]
    return found


def _macs(target: Target, network: MeasuredNetwork) -> float:
    described = describer(target)
    return sum(described(sig).features["macs"] * count for sig, count in network.kernels)


def _price(work: Sequence[float], ms: Sequence[float]) -> float:
    """Milliseconds per multiply-accumulate, by least squares of the relative error."""
    ratio = np.array(work) / np.array(ms)
    return float(ratio.sum() / (ratio**2).sum())


def tables(target: Target, folds: int) -> Iterator[tuple[str, str, Score]]:
    """(what is left out, method, figures)."""
    models = MODELS if target.kernels else ("fused",)
    by_network: Grouping = (lambda place, _: place % folds) if folds else (lambda place, _: place)
    ways: list[tuple[str, Grouping, bool]] = [("network", by_network, False)]
    if target.kernels:
        ways.append(("network, no kernel", lambda place, _: place % (folds or _STRICT_FOLDS), True))
    if len({model_of(network.name) for network in target.networks}) < len(target.networks):
        ways.append(("model", lambda _, network: model_of(network.name), False))
    ways.append(("family", lambda _, network: family_of(network.name), True))
    for way, group, strict in ways:
        for method, predicted in held_out(target, group, models, strict).items():
            yield way, method, score(target.networks, predicted)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", help="by default all that were made from published measurements")
    parser.add_argument("--folds", type=int, default=0, help="leave out a share of the networks at a time and not each by itself")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    names = options.targets or [name for name in DEFINITIONS if name in installed_targets()]
    records: list[dict[str, Any]] = []
    missed = []
    print("| target | left out | method | networks | MAPE | median | within 5 % | within 10 % | tau | goal |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in names:
        target = find_target(name)
        for way, method, found in tables(target, options.folds):
            goal = GOALS.get(name) if (way, method) == ("network", "fused") else None
            verdict = "" if goal is None else f"{'PASS' if found.mape <= goal else 'FAIL'} (≤ {goal:.1%})"
            if verdict.startswith("FAIL"):
                missed.append(name)
            cells = (
                f"{found.mape:.2%}",
                f"{found.median:.2%}",
                f"{found.within5:.0%}",
                f"{found.within10:.0%}",
                f"{found.tau:.3f}",
                verdict,
            )
            print(f"| {name} | {way} | {WORDS[method]} | {found.networks} | {' | '.join(cells)} |", flush=True)
            records.append({"target": name, "left_out": way, "method": method} | vars(found) | {"goal": goal})
    print()
    for record in records:
        if record["method"] == "fused":
            print(f"worst, {record['target']}, {record['left_out']}: " + ", ".join(f"{name} {off:+.0%}" for name, off in record["worst"]))
    if options.json is not None:
        options.json.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
