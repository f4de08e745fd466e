"""Pipelines under one latency budget: each pass alone, AIMET's grid by hand, and each search strategy with as many trials.

    python benchmarks/sequences.py [MODEL DATA] [--speedup 3] [--trials 30] [--target cpu] [--metric NAME] [--seeds 1] [--small]

By default the digits model with its 400 validation images, which are cut into parts for calibration, for the search, and for the final
figure. Every strategy starts from nothing and makes as many trials; the same pipeline is not scored twice, whoever proposes it, so the time
that is printed counts what its trials took when they were first made. "AIMET's grid" is what its guide on compression tells people to do:
factorize to a share of 0.5, 0.65 or 0.75 of the saving, then prune.

`--small` adds a space of at most 5,000 pipelines that is scored whole (slow: it makes every one of them), and each strategy's regret there: how far
the best of its trials is from the best there is.

The latency is that predicted for the target, so that the table says what strategies find, and not how noisy a machine is.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from graphopt.errors import GraphoptError
from graphopt.search import STRATEGIES, Budget, Objective, Space
from graphopt.search.finalists import with_goal
from graphopt.search.point import Point, name_of
from graphopt.search.request import FIRST, Request
from graphopt.search.setup import Setup, compressing_passes, prepare, repair_pass
from graphopt.search.study import Proposal, Record

DIGITS = Path(__file__).parents[1] / "examples" / "digits"
AIMET_SHARES = (0.5, 0.65, 0.75)
SMALL_SHARES, SMALL_LENGTH, SMALL_MOST = (0.25, 0.5, 0.75), 2, 5_000


@dataclass
class Scorer:
    """Makes each pipeline once; what is asked for again is looked up, in a file that a run that was stopped can go on with."""

    setup: Setup
    objective: Objective
    kept: Path | None
    known: dict[str, Record] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._evaluate = self.setup.evaluator()
        if self.kept is not None and self.kept.exists():
            for line in self.kept.read_text().splitlines():
                text, state, values, seconds = json.loads(line)
                self.known[text] = Record(0, Proposal(text), state, values, seconds=seconds)

    def made(self, proposal: Proposal, number: int) -> Record:
        if proposal.pipeline not in self.known:
            self._make(proposal.pipeline)
        found = self.known[proposal.pipeline]
        return Record(number, proposal, found.state, found.values, seconds=found.seconds)

    def _make(self, text: str) -> None:
        began = time.perf_counter()
        try:
            evaluation = self._evaluate(Proposal(text))
            record = Record(0, Proposal(text), "complete", dict(evaluation.values), seconds=time.perf_counter() - began)
        except GraphoptError:
            record = Record(0, Proposal(text), "failed", seconds=time.perf_counter() - began)
        self.known[text] = record
        if self.kept is not None:
            with self.kept.open("a") as file:
                file.write(json.dumps([text, record.state, dict(record.values), record.seconds]) + "\n")

    def best(self, records: Sequence[Record]) -> Record | None:
        return next(iter(self.objective.best(records)), None)


def searched(scorer: Scorer, space: Space, name: str, trials: int, seed: int) -> list[Record]:
    """The trials of a strategy."""
    strategy = STRATEGIES[name](space, scorer.objective)
    records: list[Record] = []
    while len(records) < trials and (proposal := strategy.propose(records, seed)) is not None:
        records.append(scorer.made(proposal, len(records)))
    return records


def proposed(scorer: Scorer, space: Space, points: Sequence[Point]) -> list[Record]:
    return [scorer.made(space.proposal(point), number) for number, point in enumerate(points)]


def aimet(space: Space) -> tuple[Space, list[Point]]:
    """Its grid, with and without repair."""
    grid = Space(space.passes, space.goals, AIMET_SHARES, 2, space.first, space.repair)
    forms = [[step for step in space.passes if name_of(step) == name] for name in ("factorize", "prune-channels")]
    if not all(forms):
        return grid, []
    steps = (forms[0][0], forms[1][0])
    return grid, [Point(steps, (share,), repair) for share in range(len(AIMET_SHARES)) for repair in space.repairs]


def row(name: str, scorer: Scorer, runs: Sequence[Sequence[Record]]) -> None:
    """A line of the table: means over the runs."""
    best = [scorer.best(records) for records in runs]
    seconds = sum(record.seconds for records in runs for record in records) / len(runs)
    count = sum(map(len, runs)) / len(runs)
    found = [record for record in best if record is not None]
    if not found:
        print(f"| {name} | {count:.0f} | out of reach | | {seconds:.0f} | |", flush=True)
        return
    validation = sum(record.values["quality"] for record in found) / len(found)
    tested = scorer.setup.test_quality([scorer.setup.runner.run(record.pipeline).graph for record in found])
    test = sum(tested) / len(tested)
    text = max(found, key=lambda record: record.values["quality"]).pipeline.removeprefix(f"{scorer.setup.request.first},")
    print(f"| {name} | {count:.0f} | {validation:.4f} | {test:.4f} | {seconds:.0f} | `{text}` |", flush=True)


def table(scorer: Scorer, space: Space, trials: int, seeds: int) -> None:
    print("\n| | trials | best validation quality | its test quality | seconds | pipeline |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    for step in space.passes:
        for repair in space.repairs:
            row(f"{step} alone{' + repair' if repair else ''}", scorer, [proposed(scorer, space, [Point((step,), repair=repair)])])
    grid, points = aimet(space)
    if points:
        row("AIMET's grid by hand", scorer, [proposed(scorer, grid, points)])
    for name in STRATEGIES:
        row(name, scorer, [searched(scorer, space, name, trials, seed) for seed in range(seeds)])


def regrets(scorer: Scorer, space: Space, trials: int, seeds: int) -> None:
    """How far each strategy's best is from the best of all, where all are made."""
    best = scorer.best(proposed(scorer, space, list(space.all())))
    if best is None:
        print("\nno pipeline of the small space keeps the budget")
        return
    print(f"\nOf all {space.size} pipelines the best has {best.values['quality']:.4f}: `{best.pipeline}`\n")
    print(f"| regret after {trials} trials, mean of {seeds} seeds | |\n| --- | ---: |")
    for name in STRATEGIES:
        found = [scorer.best(searched(scorer, space, name, trials, seed)) for seed in range(seeds)]
        lost = [best.values["quality"] - record.values["quality"] for record in found if record is not None]
        missing = f" ({seeds - len(lost)} found none)" if len(lost) < seeds else ""
        print(f"| {name} | {sum(lost) / max(len(lost), 1):.4f}{missing} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=str(DIGITS / "digits.onnx"))
    parser.add_argument("data", nargs="?", default=str(DIGITS / "validation.npz"))
    parser.add_argument("--speedup", type=float, default=3.0, help="predicted, of the whole network")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--metric")
    parser.add_argument("--passes", nargs="+", help="only these, as texts without a goal; default: all that are installed")
    parser.add_argument("--small", action="store_true", help="also score a small space whole")
    parser.add_argument("--no-repair", action="store_true", help="never repair")
    parser.add_argument("--kept", type=Path, help="keep the trials in this file, and go on with those that it holds, of the same code")
    given = parser.parse_args()

    setup = prepare(Request(given.model, Budget(speedup=given.speedup), given.target, given.data, metric=given.metric))
    passes = tuple(given.passes or compressing_passes(setup.registry))
    goal = {"latency": 1 / given.speedup}
    space = Space(passes, (goal,), first=FIRST, repair="" if given.no_repair else repair_pass(setup.registry, setup.parts))
    space, objective = with_goal(space, Objective(setup.quality), goal, setup.figures)
    scorer = Scorer(setup, objective, given.kept)
    parts = setup.parts
    print(f"{given.model}, {setup.metric}: {setup.quality:.4f} on the {parts.validation.samples} samples of the validation part before,")
    print(f"{setup.test_quality([setup.original])[0]:.4f} on the {parts.test.samples} of the test part; {space.size} pipelines in all")
    table(scorer, space, given.trials, given.seeds)
    if given.small:
        small = Space(passes, (goal,), SMALL_SHARES, SMALL_LENGTH, FIRST, space.repair)
        assert small.size <= SMALL_MOST, f"{small.size} pipelines are too many"
        regrets(scorer, small, given.trials, given.seeds)


if __name__ == "__main__":
    main()
