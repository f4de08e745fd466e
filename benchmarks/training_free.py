"""Accuracy against latency of every compressing pass alone, without labels or gradients, with and without `reconstruct`; and of every criterion.

    python benchmarks/training_free.py [MODEL.onnx --calibration FILE.npz --test FILE.npz] [--torch-python PYTHON] [--criteria]
                                       [--samples 1024] [--skip N] [--tested N] [--only PASS ...] [--json FILE]

Without a model: the digits of examples/. Each pass is run at several strengths on the calibration data, its labels unused; accuracy is that on
the test data, latency measured in turns with the original's on one sample, with as many threads as the target `cpu` has: the passes know that
target, and leave layers alone that would become slower there. With `--torch-python`, an interpreter that has torch and Torch-Pruning, that
prunes the model to the same multiply-accumulates (_torch_pruned.py). `--criteria` compares those of `prune-channels` at the same cuts instead,
each with and without repair; what is random is run with five seeds, and their mean and extremes are printed. Exits with status 1 where
pruning or factorization does not reach 0.7 of the latency, or repair there does not halve what is lost.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from _machine import machine

import graphopt
from graphopt.channels import CRITERIA
from graphopt.cost import Predictor, find_target, macs_by_node
from graphopt.errors import BudgetError
from graphopt.ir import Graph
from graphopt.pipeline import Instrument, Pass
from graphopt.quality import Data, load_data, measure, session, top1
from graphopt.repair import DATA_CRITERIA

DIGITS = Path(__file__).parents[1] / "examples" / "digits"
FIRST = "simplify,fuse-bn"
TO = ("0.9x", "0.8x", "0.75x", "0.7x", "0.65x")  # around the point that is judged, as a prediction is not the measured latency
PASSES = {
    "prune-channels": [
        *(f"prune-channels{{ratio={ratio}}}" for ratio in (0.125, 0.25, 0.375, 0.5)),
        *(f"prune-channels{{to={to}}}" for to in TO),
    ],
    "factorize": [*(f"factorize{{energy={energy}}}" for energy in (0.95, 0.9, 0.8, 0.65, 0.5)), *(f"factorize{{to={to}}}" for to in TO)],
    "group-convs": ["group-convs{groups=2}", "group-convs{groups=4}"],
    "separate": ["group-convs{pairs=2}", "group-convs{pairs=1}"],
    "prune-blocks": ["prune-blocks", "prune-blocks{blocks=2}"],
}
CUTS = (0.25, 0.5)
REPAIR = "reconstruct{everything=true}"
SEEDS = range(5)
GOAL = 0.7  # of the latency
JUDGED = ("prune-channels", "factorize")
TARGET = find_target("cpu")


@dataclass(frozen=True)
class Row:
    """One model: relative multiply-accumulates and latency, accuracy without and with repair (None: there is none), and the repair's seconds."""

    name: str
    pipeline: str
    macs: float
    latency: float
    plain: float
    repaired: float | None
    seconds: float


class BeforeRepair(Instrument):
    """Keeps the graph as it was before `reconstruct`."""

    graph: Graph | None = None

    def before_pass(self, pass_: Pass, graph: Graph) -> None:
        if pass_.name == "reconstruct":
            self.graph = graph.copy()


def rows(graph: Graph, data: Data, test: Data, samples: int, only: Sequence[str]) -> Iterator[Row]:
    original, predictor = session(graph, TARGET.threads), Predictor(TARGET)
    for name in only:
        for pipeline in PASSES[name]:
            plain = BeforeRepair()
            try:
                repaired = graphopt.run(
                    graph, f"{FIRST},{pipeline},{REPAIR}", data=data.first(samples), predictor=predictor, instruments=[plain]
                )
            except BudgetError as error:
                print(f"{pipeline}: {error}")
                continue
            assert plain.graph is not None
            yield Row(
                name,
                pipeline,
                repaired.after.macs / repaired.before.macs,
                relative_latency(repaired.graph, original, test),
                top1(session(plain.graph), test),
                top1(session(repaired.graph), test),
                repaired.steps[-1].seconds,
            )


