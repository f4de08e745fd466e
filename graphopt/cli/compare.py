"""`graphopt compare`: two models side by side."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from graphopt.cli.console import notes, print_json, print_table, say
from graphopt.cli.figures import print_figures
from graphopt.cli.files import read_model
from graphopt.cli.options import (
    PATH,
    batch_option,
    data_option,
    debug_option,
    json_option,
    options,
    seed_option,
    threads_option,
)
from graphopt.cli.pairs import check_same_inputs, differences, inputs_for
from graphopt.cost import count
from graphopt.quality import Fidelity, default_threads, find_metric, predict, session
from graphopt.report import count_notes, figures
from graphopt.report.words import score, times
from graphopt.search import CpuBench
from graphopt.search.bench import SURE


@click.command("compare", short_help="Compare two models: size, MACs, latency, outputs.")
@options(
    click.argument("before", type=PATH),
    click.argument("after", type=PATH),
    data_option,
    click.option("--metric", metavar="NAME|MODULE:FUNCTION", help="Also a metric of both, besides the fidelity of AFTER to BEFORE."),
    seed_option,
    threads_option,
    batch_option,
    json_option,
    debug_option,
)
def compare(
    before: Path,
    after: Path,
    data: str | None,
    preprocess: str | None,
    metric: str | None,
    seed: int,
    threads: int | None,
    batch: int,
    as_json: bool,
) -> None:
    """Compare BEFORE and AFTER: parameters, MACs, size, latency measured in turns with ONNX Runtime, and how alike their outputs are."""
    threads = threads or default_threads()
    graphs = read_model(before), read_model(after)
    check_same_inputs(*graphs, (before, after))
    inputs, remarks = inputs_for(data, preprocess, graphs[0], seed, batch)
    sessions = [session(graph, threads) for graph in graphs]
    outputs = [predict(opened, inputs) for opened in sessions]
    unlike = differences(*outputs)
    fidelity = Fidelity(outputs[0])
    scores = [1.0, fidelity.of(outputs[1])] if metric is None else [find_metric(metric, outputs[0])(opened, inputs) for opened in sessions]
    (timing,) = CpuBench(sessions[0], inputs, fidelity, threads=threads, batch=batch).time([graphs[1]], SURE)
    counts = [count(graph) for graph in graphs]
    remarks = (*remarks, *count_notes(counts[1]))
    shown = [
        figures(counted, latency.median_ms, quality)
        for counted, latency, quality in zip(counts, (timing.original, timing.latency), scores, strict=True)
    ]
    name = metric or "fidelity"
    if as_json:
        print_json(
            {
                "before": {"path": str(before), **asdict(shown[0])},
                "after": {"path": str(after), **asdict(shown[1])},
                "metric": name,
                "fidelity": fidelity.of(outputs[1]),
                "speedup": timing.speedup,
                "measured": {"threads": threads, "repeats": timing.latency.repeats, "uncertainty": timing.uncertainty},
                "outputs": [asdict(difference) for difference in unlike],
                "samples": inputs.samples,
                "notes": list(remarks),
            }
        )
    else:
        print_figures(shown[0], shown[1], name)
        say()
        rows = [(d.name, "-" if d.largest is None else f"{d.largest:.3g}", score(d.fidelity)) for d in unlike]
        print_table(["output", "largest difference", "fidelity"], rows, right=(1, 2))
        say(
            f"\nmeasured: {timing.latency.repeats} runs of each in turns, median, {threads} threads, "
            f"{times(timing.speedup)} +- {timing.uncertainty * 100:.1f} %; outputs on {inputs.samples} samples"
        )
    notes(remarks)
