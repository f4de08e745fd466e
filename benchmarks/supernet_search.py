"""Scoring subnets by tables against predicting the extracted graphs: how fast, and how far apart.

    python benchmarks/supernet_search.py SUPERNET.onnx supernet.json [--target NAME ...] [--subnets 20000] [--checked 25] [--json FILE]

For each target: seconds and extractions to fill the tables, subnets scored per second of one core's processor time (random rows, tables
full), the largest relative difference from the prediction of the extracted graph over `--checked` random subnets, and what the search with the
published settings (population 100, 500 generations) takes with a made-up quality that grows with every choice. Without files, the encoder of
examples/supernets. Exits with status 1 below 10,000 subnets a second, or above a difference of 0.1 %.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from _machine import machine

import graphopt
from graphopt.cost import Predictor, find_target
from graphopt.search.supernet import Allowed, Evolution
from graphopt.supernet import SubnetScores, load_supernet, space_of, transforms_beside

EXAMPLES = Path(__file__).parents[1] / "examples" / "supernets"
LEAST_PER_SECOND, MOST_DIFFERENCE = 10_000, 1e-3
GENERATIONS = 500


def measured(graph: graphopt.Graph, side_file: Path, target: str, subnets: int, checked: int) -> dict[str, float]:
    supernet, predictor = load_supernet(side_file), Predictor(find_target(target))
    space = space_of(graph, supernet)
    scores = SubnetScores(graph, supernet, space, predictor, transforms_beside(supernet))
    start = time.perf_counter()
    scores.fill()
    filling = time.perf_counter() - start
    rng = np.random.default_rng(1)
    rows = space.sample(rng, subnets)
    scores.ms(rows)  # what could not be planned
    start = time.process_time()
    ms = scores.ms(rows)
    rate = subnets / (time.process_time() - start)
    real = []
    for row in rows[:checked]:
        kernels = predictor.kernels(scores.subnet(row)[0])
        real.append(predictor.latency([kernel.signature for kernel in kernels]).ms)
    difference = float(np.abs(ms[:checked] / np.array(real) - 1).max())
    worth = rng.uniform(size=int(space.counts.sum()))
    allowed = Allowed(space, scores.ms, float(np.quantile(ms, 0.3)))
    strategy = Evolution(allowed)
    start = time.perf_counter()
    for _ in range(GENERATIONS):
        asked = strategy.ask()
        strategy.tell(asked, space.encoded(asked) @ worth)
    return {
        "sites": len(space.sites),
        "subnets": space.size,
        "fill_seconds": filling,
        "extracted": scores.extracted,
        "per_second": rate,
        "difference": difference,
        "search_seconds": time.perf_counter() - start,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", default=EXAMPLES / "hat_encoder.onnx")
    parser.add_argument("supernet", type=Path, nargs="?", default=EXAMPLES / "hat_encoder.supernet.json")
    parser.add_argument("--target", action="append", help="default: cpu and jetson-nano")
    parser.add_argument("--subnets", type=int, default=20_000)
    parser.add_argument("--checked", type=int, default=25)
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    about = machine("graphopt", "onnx", "numpy")
    print(f"{about}\n\n| target | sites | subnets | fill, s | extracted | scored per second | difference | 500 generations, s |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    graph, rows, failed = graphopt.load(options.model), [], []
    for target in options.target or ["cpu", "jetson-nano"]:
        found = measured(graph, options.supernet, target, options.subnets, options.checked)
        rows.append({"target": target} | found)
        print(
            f"| {target} | {found['sites']} | {found['subnets']:.1e} | {found['fill_seconds']:.1f} | {found['extracted']} | "
            f"{found['per_second']:,.0f} | {found['difference']:.1e} | {found['search_seconds']:.1f} |",
            flush=True,
        )
        if found["per_second"] < LEAST_PER_SECOND:
            failed.append(f"{target}: {found['per_second']:,.0f} subnets a second (at least {LEAST_PER_SECOND:,})")
        if found["difference"] > MOST_DIFFERENCE:
            failed.append(f"{target}: tables and predictions are {found['difference']:.1e} apart (at most {MOST_DIFFERENCE:g})")
    print("\n" + ("\n".join(f"FAIL  {line}" for line in failed) or "PASS  at least 10,000 subnets a second, within 0.1 % of predictions"))
    if options.json:
        options.json.write_text(json.dumps({"machine": about, "rows": rows}, indent=1))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