def torch_pruned(model: Path, graph: Graph, test: Data, python: str, shares: Sequence[float]) -> Iterator[Row]:
    """Torch-Pruning's models with about these shares of the multiply-accumulates."""
    script = Path(__file__).with_name("_torch_pruned.py")
    original = session(graph, TARGET.threads)
    with tempfile.TemporaryDirectory(prefix="graphopt-") as folder:
        command = [python, str(script), str(model), folder, *(f"{share:.4f}" for share in shares)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        for found in json.loads(done.stdout.splitlines()[-1]):
            pruned = graphopt.run(graphopt.load(found["file"]), FIRST).graph
            share = macs(pruned) / macs(graph)
            yield Row(
                "Torch-Pruning", found["spread"], share, relative_latency(pruned, original, test), top1(session(pruned), test), None, 0.0
            )


def relative_latency(graph: Graph, original: ort.InferenceSession, test: Data) -> float:
    """Relative to the original's, measured in turns with it on one sample."""
    before, after = measure([original, session(graph, TARGET.threads)], test.one_run(), TARGET.threads)
    return after.median_ms / before.median_ms


def macs(graph: Graph) -> int:
    return sum(count or 0 for count in macs_by_node(graph).values())


def lost_at(latency: float, found: Sequence[Row], accuracy: float, repaired: bool) -> float:
    """Accuracy lost at a relative latency, between the two models on either side of it, of those that no faster one is as accurate as."""
    reached = [(row.latency, max(accuracy - (row.repaired if repaired and row.repaired is not None else row.plain), 0.0)) for row in found]
    front = [(1.0, 0.0)]
    for place, lost in sorted(reached):
        if place < 1 and all(lost < other for faster, other in reached if faster < place):
            front.append((place, lost))
    places, losses = zip(*sorted(front), strict=True)
    return float(np.interp(latency, places, losses))


def criteria(graph: Graph, data: Data, test: Data, samples: int) -> Iterator[dict[str, object]]:
    """For every criterion, the accuracies (one per seed) at each cut, without and with repair."""
    for criterion in (*CRITERIA, *DATA_CRITERIA):
        found: dict[str, object] = {"criterion": criterion}
        for ratio in CUTS:
            plain, repaired = [], []
            for seed in SEEDS if criterion == "random" else (0,):
                before = BeforeRepair()
                # Before folding, so that there are scales of normalizations to go by.
                text = f"prune-channels{{ratio={ratio} criterion={criterion}}},{FIRST},{REPAIR}"
                run = graphopt.run(graph, text, data=data.first(samples), seed=seed, instruments=[before])
                assert before.graph is not None
                plain.append(top1(session(before.graph), test))
                repaired.append(top1(session(run.graph), test))
            found |= {f"{ratio}": plain, f"{ratio} repaired": repaired}
        yield found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path, default=DIGITS / "digits.onnx")
    parser.add_argument("--calibration", type=Path, default=DIGITS / "calibration.npz")
    parser.add_argument("--test", type=Path, default=DIGITS / "validation.npz")
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--skip", type=int, default=0, help="samples at the beginning of the calibration file that are not used")
    parser.add_argument("--criteria", action="store_true")
    parser.add_argument("--tested", type=int, help="test samples that are used (all)")
    parser.add_argument("--only", nargs="+", choices=list(PASSES), default=list(PASSES))
    parser.add_argument("--torch-python")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    graph = graphopt.load(options.model)
    with np.load(options.calibration) as arrays:
        data = load_data({name: array[options.skip :] for name, array in arrays.items()}, graph)
    test = load_data(options.test, graph)
    test = test.first(options.tested or test.samples)
    accuracy = top1(session(graph), test)
    error = float(np.sqrt(accuracy * (1 - accuracy) / test.samples))
    print(machine("onnxruntime", "numpy", "scipy"))
    print(
        f"{options.model.name}: accuracy {accuracy:.4f} (standard error {error:.4f}) on {test.samples} samples; "
        f"{min(options.samples, data.samples)} for calibration\n"
    )
    if options.criteria:
        return compare_criteria(graph, data, test, options)
    found: list[Row] = []
    print(f"{'pass':16}{'MACs':>7}{'latency':>9}{'accuracy':>10}{'repaired':>10}{'repair s':>10}  pipeline")
    for row in rows(graph, data, test, options.samples, options.only):
        found.append(row)
        show(row)
    if options.torch_python:
        shares = [row.macs for row in found if row.name == "prune-channels"]
        for row in torch_pruned(options.model, graph, test, options.torch_python, shares):
            found.append(row)
            show(row)
    missed = False
    print(f"\naccuracy lost at {GOAL} of the latency (or the least that a pass reaches), without and with repair")
    for name in dict.fromkeys(row.name for row in found):
        of_pass = [row for row in found if row.name == name]
        latency = max(GOAL, min(row.latency for row in of_pass))
        plain, repaired = (lost_at(latency, of_pass, accuracy, with_repair) for with_repair in (False, True))
        verdict = ""
        if name in JUDGED:
            kept = latency <= GOAL and repaired <= max(plain, 0) / 2 + 1 / test.samples
            verdict = f"  {'PASS' if kept else 'FAIL'} (goal: at most half, at {GOAL})"
            missed = missed or not kept
        print(f"{name:16}at {latency:.3f}{plain:10.4f}" + (f"{repaired:10.4f}" if name in PASSES else "") + verdict)
    _write(options.json, [asdict(row) for row in found])
    return int(missed)


def show(row: Row) -> None:
    repaired = "" if row.repaired is None else f"{row.repaired:.4f}"
    seconds = "" if row.repaired is None else f"{row.seconds:.1f}"
    print(f"{row.name:16}{row.macs:7.3f}{row.latency:9.3f}{row.plain:10.4f}{repaired:>10}{seconds:>10}  {row.pipeline}", flush=True)


def compare_criteria(graph: Graph, data: Data, test: Data, options: argparse.Namespace) -> int:
    columns = [f"{ratio}{repair}" for ratio in CUTS for repair in ("", " repaired")]
    print(f"{'criterion':16}" + "".join(f"{f'ratio {column}':>24}" for column in columns))
    table = []
    for line in criteria(graph, data, test, options.samples):
        table.append(line)
        print(f"{line['criterion']:16}" + "".join(f"{_spread(line[column]):>24}" for column in columns), flush=True)
    _write(options.json, table)
    return 0


def _spread(scores: object) -> str:
    assert isinstance(scores, list)
    return f"{np.mean(scores):.4f}" + (f" ({min(scores):.3f}-{max(scores):.3f})" if len(scores) > 1 else "")


def _write(path: Path | None, content: object) -> None:
    if path is not None:
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
