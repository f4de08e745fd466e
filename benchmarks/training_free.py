"""Accuracy against latency of every compressing pass alone, without labels or gradients, with and without `reconstruct`; and of every criterion.

    python benchmarks/training_free.py [MODEL.onnx --calibration FILE.npz --test FILE.npz] [--criteria] [--samples 1024] [--json FILE]

Without a model: the digits of examples/. Each pass is run at several strengths on the calibration data, its labels unused; accuracy is that on
the test data, latency measured in turns with the original's on one sample. `--criteria` compares those of `prune-channels` at the same cuts
instead; what is random is run with five seeds, and their mean and extremes are printed. Exits with status 1 where repair at 0.7 of the latency
does not halve what is lost to pruning or factorization.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from _machine import machine

import graphopt
from graphopt.channels import CRITERIA
from graphopt.ir import Graph
from graphopt.quality import Data, load_data, measure, session, top1
from graphopt.repair import DATA_CRITERIA

DIGITS = Path(__file__).parents[1] / "examples" / "digits"
FIRST = "simplify,fuse-bn"
PASSES = {
    "prune-channels": [f"prune-channels{{ratio={ratio}}}" for ratio in (0.25, 0.5, 0.625, 0.75)],
    "factorize": [f"factorize{{energy={energy}}}" for energy in (0.99, 0.95, 0.9, 0.8)],
    "group-convs": ["group-convs{groups=2}", "group-convs{groups=4}"],
    "separate": ["group-convs{pairs=4}", "group-convs{pairs=2}", "group-convs{pairs=1}"],
    "prune-blocks": ["prune-blocks", "prune-blocks{blocks=2}"],
}
CUTS = (0.25, 0.5, 0.75)
SEEDS = range(5)
GOAL = 0.7  # of the latency


@dataclass(frozen=True)
class Row:
    """One model: relative multiply-accumulates and latency, accuracy without and with repair, and the seconds that repair took."""

    name: str
    pipeline: str
    macs: float
    latency: float
    plain: float
    repaired: float
    seconds: float


def rows(graph: Graph, data: Data, test: Data, samples: int) -> Iterator[Row]:
    original = session(graph)
    for name, pipelines in PASSES.items():
        for pipeline in pipelines:
            plain = graphopt.run(graph, f"{FIRST},{pipeline}", data=data.first(samples))
            repaired = graphopt.run(graph, f"{FIRST},{pipeline},reconstruct{{everything=true}}", data=data.first(samples))
            before, after = measure([original, session(repaired.graph)], test.one_run())
            yield Row(
                name,
                pipeline,
                plain.after.macs / plain.before.macs,
                after.median_ms / before.median_ms,
                top1(session(plain.graph), test),
                top1(session(repaired.graph), test),
                repaired.steps[-1].seconds,
            )


def lost_at(found: Sequence[Row], accuracy: float, repaired: bool) -> float | None:
    """Accuracy lost at the goal, between the two models on either side of it; None where the pass does not reach it."""
    points = sorted([(row.latency, accuracy - (row.repaired if repaired else row.plain)) for row in found] + [(1.0, 0.0)])
    if points[0][0] > GOAL:
        return None
    return float(np.interp(GOAL, [x for x, _ in points], [y for _, y in points]))


def criteria(graph: Graph, data: Data, test: Data, samples: int) -> Iterator[dict[str, object]]:
    for criterion in (*CRITERIA, *DATA_CRITERIA):
        found: dict[str, object] = {"criterion": criterion}
        for ratio in CUTS:
            scores = []
            for seed in SEEDS if criterion == "random" else (0,):
                # Before folding, so that there are scales of normalizations to go by.
                text = f"prune-channels{{ratio={ratio} criterion={criterion}}},{FIRST}"
                run = graphopt.run(graph, text, data=data.first(samples), seed=seed)
                scores.append(top1(session(run.graph), test))
            found[str(ratio)] = scores
        yield found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path, default=DIGITS / "digits.onnx")
    parser.add_argument("--calibration", type=Path, default=DIGITS / "calibration.npz")
    parser.add_argument("--test", type=Path, default=DIGITS / "validation.npz")
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--criteria", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    graph = graphopt.load(options.model)
    data, test = load_data(options.calibration, graph), load_data(options.test, graph)
    accuracy = top1(session(graph), test)
    print(machine("onnxruntime", "numpy", "scipy"))
    print(
        f"{options.model.name}: accuracy {accuracy:.4f} on {test.samples} samples; {min(options.samples, data.samples)} for calibration\n"
    )
    if options.criteria:
        table = list(criteria(graph, data, test, options.samples))
        print(f"{'criterion':16}" + "".join(f"{f'ratio {ratio}':>24}" for ratio in CUTS))
        for line in table:
            print(f"{line['criterion']:16}" + "".join(f"{_spread(line[str(ratio)]):>24}" for ratio in CUTS))
        _write(options.json, table)
        return 0
    found: list[Row] = []
    print(f"{'pass':16}{'MACs':>7}{'latency':>9}{'accuracy':>10}{'repaired':>10}{'repair s':>10}  pipeline")
    for row in rows(graph, data, test, options.samples):
        found.append(row)
        print(
            f"{row.name:16}{row.macs:7.3f}{row.latency:9.3f}{row.plain:10.4f}{row.repaired:10.4f}{row.seconds:10.1f}  {row.pipeline}",
            flush=True,
        )
    missed = False
    print(f"\naccuracy lost at {GOAL} of the latency, without and with repair")
    for name in PASSES:
        of_pass = [row for row in found if row.name == name]
        plain, repaired = lost_at(of_pass, accuracy, False), lost_at(of_pass, accuracy, True)
        if plain is None or repaired is None:
            print(f"{name:16} does not reach it")
            continue
        print(f"{name:16}{plain:10.4f}{repaired:10.4f}")
        missed = missed or (name in ("prune-channels", "factorize") and repaired > max(plain, 0) / 2 + 1 / test.samples)
    _write(options.json, [asdict(row) for row in found])
    return int(missed)


def _spread(scores: object) -> str:
    assert isinstance(scores, list)
    return f"{np.mean(scores):.4f}" + (f" ({min(scores):.3f}-{max(scores):.3f})" if len(scores) > 1 else "")


def _write(path: Path | None, content: object) -> None:
    if path is not None:
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
