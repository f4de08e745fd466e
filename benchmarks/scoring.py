"""How many width configurations of a network are scored per second on one core, and whether the scores are right.

    python benchmarks/scoring.py [MODEL.onnx] [--target NAME|FOLDER] [--choices 200000] [--compared 20]

Random configurations over all channel groups are scored from tables; some of them are compared with the prediction of the graph that is really
cut to them. The network is a ResNet-50 made here (random weights), unless a file is given. The time is processor time of this one thread, the
least of a few repeats, so that other work on the machine does not count. Exits with status 1 where fewer than 200,000 are scored per
second or a score differs by more than 0.1 %.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from _machine import machine
from cost_speed import fastest, resnet50

from graphopt.channels import analyse, cut, functions_with_rules, without_emptied
from graphopt.cost import Predictor, WidthTables, find_target
from graphopt.ir import Graph, inline_functions, load

CONFIGURATIONS = 200_000  # per second
CLOSE = 1e-3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--target", default="jetson-nano")
    parser.add_argument("--choices", type=int, default=200_000)
    parser.add_argument("--compared", type=int, default=20)
    given = parser.parse_args()
    graph = resnet50() if given.model is None else load(given.model)
    graph = inline_functions(graph, keep=functions_with_rules(graph))
    predictor = Predictor(find_target(given.target))
    print(f"{machine('numpy')}; target {predictor.target.name}; {'ResNet-50' if given.model is None else given.model.name}")

    started = time.thread_time()
    tables = WidthTables(predictor, graph)
    seconds = time.thread_time() - started
    widths = " x ".join(str(len(levels)) for levels in tables.levels)
    print(f"tables of {tables.entries:,} kernels over {len(tables.groups)} channel groups made in {seconds:.1f} s; widths {widths}")
    rng = np.random.default_rng(0)
    choices = np.stack([rng.integers(len(levels), size=given.choices) for levels in tables.levels], axis=1)
    rate = given.choices / fastest(lambda: tables.ms(choices), 3) * 1000
    scored = tables.ms(choices[: given.compared])
    off = [abs(ms / cut_and_predicted(predictor, graph, tables, choice, rng) - 1) for ms, choice in zip(scored, choices, strict=False)]
    fast, right = rate >= CONFIGURATIONS, max(off) <= CLOSE
    print(f"{'PASS' if fast else 'FAIL'}  {rate:,.0f} configurations per second (goal {CONFIGURATIONS:,})")
    print(
        f"{'PASS' if right else 'FAIL'}  {len(off)} of them beside the graphs that are cut: at most {max(off):.2e} off, relative (goal {CLOSE:g})"
    )
    return 0 if fast and right else 1


def cut_and_predicted(predictor: Predictor, graph: Graph, tables: WidthTables, choice: np.ndarray, rng: np.random.Generator) -> float:
    """Milliseconds of the graph that keeps as many units, drawn at random, as the choice says."""
    twin = graph.copy()
    analysis = analyse(twin)
    units = {name: sorted(rng.permutation(analysis.group(name).size)[:width]) for name, width in tables.widths(choice.tolist()).items()}
    cut(analysis, without_emptied(analysis, units))
    return predictor.predict(twin).ms


if __name__ == "__main__":
    sys.exit(main())
