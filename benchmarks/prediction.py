"""How well latencies are predicted on this machine, beside what else people use.

    python benchmarks/prediction.py WORK [--minutes 10] [--per-family 5] [--sessions 4] [--model MODEL.onnx ...] [--variants 24] [--seconds 90]

Part 1 profiles this machine once (`graphopt profile --generic`), measures random networks of the same families that no profile and no fit
has seen (other seeds), and predicts them: by this project's model, by its table alone, its linear laws alone, the sum of nodes measured one by
one without fusion, and a line through MACs fitted on the profile's own networks. Part 2 profiles for each MODEL (`graphopt profile --for
MODEL`, at most --seconds of measuring), and predicts pruned variants of it that the profile has not seen.

A profile's rounds (`graphopt profile --rounds N`) lie apart, with those of all others between, and the truth is measured in sessions before, between
and after them, each in fresh processes. Beside the figures stand the noise floor, what half of the sessions say of the other half, and what is left
when the machine's drift between profile and truth is taken out, as networks show it that both have measured. Everything measured is kept in WORK,
and the same command goes on where it was ended. Exits with status 1 when a limit is missed, by the figures as they are.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from _machine import machine
from _nodewise import node_signatures
from scipy.stats import kendalltau

import graphopt
from graphopt.cost import count
from graphopt.cost.predictor import Predictor
from graphopt.cost.profile import FAMILIES, SESSIONS, Campaign, Record, open_record, pruned_variants, random_network, this_host
from graphopt.cost.target import Target
from graphopt.ir import Graph

HELD_OUT = 880_000  # first seed of the networks that are predicted; profiles use small seeds
UNSEEN = 1_115_000  # likewise of the variants
SECONDS_PER_NETWORK = 0.3  # of a session, in which it is loaded, too
GENERIC_ROUNDS = 4  # at a time, as making its networks anew takes a minute


@dataclass(frozen=True)
class Truth:
    """A network's time from all sessions in milliseconds, and from every other one."""

    ms: float
    odd: float
    even: float


@dataclass(frozen=True)
class Answer:
    """A predicted time, with the ends of its interval where the method gives one."""

    ms: float
    low: float = math.nan
    high: float = math.nan


Answers = Mapping[str, Answer]


# ---- measuring


class Truths:
    """What networks really take, from sessions in fresh processes that go through all of them in turns.

    Machines drift by several percent within minutes, so the sessions lie between the profiles: no profile and its truth share a moment.
    """

    def __init__(self, folder: Path, graphs: Mapping[str, Graph]) -> None:
        self._record = open_record(folder, this_host("CPUExecutionProvider", 1, "float32"))
        self._campaign = Campaign(self._record, folder, 1e9, "truth")
        self._place = tempfile.TemporaryDirectory()
        self._models = [self._campaign.prepare(name, graph, Path(self._place.name)) for name, graph in graphs.items()]
        self._session = 0

    def session(self) -> None:
        """One more session over all networks; none where it was measured before."""
        self._campaign.network_session(self._models, self._session, SECONDS_PER_NETWORK * len(self._models))
        self._session += 1
        print(f"  session {self._session} over {len(self._models)} networks", file=sys.stderr)

    def of(self, name: str) -> Truth:
        """What a network takes in the usual session, as profiles reckon it."""
        return Truth(*(part[name] for part in self._parts))

    @cached_property
    def _parts(self) -> list[dict[str, float]]:
        """The times from all sessions, and from every other one."""
        return [self._record.network_ms(part) for part in (slice(None), slice(0, None, 2), slice(1, None, 2))]


def nodewise(folder: Path, graphs: Mapping[str, Graph]) -> dict[str, Answer]:
    """The sum of the nodes' times, each node measured by itself; what cannot be measured by itself counts nothing."""
    record = open_record(folder, this_host("CPUExecutionProvider", 1, "float32"))
    campaign = Campaign(record, folder, 1e9, "nodes")
    nodes = {name: node_signatures(graph) for name, graph in graphs.items()}
    campaign.kernel_pass(list(dict.fromkeys(sig for found in nodes.values() for sig in found)), 1, 1e9)
    ms = {kernel.signature: kernel.ms for kernel in record.measured_kernels()}
    return {name: Answer(sum(ms.get(sig, 0.0) * times for sig, times in found.items())) for name, found in nodes.items()}


