"""`graphopt predict`: how long a model takes on a target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from graphopt.cli.console import notes, print_json, print_table, say
from graphopt.cli.files import check_outputs, read_model
from graphopt.cli.options import debug_option, json_option, model_argument, options
from graphopt.cli.shapes import shape_option, sizes_for
from graphopt.cost.installed import find_target
from graphopt.cost.prediction import KernelTime, Prediction
from graphopt.cost.predictor import Predictor
from graphopt.cost.times import MODELS
from graphopt.ir.files import write_atomically
from graphopt.report.prediction_page import prediction_page
from graphopt.report.words import milliseconds

target_option = click.option(
    "--target", required=True, metavar="NAME|FOLDER", help="The device: a name that `graphopt targets` lists, or a folder of your own."
)

_SOURCES = {"table": "table", "near": "near the table", "linear": "linear", "free": "assumed free", "unknown": "unknown"}


@click.command("predict", short_help="Predict the latency of a model on a target.")
@options(
    model_argument,
    target_option,
    shape_option,
    click.option(
        "--model",
        "method",
        type=click.Choice(MODELS),
        default="fused",
        show_default=True,
        help="What to predict with: table and linear model fused, the table (lut) alone, or the linear model alone.",
    ),
    click.option(
        "--html", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Also write a page with a bar per kernel."
    ),
    click.option("--top", type=click.IntRange(min=1), metavar="N", help="Show only the N slowest kernels, the slowest first."),
    json_option,
    debug_option,
)
def predict(model: Path, target: str, shape: tuple[str, ...], method: Any, html: Path | None, top: int | None, as_json: bool) -> None:
    """Predict the latency of MODEL on a target: with its 90 % interval, kernel by kernel as the target's runtime fuses the nodes."""
    check_outputs(html)
    predictor = Predictor(find_target(target), method)
    graph = read_model(model)
    prediction = predictor.predict(graph, sizes_for(graph, shape))
    if html is not None:
        write_atomically(html, prediction_page(prediction, str(model)).encode())
    if as_json:
        print_json(prediction.to_json())
        return
    _print(prediction, model, top)
    if html is not None:
        say(f"wrote {html}")
    notes([*prediction.assumptions, *prediction.warnings])


def latency_words(prediction: Prediction) -> str:
    """Such as `7.80 ms ± 0.41 (90 %)`."""
    wide = max(prediction.high_ms - prediction.ms, prediction.ms - prediction.low_ms)
    return f"{milliseconds(prediction.ms)} ± {wide:{'.2g' if wide < 100 else ',.0f'}} (90 %)"


def _print(prediction: Prediction, model: Path, top: int | None) -> None:
    say(f"{model} on {prediction.target}: {latency_words(prediction)}, predicted ({prediction.model})\n")
    kernels = list(prediction.kernels)
    if top is not None:
        kernels = sorted(kernels, key=lambda time: -time.ms)[:top]
    rows = [_row(time, prediction.kernels_ms) for time in kernels]
    print_table(["kernel", "operators", "family", "ms", "share", "from", "bound by"], rows, right=(3, 4))
    if len(kernels) < len(prediction.kernels):
        say(f"and {len(prediction.kernels) - len(kernels)} more kernels")
    say()
    families = [(name, str(count), f"{ms:.4f}", _share(ms, prediction.kernels_ms)) for name, (count, ms) in prediction.families().items()]
    print_table(["family", "kernels", "ms", "share"], families, right=(1, 2, 3))
    say(
        f"\n{len(prediction.kernels)} kernels take {milliseconds(prediction.kernels_ms)} by themselves; "
        f"a network takes {milliseconds(prediction.ms)} with them"
    )
    for words, source in (("assumed free", "free"), ("unknown, left out", "unknown")):
        listed = prediction.listed(source)  # type: ignore[arg-type]
        if listed:
            say(f"{words}: {', '.join(f'{operator} {count}' for operator, count in listed.items())}")


def _row(time: KernelTime, total: float) -> tuple[str, ...]:
    known = time.source not in ("free", "unknown")
    return (
        time.kernel.name,
        time.operators,
        time.family,
        f"{time.ms:.4f}" if known else "",
        _share(time.ms, total) if known else "",
        _SOURCES[time.source],
        time.bound,
    )


def _share(ms: float, total: float) -> str:
    return f"{ms / total:.1%}" if total else ""
