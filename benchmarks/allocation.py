"""Accuracy against measured latency, without fine-tuning: how pruning is shared out among the channel groups of a model.

    python benchmarks/allocation.py [--model MODEL.onnx CALIBRATION.npz TEST.npz]... [--torch-python PYTHON] [--target cpu]
        [--shares 0.8 0.65 0.5 0.35] [--harm evaluation] [--options "align=4 max_ratio=0.95"]

The model of examples/digits unless models are given. `uniform`, `greedy` and `knapsack` are the solvers of `prune-channels{to=...}`: same groups,
same criterion (l2), same predictor, same widths on offer, and for the last two the same estimates of harm. Predictions only say how groups compare:
models are measured in turns with the original, one sample at a time on one thread, and where one is not within 5 % of its budget the goal
is multiplied by budget / measured and solved again.

`torch-pruning` is its global magnitude pruning (pip install torch-pruning; --torch-python names an interpreter that has it), at 30 ratios,
with any widths and with multiples of 8, exported to ONNX; of the six slowest of those within the budget the one that is best *on the test part*
is shown, which flatters it. Data has an array by the input's name, and `labels`. Criteria and harms see the calibration part, and the test part is
seen by the final figure alone. `beside knapsack` is by how much more or less accurate a model is, with two standard errors of that difference on the
same samples; `repaired` and what is beside that, the same after `reconstruct{everything=true}`, which needs neither labels nor gradients, and which
the solvers know nothing of. Exits with status 1 where knapsack is less accurate than another by more than these, repair apart, or slower than a
budget by more than 5 %.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from _machine import machine

from graphopt.allocation import SOLVERS
from graphopt.cost import Predictor, find_target
from graphopt.errors import BudgetError
from graphopt.ir import Graph, load, save
from graphopt.pipeline import Context, parse_pipeline, run_pipeline
from graphopt.quality import Data, load_data, measure, predict, session
from graphopt.report import installed_passes

HERE = Path(__file__).parent
DIGITS = HERE.parent / "examples" / "digits"
SLACK = 0.05
ROUNDS = 8
LARGEST = 6
REPAIR = "reconstruct{everything=true}"
RATIOS = [round(ratio, 3) for ratio in np.arange(0.03, 0.92, 0.03).tolist()]
PASSES = installed_passes(())

Flags = npt.NDArray[np.bool_]


@dataclass
class Bench:
    """One model with its data; `measured` remembers by the bytes of a model."""

    original: Graph
    calibration: Data
    test: Data
    predictor: Predictor
    measured: dict[bytes, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.one = {name: array[:1] for name, array in self.test.feeds.items()}
        self.opened = session(self.original, 1)
        self.base = self.original.copy()
        run_pipeline(self.base, parse_pipeline("simplify,fuse-bn", PASSES), self.context)

    @property
    def context(self) -> Context:
        return Context(0, self.calibration.feeds, original=self.original, predictor=self.predictor)

    def share(self, graph: Graph) -> float:
        """Measured latency relative to the original's, measured in turns with it."""
        key = graph.to_proto().SerializeToString(deterministic=True)
        if key not in self.measured:
            found = []
            for _ in range(3):
                before, after = measure([self.opened, session(graph, 1)], self.one, threads=1, max_seconds=3)
                found.append(after.median_ms / before.median_ms)
            self.measured[key] = float(np.median(found))
        return self.measured[key]

    def right(self, graph: Graph) -> Flags:
        """Whether each test sample is classified as its label says."""
        (scores,) = predict(session(graph, 2), self.test).values()
        assert self.test.labels is not None
        return np.asarray(scores.argmax(axis=-1).ravel() == self.test.labels.ravel())


@dataclass(frozen=True)
class Point:
    """A model: what it was told to be, predicted and measured to be as a share of the original's latency, and which samples it gets right.

    `repaired`: which it gets right after repair, where there is any.
    """

    method: str
    goal: str
    predicted: float
    measured: float
    right: Flags
    repaired: Flags | None = None


def beside(right: Flags, other: Flags) -> tuple[float, float]:
    """By how much one is more accurate than another, and two standard errors of that: of the mean of the samples' differences."""
    differences = right.astype(np.float64) - other
    return float(differences.mean()), 2 * float(differences.std(ddof=1)) / math.sqrt(len(differences))


def allocated(bench: Bench, solver: str, budget: float, settings: str) -> Point | None:
    """The model of a solver that is nearest to the budget, and at most 5 % slower; None where none is found."""
    whole = bench.predictor.predict(bench.original).ms
    goal, best = budget, None
    low, high = 0.0, 1.0  # goals that are known to be met with time to spare, or out of reach, and those known to be too slow
    for _ in range(ROUNDS):
        text = f"prune-channels{{to={goal:.4f}x solver={solver} {settings}}}"
        graph = bench.base.copy()
        try:
            steps = run_pipeline(graph, parse_pipeline(text, PASSES), bench.context)
        except BudgetError:
            low, goal = goal, (goal + high) / 2
            continue
        share = bench.share(graph)
        if share <= budget * (1 + SLACK) and (best is None or share > best[1]):
            best = graph, share, text, steps
        if abs(share / budget - 1) <= SLACK:
            break
        low, high = (goal, high) if share < budget else (low, goal)
        goal *= budget / share
        if not low < goal < high:
            goal = (low + high) / 2
    if best is None:
        return None
    graph, share, text, steps = best
    right, told = bench.right(graph), text.partition("to=")[2].split()[0]
    predicted = bench.predictor.predict(graph).ms / whole
    run_pipeline(graph, parse_pipeline(REPAIR, PASSES), replace(bench.context, history=tuple(step.result for step in steps)))
    return Point(solver, told, predicted, share, right, bench.right(graph))


