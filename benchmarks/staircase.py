"""Width against time on this machine, measured and predicted, for four kinds of layer.

    python benchmarks/staircase.py [--seconds 25] [--rounds 12] [--target FOLDER] [--picture FILE.svg] [--json FILE]

A depthwise convolution in an inverted bottleneck, dense 3 x 3 convolutions in a residual block, a bottleneck, and two Gemms; the width between
them is cut from full, and each network measured in turns with all others of its kind, one thread. Predictions are those of `--target`, or of
targets that `graphopt profile --for` makes of the four networks first, in `--seconds` each. Printed is, for each width, what was measured and
what was predicted, and whether `prune-channels{align=target}` offers it. Exits with status 1 where it offers a width that was measured slower
than a larger one, beyond noise.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from _line_chart import Chart, Line, svg
from _machine import machine
from onnx import TensorProto, helper, numpy_helper

from graphopt.channels import analyse, cut
from graphopt.cost import Predictor, Target, WidthAdvice, find_target
from graphopt.cost.profile.clock import Run, Timing, pinned, timed, timing
from graphopt.cost.profile.host import best_processor
from graphopt.cost.profile.session import Bound, open_session
from graphopt.ir import Graph

FULL = 128
NOISE = 0.04  # relative: what two sessions on one network differ by (90th percentile, one thread, a busy machine)
ODD = (61, 63, 65, 66, 70, 75)


class Layers:
    """Layers after one another, with random weights."""

    def __init__(self, *shape: int) -> None:
        self.rng = np.random.default_rng(0)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.input = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array((self.rng.standard_normal(shape) * 0.05).astype(np.float32), name))
        return name

    def node(self, operator: str, *inputs: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [f"v{len(self.nodes)}"], f"n{len(self.nodes)}", **attributes))
        return self.nodes[-1].output[0]

    def conv(self, x: str, out: int, into: int, kernel: int = 1, group: int = 1) -> str:
        weight, bias = self.weight(out, into // group, kernel, kernel), self.weight(out)
        return self.node("Conv", x, weight, bias, pads=[kernel // 2] * 4, kernel_shape=[kernel] * 2, group=group)

    def model(self, last: str, *shape: int) -> onnx.ModelProto:
        output = helper.make_tensor_value_info(last, TensorProto.FLOAT, shape)
        graph = helper.make_graph(self.nodes, "staircase", [self.input], [output], self.weights)
        return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])


def depthwise() -> onnx.ModelProto:
    net = Layers(1, 32, 28, 28)
    hidden = net.node("Relu", net.conv("x", FULL, 32))
    hidden = net.node("Relu", net.conv(hidden, FULL, FULL, 3, group=FULL))
    return net.model(net.conv(hidden, 32, FULL), 1, 32, 28, 28)


def dense() -> onnx.ModelProto:
    net = Layers(1, 64, 14, 14)
    inner = net.node("Relu", net.conv("x", FULL, 64, 3))
    return net.model(net.node("Relu", net.node("Add", net.conv(inner, 64, FULL, 3), "x")), 1, 64, 14, 14)


def bottleneck() -> onnx.ModelProto:
    net = Layers(1, 256, 14, 14)
    inner = net.node("Relu", net.conv("x", FULL, 256))
    inner = net.node("Relu", net.conv(inner, 64, FULL, 3))
    return net.model(net.node("Relu", net.node("Add", net.conv(inner, 256, 64), "x")), 1, 256, 14, 14)


def gemm() -> onnx.ModelProto:
    net = Layers(64, 256)
    hidden = net.node("Relu", net.node("Gemm", "x", net.weight(256, FULL), net.weight(FULL)))
    return net.model(net.node("Gemm", hidden, net.weight(FULL, 256), net.weight(256)), 64, 256)


LAYERS: dict[str, Callable[[], onnx.ModelProto]] = {"depthwise": depthwise, "dense 3x3": dense, "bottleneck": bottleneck, "gemm": gemm}


def site(graph: Graph) -> str:
    """The group whose width is varied: that of the first weight's outputs."""
    return next(group.name for group in analyse(graph).groups if group.size == FULL and group.frozen is None)


def narrowed(graph: Graph, width: int) -> Graph:
    twin = graph.copy()
    if width < FULL:
        cut(analyse(twin), {site(twin): range(width)})
    return twin


