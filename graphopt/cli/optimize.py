"""`graphopt optimize`: the main job."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from graphopt.allocation import SOLVERS
from graphopt.cli.console import print_json, print_table, say
from graphopt.cli.figures import print_figures
from graphopt.cli.files import check_outputs, read_model
from graphopt.cli.optimize_supernet import optimize_supernet, supernet_options, supernet_settings
from graphopt.cli.options import (
    batch_option,
    data_option,
    debug_option,
    json_option,
    metric_option,
    model_argument,
    options,
    output_option,
    plugin_option,
    report_option,
    require_change_option,
    seed_option,
    threads_option,
)
from graphopt.cli.searching import SearchBar, conclude, write_found
from graphopt.cli.values import COUNT, DURATION, FACTOR, MILLISECONDS, SHARE, SIZE
from graphopt.errors import BudgetError, OutputError
from graphopt.ir.files import write_atomically
from graphopt.report import Report
from graphopt.report.scatter import Spot, scatter
from graphopt.report.words import amount, milliseconds, score, times
from graphopt.search import FIRST, SECONDS, STRATEGIES, Optimized
from graphopt.search import optimize as search
from graphopt.search.study import Record, pareto

_SHOWN = 12  # trials of the front in the table


@click.command("optimize", short_help="Make a model meet a budget with the least loss of quality.")
@options(
    model_argument,
    output_option,
    click.option(
        "--target",
        default="cpu",
        show_default=True,
        metavar="NAME|FOLDER",
        help="What to optimize for: `cpu`, this machine, which is measured, or a target of `graphopt targets`, which is predicted.",
    ),
    click.option("--latency", type=MILLISECONDS, metavar="TIME", help="At most so long per run, such as 8ms."),
    click.option("--speedup", type=FACTOR, metavar="FACTOR", help="At least so many times as fast, such as 1.5."),
    click.option("--macs", type=COUNT, metavar="COUNT", help="At most so many multiply-accumulates, such as 30M."),
    click.option("--params", type=COUNT, metavar="COUNT", help="At most so many parameters, such as 2M."),
    click.option("--bytes", type=SIZE, metavar="SIZE", help="At most so large a file, such as 1.5MB."),
    click.option("--peak-memory", type=SIZE, metavar="SIZE", help="At most so much memory for activations at once, such as 8MB."),
    click.option(
        "--max-drop", type=SHARE, metavar="SHARE", help="At most so much less quality. Default: 1% where nothing else is asked for."
    ),
    data_option,
    click.option(
        "--calibration",
        metavar="FILE|FOLDER|MODULE:FUNCTION",
        help="Other data for passes to calibrate on. Default: 40 % of --data, of which 30 % choose the model and 30 % give its final quality.",
    ),
    metric_option,
    report_option,
    click.option("--strategy", type=click.Choice(list(STRATEGIES)), default="auto", show_default=True, help="How pipelines are searched."),
    click.option("--time", "seconds", type=DURATION, default=SECONDS, metavar="TIME", help="How long to search, such as 2m. Default: 60s."),
    click.option("--trials", type=click.IntRange(min=1), help="How many pipelines to try at most."),
    click.option("--solver", type=click.Choice(list(SOLVERS)), help="How passes share out a goal. Default: the pass's own, knapsack."),
    click.option("--study", metavar="NAME|FILE|URL", help="Keep the trials, to go on later or to share the work among machines."),
    click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes that try pipelines."),
    click.option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="Also draw all trials and their front, as SVG."),
    seed_option,
    threads_option,
    batch_option,
    click.option("--first", default=FIRST, show_default=True, metavar="PIPELINE", help="Passes to run before the search."),
    plugin_option,
    supernet_options,
    click.option("--best-effort", is_flag=True, help="Write the best model also where the budget is missed. The exit status stays 1."),
    require_change_option,
    json_option,
    debug_option,
)
def optimize(
    model: Path,
    output: Path,
    report: Path | None,
    plot: Path | None,
    seconds: float,
    best_effort: bool,
    require_change: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Make MODEL meet a budget with as little loss of quality as possible, and write the result.

    The budget is a time, a size, a loss of quality, or several of them. With a loss alone, the fastest model that keeps it is sought. Times
    are measured, in turns with the original, or predicted where the target is another device. Where the budget cannot be met, the exit
    status is 1, the reason is said, and no model is written; the report is, with what would have been the best.
    """
    own = supernet_settings(settings)
    if own is not None:
        optimize_supernet(model, output, report, best_effort, as_json, {**settings, **own, "seconds": seconds})
        return
    check_outputs(output, report, plot)
    read_model(model)  # for its errors
    with SearchBar(seconds) as bar:
        found = search(model, seconds=seconds, best_effort=True, watch=bar.show, **settings)
    if require_change and not found.changed:
        raise BudgetError("no pass changed the model (--require-change); nothing was written")
    made = write_found(found, output, report, best_effort)
    if plot is not None:
        _draw(found, plot)
    again = _again(found, model, output, settings)
    if as_json:
        print_json(_record(made, found, again))
    else:
        _print(made, found, again)
    conclude(found, "model", output, best_effort)