def profile(arguments: Sequence[str], folder: Path, rounds: int) -> Target:
    """What `graphopt profile` makes, gone on with until so many of its rounds are made."""
    record = Record.load(folder)
    made = min((len(network.sessions) for network in record.networks.values()), default=0) if record else 0
    if made < rounds:
        command = [sys.executable, "-c", "from graphopt.cli import main; main()", "profile", *arguments]
        command += ["--rounds", str(rounds - made), "-o", str(folder), "--json"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return Target.load(folder)


# ---- predicting


def by_model(target: Target, graphs: Mapping[str, Graph], model: str) -> dict[str, Answer]:
    predictor = Predictor(target, model)  # type: ignore[arg-type]
    found = {name: predictor.predict(graph) for name, graph in graphs.items()}
    return {name: Answer(prediction.ms, prediction.low_ms, prediction.high_ms) for name, prediction in found.items()}


def without_drift(answers: Answers, drift: float) -> dict[str, Answer]:
    """The answers as of a profile on a machine `drift` times as slow."""
    return {name: Answer(answer.ms * drift, answer.low * drift, answer.high * drift) for name, answer in answers.items()}


def by_macs(target: Target, seeds: Callable[[str], Graph], graphs: Mapping[str, Graph]) -> dict[str, Answer]:
    """a * MACs + b, both not negative, fitted in relative error on the profile's own networks."""
    from scipy.optimize import nnls

    ms = np.array([network.ms for network in target.networks])
    rows = np.array([[count(seeds(network.name)).macs, 1.0] for network in target.networks])
    law, _ = nnls(rows / ms[:, None], np.ones(len(ms)))
    return {name: Answer(float(np.array([count(graph).macs, 1.0]) @ law)) for name, graph in graphs.items()}


def of_name(name: str) -> Graph:
    """The random network that a profile calls so."""
    family, _, seed = name.rpartition("-")
    return Graph.from_proto(random_network(family, int(seed)))


# ---- judging


@dataclass(frozen=True)
class Figures:
    mape: float
    within5: float
    within10: float
    worst: float
    tau: float
    covered: float

    def __str__(self) -> str:
        covered = "" if math.isnan(self.covered) else f"{self.covered:.1%}"
        return f"{self.mape:.2%} | {self.within5:.1%} | {self.within10:.1%} | {self.worst:.1%} | {self.tau:.3f} | {covered}"


def judge(answers: Answers, truths: Mapping[str, Truth]) -> Figures:
    pairs = [(answers[name], truth.ms) for name, truth in truths.items()]
    off = np.array([abs(answer.ms / ms - 1) for answer, ms in pairs])
    tau = float(kendalltau([answer.ms for answer, _ in pairs], [ms for _, ms in pairs]).statistic)
    intervals = [answer.low <= ms <= answer.high for answer, ms in pairs if not math.isnan(answer.low)]
    covered = float(np.mean(intervals)) if intervals else math.nan
    return Figures(float(off.mean()), float((off <= 0.05).mean()), float((off <= 0.1).mean()), float(off.max()), tau, covered)


def noise(truths: Mapping[str, Truth]) -> Figures:
    """Half of the sessions, as a prediction of the other half."""
    return judge({name: Answer(truth.odd) for name, truth in truths.items()}, {n: Truth(t.even, t.odd, t.even) for n, t in truths.items()})


def table(title: str, rows: Mapping[str, Figures]) -> None:
    print(
        f"\n## {title}\n\n| method | MAPE | within 5 % | within 10 % | worst | Kendall tau | in the 90 % interval |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    )
    for name, figures in rows.items():
        print(f"| {name} | {figures} |")


class Limits:
    def __init__(self) -> None:
        self.missed = 0

    def check(self, what: str, value: float, least: float = -math.inf, most: float = math.inf) -> None:
        ok = least <= value <= most
        self.missed += not ok
        bound = (
            f"at least {least:.1%}" if most == math.inf else f"at most {most:.1%}" if least == -math.inf else f"{least:.0%} to {most:.0%}"
        )
        print(f"{'PASS' if ok else 'FAIL'}  {what}: {value:.2%} ({bound})")


# ---- the two parts


class Generic:
    """Networks of the profile's families, and some of the profile's own, which tell how the machine drifted in between."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        names = [f"{family}-{HELD_OUT + place}" for place in range(options.per_family) for family in FAMILIES]
        self.graphs = {name: of_name(name) for name in names}
        self.controls = {f"{family}-0": of_name(f"{family}-0") for family in FAMILIES}
        self._target: Target | None = None

    def profile(self, rounds: int) -> None:
        self._target = profile(["--generic", "--minutes", str(self._options.minutes)], self._options.work / "generic", rounds)

    def judge(self, measured: Truths, limits: Limits) -> None:
        target, graphs = self._target, self.graphs
        assert target is not None
        truths = {name: measured.of(name) for name in graphs}
        profiled = {network.name: network.ms for network in target.networks}
        drift = statistics.median(measured.of(name).ms / profiled[name] for name in self.controls if name in profiled)
        rows: dict[str, Answers] = {"graphopt, fused": by_model(target, graphs, "fused")}
        rows["graphopt, fused, without the machine's drift"] = without_drift(rows["graphopt, fused"], drift)
        rows["table alone"] = by_model(target, graphs, "lut")
        rows["linear alone"] = by_model(target, graphs, "linear")
        rows["sum of measured nodes, no fusion"] = nodewise(self._options.work / "nodes", graphs)
        rows["proportional to MACs, and a constant"] = by_macs(target, of_name, graphs)
        figures = {name: judge(answers, truths) for name, answers in rows.items()} | {"(noise floor: half of the sessions)": noise(truths)}
        seconds = float(target.provenance.get("seconds", 0))
        title = f"{len(graphs)} networks of {len(FAMILIES)} families, never profiled: {seconds / 60:.1f} minutes of profiling"
        table(f"{title}, {len(target.kernels)} kernels and {len(target.networks)} whole networks", figures)
        print(f"\nThe machine took {drift - 1:+.1%} of the time for {len(self.controls)} profiled networks when these were measured.")
        if self._options.verbose:
            off = sorted(
                ((rows["graphopt, fused"][name].ms / truths[name].ms - 1, name) for name in graphs), key=lambda pair: -abs(pair[0])
            )
            print("\nfurthest off: " + ", ".join(f"{name} {share:+.1%} of {truths[name].ms:.2f} ms" for share, name in off[:12]))
        print()
        ours = figures["graphopt, fused"]
        limits.check("generic, within 10 %", ours.within10, least=0.97)
        limits.check("generic, within 5 %", ours.within5, least=0.85)
        limits.check("generic, 90 % intervals cover", ours.covered, least=0.85, most=0.95)


class Variants:
    """Pruned variants of one model, and the model itself, which tells how the machine drifted in between."""

    def __init__(self, model: Path, options: argparse.Namespace) -> None:
        self.model, self._options = model, options
        self._base = graphopt.load(model)
        block = this_host("CPUExecutionProvider", 1, "float32").block
        variants = pruned_variants(self._base, options.variants, block if block > 1 else 8, UNSEEN)
        self.graphs = {self._name("base"): self._base, **{self._name(name): graph for name, graph in variants}}
        self.target: Target | None = None

    def _name(self, name: str) -> str:
        return f"{self.model.stem}: {name}"

    def profile(self, rounds: int) -> None:
        arguments = ["--for", str(self.model), "--seconds", str(self._options.seconds)]
        self.target = profile(arguments, self._options.work / f"for-{self.model.stem}", rounds)

    def judged(self, measured: Truths) -> tuple[dict[str, list[tuple[Answer, Truth]]], list[bool], str]:
        """Pairs of answer and truth by method; of those promised to be faster whether they are; and a line of the table."""
        target, graphs, base = self.target, self.graphs, self._name("base")
        assert target is not None
        truths = {name: measured.of(name) for name in graphs}
        own: dict[str, Answers] = {f"graphopt, {kind}": by_model(target, graphs, kind) for kind in ("fused", "lut", "linear")}
        profiled = next(network for network in target.networks if network.name == self.model.stem)
        drift = truths[base].ms / profiled.ms
        own["graphopt, fused, without the machine's drift"] = without_drift(own["graphopt, fused"], drift)
        macs = count(self._base).macs
        own["proportional to MACs"] = {name: Answer(truths[base].ms * count(graph).macs / macs) for name, graph in graphs.items()}
        own["(noise floor: half of the sessions)"] = {name: Answer(truth.odd) for name, truth in truths.items()}
        unseen = {name: truth for name, truth in truths.items() if name != base}
        pairs = {}
        for method, answers in own.items():
            against = {n: Truth(t.even, 0, 0) for n, t in unseen.items()} if method.startswith("(noise") else unseen
            pairs[method] = [(answers[name], truth) for name, truth in against.items()]
        ours = own["graphopt, fused"]
        promised = [name for name in unseen if ours[name].ms < 0.97 * ours[base].ms]
        faster = [truths[name].ms < truths[base].ms for name in promised]
        seconds = target.provenance.get("seconds")
        line = f"| {self.model.stem} | {truths[base].ms:.2f} | {len(unseen)} | {seconds} | {drift - 1:+.1%} | {judge(ours, unseen)} |"
        return pairs, faster, line


def judge_variants(parts: Sequence[Variants], measured: Truths, seconds: float, limits: Limits) -> None:
    rows: dict[str, list[tuple[Answer, Truth]]] = {}
    faster: list[bool] = []
    lines = []
    for part in parts:
        pairs, fast, line = part.judged(measured)
        for method, found in pairs.items():
            rows.setdefault(method, []).extend(found)
        faster += fast
        lines.append(line)
    figures_of = {
        name: judge({str(i): a for i, (a, _) in enumerate(pairs)}, {str(i): t for i, (_, t) in enumerate(pairs)})
        for name, pairs in rows.items()
    }
    table(f"unseen pruned variants of {len(parts)} models, each after `profile --for` of at most {seconds:g} s", figures_of)
    print(
        "\n| model, by graphopt, fused | ms | variants | s measured | drift | MAPE | within 5 % | within 10 % | worst | tau | in interval |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n" + "\n".join(lines) + "\n")
    ours = figures_of["graphopt, fused"]
    limits.check("variants, within 10 %", ours.within10, least=0.99)
    limits.check("variants, within 5 %", ours.within5, least=0.93)
    limits.check("variants, MAPE", ours.mape, most=0.018)
    limits.check("variants, 90 % intervals cover", ours.covered, least=0.85, most=0.95)
    limits.check(f"predicted faster by more than 3 % and measured faster ({len(faster)} variants)", statistics.fmean(faster), least=0.97)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--per-family", type=int, default=5)
    parser.add_argument("--sessions", type=int, default=4, help="at least so many")
    parser.add_argument("--model", type=Path, action="append", default=[])
    parser.add_argument("--variants", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--skip-generic", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    print(machine("graphopt", "onnxruntime", "numpy", "scipy"))
    generic = None if options.skip_generic else Generic(options)
    variants = [Variants(model, options) for model in options.model]
    graphs = {} if generic is None else {**generic.graphs, **generic.controls}
    measured = Truths(options.work / "truth", {**graphs, **{name: graph for part in variants for name, graph in part.graphs.items()}})
    measured.session()
    for made in range(SESSIONS):
        if generic is not None and made % GENERIC_ROUNDS == 0:
            generic.profile(made + GENERIC_ROUNDS)
        for part in variants:
            part.profile(made + 1)
        measured.session()
    for _ in range(SESSIONS + 1, options.sessions):
        measured.session()
    limits = Limits()
    if generic is not None:
        generic.judge(measured, limits)
    if variants:
        judge_variants(variants, measured, options.seconds, limits)
    return min(limits.missed, 1)


if __name__ == "__main__":
    sys.exit(main())