def measured(graphs: Sequence[Graph], rounds: int) -> list[Timing]:
    """The time of each graph; all take turns in an order that changes, the first run of each turn is not counted."""
    calls = []
    rng = np.random.default_rng(0)
    for graph in graphs:
        session = open_session(graph.to_proto().SerializeToString(), 1, optimize=True)
        feeds = {given.name: rng.standard_normal(given.shape).astype(np.float32) for given in session.get_inputs()}
        calls.append(Bound(session, feeds))
    runs: list[list[Run]] = [[] for _ in calls]
    order = list(range(len(calls)))
    shuffle = random.Random(0)
    with pinned(best_processor()):
        for _ in range(rounds):
            shuffle.shuffle(order)
            for place in order:
                calls[place]()
                runs[place] += [timed(calls[place]) for _ in range(6)]
    return [timing(each) for each in runs]


def profiled(name: str, model: onnx.ModelProto, seconds: float, folder: Path) -> Target:
    """A target made of one network and its narrower variants by `graphopt profile`."""
    path = folder / f"{name.replace(' ', '-')}.onnx"
    path.write_bytes(model.SerializeToString())
    output = folder / f"{path.stem}-target"
    command = [
        sys.executable,
        "-c",
        "from graphopt.cli import main; main()",
        "profile",
        "--for",
        str(path),
        "--seconds",
        str(seconds),
        "-o",
        str(output),
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return Target.load(output)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=float, default=25.0)
    arguments.add_argument("--rounds", type=int, default=12)
    arguments.add_argument("--target")
    arguments.add_argument("--picture", type=Path)
    arguments.add_argument("--json", type=Path)
    given = arguments.parse_args()
    print(machine("onnxruntime", "numpy"))
    widths = sorted({*range(16, FULL + 1, 4), *ODD})
    charts, records, failures = [], [], []
    with tempfile.TemporaryDirectory(prefix="graphopt-staircase-") as temporary:
        for name, make in LAYERS.items():
            model = make()
            graph = Graph.from_proto(model)
            target = find_target(given.target) if given.target else profiled(name, model, given.seconds, Path(temporary))
            advice = WidthAdvice(Predictor(target), graph)
            group = site(graph)
            predicted = advice.site(group, candidates=widths)
            offered = advice.site(group).worthwhile
            times = measured([narrowed(graph, width) for width in widths], given.rounds)
            ms = dict(zip(widths, (found.ms for found in times), strict=True))
            slower = [(w, v) for w in offered for v in widths if v > w and ms[w] > ms[v] * (1 + NOISE)]
            errors = [abs(p / ms[w] - 1) for w, p in zip(predicted.widths, predicted.ms, strict=True)]
            print(f"\n{name}: width, measured us, predicted us; * is offered by align=target (step {target.align})")
            for width, guess in zip(predicted.widths, predicted.ms, strict=True):
                print(f"  {width:4d}  {ms[width] * 1000:8.1f}  {guess * 1000:8.1f}  {'*' if width in offered else ''}")
            print(f"  predicted off by {np.mean(errors) * 100:.1f} % on average, at most {max(errors) * 100:.1f} %")
            failures += [
                f"{name}: {w} is offered, and takes {ms[w] * 1000:.0f} us where {v} takes {ms[v] * 1000:.0f} us" for w, v in slower
            ]
            lines = [
                Line("measured", "#c33", [(w, ms[w] * 1000) for w in widths], joined=False),
                Line("predicted", "#36c", [(w, p * 1000) for w, p in zip(predicted.widths, predicted.ms, strict=True)]),
            ]
            lines.append(Line("offered", "#393", [(w, ms[w] * 1000) for w in offered if w in ms], joined=False))
            charts.append(Chart(name, "width", "us", lines))
            records.append(
                {
                    "layer": name,
                    "measured_ms": ms,
                    "predicted_ms": dict(zip(predicted.widths, predicted.ms, strict=True)),
                    "offered": offered,
                }
            )
    if given.picture:
        given.picture.write_text(svg(charts))
        print(f"\nwrote {given.picture}")
    if given.json:
        given.json.write_text(json.dumps(records, indent=1))
    for failure in failures:
        print(f"FAIL  {failure}")
    if not failures:
        print(f"\nPASS  no width on offer was measured slower than a larger one (beyond {NOISE:.0%})")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