def _again(found: Optimized, model: Path, output: Path, settings: dict[str, Any]) -> str:
    """The command that makes the same model again, byte for byte."""
    words = ["graphopt", "run", str(model), "-p", found.pipeline, "--target", settings["target"]]
    calibration, data = settings["calibration"], settings["data"]
    if calibration is not None:
        words += ["--data", calibration]
    elif data is not None:
        words += ["--data", data, "--part", "calibration"]
    if settings["preprocess"] is not None and len(words) > 7:
        words += ["--preprocess", settings["preprocess"]]
    words += ["--seed", str(settings["seed"])] if settings["seed"] else []
    words += [word for plugin in settings["plugins"] for word in ("--plugin", str(plugin))]
    return shlex.join([*words, "-o", str(output)])


def _record(report: Report, found: Optimized, again: str) -> dict[str, Any]:
    """The report, with what else a script may want to know."""
    latency = found.timing.latency
    measured = None if found.timing.predicted else {"threads": latency.threads, "repeats": latency.repeats}
    extra = {"missed": found.missed or None, "changed": found.changed, "metric": found.metric, "samples": found.samples, "again": again}
    trials = [_trial(found, record) for record in found.trials]
    return report.to_dict() | extra | {"measured": measured, "trials": trials, "notes": list(found.notes)}


def _trial(found: Optimized, record: Record) -> dict[str, Any]:
    timing = found.measured.get(record.pipeline)
    predicted, whole = record.values.get("latency_ms"), found.original.get("latency_ms")
    speedup = whole / predicted if whole is not None and predicted else None
    return {
        "pipeline": record.pipeline,
        "state": record.state,
        "reason": record.reason or None,
        "macs": record.values.get("macs"),
        "predicted_ms": predicted,
        "latency_ms": timing.latency.median_ms if timing is not None else None,
        "speedup": timing.speedup if timing is not None else speedup,
        "quality": record.values.get("quality"),
    }


def _print(report: Report, found: Optimized, again: str) -> None:
    timing = found.timing
    _print_front(report, found)
    if found.missed:
        say("the budget is missed; the best that was found:")
    print_figures(report.before, report.after, found.metric)
    say()
    say(f"pipeline: {found.pipeline}")
    if timing.predicted:
        low, high = (milliseconds(end) for end in (timing.latency.low_ms, timing.latency.high_ms))
        say(
            f"predicted for {report.target}: {milliseconds(timing.latency.median_ms)}, with 90 % certainty {low} to {high}; "
            f"{times(timing.speedup)}; {found.metric} on {found.samples} samples that nothing was chosen by, on this machine"
        )
    else:
        say(_measured(found))
    if report.output is not None:
        say(f"wrote {report.output.path}; to make it again: {again}")


def _print_front(report: Report, found: Optimized) -> None:
    """The trials of which no other is both faster and better, with what was predicted beside what was measured."""
    front = pareto(found.trials)
    if len(found.trials) < 2 or not front:
        return
    done = sum(record.state == "complete" for record in found.trials)
    failed, given_up = (sum(record.state == state for record in found.trials) for state in ("failed", "abandoned"))
    others = f"{failed} more failed" + (f", {given_up} ran out of time" if given_up else "")
    say(f"the best of {done} trials (quality on the validation part; {others}):")
    rows = []
    for record in front[-_SHOWN:]:
        timing = found.measured.get(record.pipeline)
        measured = "" if timing is None or timing.predicted else milliseconds(timing.latency.median_ms)
        rows.append((score(record.values["quality"]), _predicted(found, record), measured, amount(record.values["macs"]), record.pipeline))
    print_table([found.metric, "predicted", "measured", "MACs", "pipeline"], rows, right=(0, 1, 2, 3))
    say()


def _predicted(found: Optimized, record: Record) -> str:
    """Where this machine was measured, the prediction is for another; what it says of the model beside the original is taken for this one."""
    share = record.values["latency_ms"] / found.original["latency_ms"]
    return milliseconds(share * found.timing.original.median_ms)


def _measured(found: Optimized) -> str:
    timing = found.timing
    return (
        f"measured: {timing.latency.repeats} runs of each model in turns, median, {timing.latency.threads} threads, "
        f"{times(timing.speedup)} +- {timing.uncertainty * 100:.1f} %; {found.metric} on {found.samples} samples that nothing was chosen by"
    )


def _draw(found: Optimized, path: Path) -> None:
    scale = found.timing.original.median_ms / found.original["latency_ms"] if "latency_ms" in found.original else 1.0

    def spot(record: Record) -> Spot:
        return Spot(record.values["latency_ms"] * scale, record.values["quality"], record.pipeline)

    known = [record for record in found.trials if record.state == "complete" and "latency_ms" in record.values]
    chosen = next((spot(record) for record in known if record.pipeline == found.pipeline), None)
    start = Spot(found.timing.original.median_ms, found.validation_quality, "the original")
    picture = scatter(
        "What was tried",
        "predicted latency in ms",
        f"{found.metric} (validation)",
        [spot(record) for record in known],
        [*map(spot, pareto(known))],
        chosen,
        start,
    )
    try:
        write_atomically(path, picture.encode())
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