@dataclass(frozen=True)
class TorchPruned:
    """A model that Torch-Pruning made, and its measured latency relative to the original's."""

    label: str
    graph: Graph
    measured: float

    def point(self, bench: Bench) -> Point:
        predicted = bench.predictor.predict(self.graph).ms / bench.predictor.predict(bench.original).ms
        return Point("torch-pruning", self.label, predicted, self.measured, bench.right(self.graph))


def torch_pruned(bench: Bench, python: str, folder: Path) -> tuple[list[TorchPruned], str]:
    """What Torch-Pruning makes of the model, at all ratios, and what there is to say of it."""
    model = folder / "base.onnx"
    save(bench.base, model)
    points, said = [], ""
    for step in (None, 8):
        out = folder / f"step{step}"
        out.mkdir()
        command = [python, str(HERE / "_torch_global.py"), str(model), str(out), "--ratios", *map(str, RATIOS)]
        done = subprocess.run([*command, *(["--round-to", str(step)] if step else [])], capture_output=True, text=True, check=False)
        lines = done.stdout.strip().splitlines()
        found = json.loads(lines[-1]) if done.returncode == 0 and lines else {"why": done.stderr.strip()[-200:]}
        if "why" in found:
            return [], f"torch-pruning could not take it: {found['why']}"
        if found["failed"]:
            said = f"torch-pruning failed at {len(found['failed'])} ratios: {next(iter(found['failed'].values()))}"
        for ratio, file in found["made"].items():
            graph = load(file)
            points.append(TorchPruned(f"{ratio}{' by 8' if step else ''}", graph, bench.share(graph)))
    return points, said


def line(point: Point, ours: Point) -> str:
    cells = [point.goal, f"{point.predicted:.3f}", f"{point.measured:.3f}"]
    for right, other in ((point.right, ours.right), (point.repaired, ours.repaired)):
        cells.append("" if right is None else f"{right.mean():.4f}")
        cells.append("" if right is None or other is None or point is ours else "{:+.4f} +- {:.4f}".format(*beside(right, other)))
    return " | ".join(cells)


def table(bench: Bench, shares: list[float], settings: str, harm: str, python: str | None) -> bool:
    """Prints the model's points; whether knapsack is as accurate as all others, as far as the samples tell, and in time, at each."""
    print("| budget | method | goal | predicted | measured | accuracy | beside knapsack | repaired | beside knapsack |\n|" + " --- |" * 9)
    points: list[TorchPruned] = []
    said = ""
    if python is not None:
        with tempfile.TemporaryDirectory() as folder:
            points, said = torch_pruned(bench, python, Path(folder))
    good = True
    for budget in shares:
        row = [allocated(bench, solver, budget, f"{settings} harm={'weights' if solver == 'uniform' else harm}") for solver in SOLVERS]
        within = sorted((point for point in points if point.measured <= budget * (1 + SLACK)), key=lambda point: -point.measured)
        row.append(max((made.point(bench) for made in within[:LARGEST]), key=lambda point: point.right.sum(), default=None))
        ours = next((point for point in row if point is not None and point.method == "knapsack"), None)
        if ours is None:
            print(f"| {budget:g} | knapsack | | | none in time | | | | |", flush=True)
            good = False
            continue
        for method, point in zip((*SOLVERS, "torch-pruning"), row, strict=True):
            if point is None and (points or method in SOLVERS):
                print(f"| {budget:g} | {method} | | | none in time | | | | |", flush=True)
            elif point is not None:
                print(f"| {budget:g} | {method} | {line(point, ours)} |", flush=True)
                more, noise = beside(point.right, ours.right)
                good &= more <= noise
    if said:
        print(said)
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs=3, type=Path, action="append", metavar=("MODEL", "CALIBRATION", "TEST"))
    parser.add_argument("--torch-python")
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.8, 0.65, 0.5, 0.35])
    parser.add_argument("--harm", default="evaluation")
    parser.add_argument("--options", default="align=4 max_ratio=0.95", help="more parameters of prune-channels, for all three solvers")
    given = parser.parse_args()
    predictor = Predictor(find_target(given.target))
    print(f"{machine('numpy', 'onnxruntime', 'scipy')}; target {predictor.target.name}; harm {given.harm}; {given.options}")
    good = True
    for model, calibration, test in given.model or [[DIGITS / f for f in ("digits.onnx", "calibration.npz", "validation.npz")]]:
        graph = load(model)
        bench = Bench(graph, replace(load_data(str(calibration), graph), labels=None), load_data(str(test), graph), predictor)
        accuracy = float(bench.right(graph).mean())
        error = float(np.sqrt(accuracy * (1 - accuracy) / bench.test.samples))
        ms = measure([bench.opened], bench.one, threads=1, max_seconds=3)[0].median_ms
        print(
            f"\n## {model.stem}: accuracy {accuracy:.4f} on {bench.test.samples} test samples (standard error {error:.4f}), {ms:.3f} ms\n"
        )
        good &= table(bench, given.shares, given.options, given.harm, given.torch_python)
    said = "knapsack at least as accurate as the others at every budget, within two standard errors, and at most 5 % over it"
    print(f"\n{'PASS' if good else 'FAIL'}  {said}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
