"""How the time of the channel analysis grows with the graph.

    python benchmarks/growth.py [--sizes 1000 3000 10000 30000] [--repeats 3] [--json FILE]

Two synthetic families. "stages": residual blocks, concatenated branches and channel shuffles, with a fresh convolution every eight blocks, so
that the number of groups grows with the graph. "stream": the same blocks around one residual stream, whose single group has an axis of
every block as a member. Each figure is the median of interleaved repeats on fresh graphs; shape inference counts, loading does not. Exits
with status 1 when 10,000 nodes take more than 5 s, or time grows faster than the nodes to the power of 1.2, both in processor time, so that
other work on the machine does not count (the analysis is one thread).
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from _machine import machine
from onnx import TensorProto, helper, numpy_helper

from graphopt.channels import analyse
from graphopt.ir import Graph

WIDTH = 16
STAGE = 8  # blocks between fresh convolutions
MOST_SECONDS = 5.0
MOST_EXPONENT = 1.2


class Chain:
    """Nodes one after the other; each method adds some and returns the name of their output."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = [
            numpy_helper.from_array(np.array([0, 2, WIDTH // 2, 4, 4], np.int64), "split"),
            numpy_helper.from_array(np.array([0, WIDTH, 4, 4], np.int64), "merged"),
        ]
        self.rng = np.random.default_rng(0)

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def conv(self, x: str, inputs: int = WIDTH) -> str:
        weight = f"w{len(self.nodes)}"
        self.weights.append(numpy_helper.from_array(self.rng.standard_normal((WIDTH, inputs, 1, 1), np.float32), weight))
        return self.node("Conv", x, weight)

    def residual(self, x: str) -> str:
        return self.node("Add", self.conv(self.node("Relu", self.conv(x))), x)

    def branches(self, x: str) -> str:
        both = self.node("Concat", self.node("Relu", self.conv(x)), self.node("Relu", self.conv(x)), axis=1)
        return self.node("Add", self.conv(both, 2 * WIDTH), x)

    def shuffle(self, x: str) -> str:
        split = self.node("Reshape", self.conv(x), "split")
        merged = self.node("Reshape", self.node("Transpose", split, perm=[0, 2, 1, 3, 4]), "merged")
        return self.node("Add", self.conv(merged), x)


def chain(size: int, stages: bool) -> onnx.ModelProto:
    """A model of about `size` nodes (a block more at most)."""
    made = Chain()
    x = made.conv("x", 3)
    block = 0
    while len(made.nodes) < size - 1:
        x = (made.residual, made.branches, made.shuffle)[block % 3](x)
        block += 1
        if stages and block % STAGE == 0:
            x = made.conv(x)
    made.nodes.append(helper.make_node("GlobalAveragePool", [x], ["y"]))
    info = helper.make_tensor_value_info
    y = info("y", TensorProto.FLOAT, ["N", WIDTH, 1, 1])
    graph = helper.make_graph(made.nodes, "chain", [info("x", TensorProto.FLOAT, ["N", 3, 4, 4])], [y], made.weights)
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)])


def measure(sizes: list[int], repeats: int) -> dict[str, list[dict[str, float]]]:
    models = {(family, size): chain(size, family == "stages") for family in ("stages", "stream") for size in sizes}
    analyse(Graph.from_proto(next(iter(models.values()))))  # imports and schemas are not part of it
    clocks: dict[Any, list[tuple[float, float]]] = {key: [] for key in models}
    groups = {}
    for _ in range(repeats):
        for key, model in models.items():
            graph = Graph.from_proto(model)
            start, cpu = time.perf_counter(), time.process_time()
            groups[key] = len(analyse(graph).groups)
            clocks[key].append((time.perf_counter() - start, time.process_time() - cpu))
    found: dict[str, list[dict[str, float]]] = {"stages": [], "stream": []}
    for key, model in models.items():
        wall, cpu = (statistics.median(clock) for clock in zip(*clocks[key], strict=True))
        found[key[0]].append({"nodes": len(model.graph.node), "groups": groups[key], "wall_s": wall, "seconds": cpu})
    return found


def exponent(rows: list[dict[str, float]]) -> float:
    """The slope of log time over log nodes, from the first size to the last."""
    first, last = rows[0], rows[-1]
    return math.log(last["seconds"] / first["seconds"]) / math.log(last["nodes"] / first["nodes"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 3000, 10000, 30000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    found = measure(options.sizes, options.repeats)
    about = machine("graphopt", "onnx", "numpy", "networkx")
    print(f"{about}\n\n| family | nodes | groups | processor s | µs per node | wall clock s |\n| --- | ---: | ---: | ---: | ---: | ---: |")
    limits = []
    for family, rows in found.items():
        for row in rows:
            each = 1e6 * row["seconds"] / row["nodes"]
            print(f"| {family} | {row['nodes']} | {row['groups']} | {row['seconds']:.2f} | {each:.0f} | {row['wall_s']:.2f} |")
            if 10_000 <= row["nodes"] < 10_100:
                limits.append((f"{family}: seconds for 10,000 nodes", row["seconds"], MOST_SECONDS))
        if len(rows) > 1:
            limits.append((f"{family}: time grows like nodes to the power of", exponent(rows), MOST_EXPONENT))
    print()
    for what, measured, at_most in limits:
        print(f"{'PASS' if measured <= at_most else 'FAIL'}  {what} {measured:.2f} (at most {at_most:g})")
    if options.json:
        options.json.write_text(json.dumps({"machine": about, "families": found}, indent=1))
    return int(any(measured > at_most for _, measured, at_most in limits))


if __name__ == "__main__":
    sys.exit(main())
