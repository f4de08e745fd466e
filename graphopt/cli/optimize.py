"""`graphopt optimize`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.status import Status

from graphopt.cli.console import console, notes, print_json, say
from graphopt.cli.figures import print_figures
from graphopt.cli.files import check_outputs, read_model, write_results
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
from graphopt.cli.values import FACTOR, MILLISECONDS, SHARE
from graphopt.errors import BudgetError
from graphopt.report import Report
from graphopt.report.words import amount, milliseconds, score, times
from graphopt.search import FIRST, Optimized, Trial
from graphopt.search import optimize as search


@click.command("optimize", short_help="Make a model fast enough for a device.")
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
    click.option("--max-drop", type=SHARE, metavar="SHARE", help="At most so much less quality. Default: 1% where no time is given."),
    data_option,
    metric_option,
    report_option,
    seed_option,
    threads_option,
    batch_option,
    click.option("--first", default=FIRST, show_default=True, metavar="PIPELINE", help="Passes to run before pruning."),
    plugin_option,
    click.option("--best-effort", is_flag=True, help="Write the best model also where the budget is missed. The exit status stays 1."),
    require_change_option,
    json_option,
    debug_option,
)
def optimize(
    model: Path,
    output: Path,
    target: str,
    latency: float | None,
    speedup: float | None,
    max_drop: float | None,
    report: Path | None,
    best_effort: bool,
    require_change: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Make MODEL meet a budget with as little loss of quality as possible, and write the result.

    The budget is a time, a loss of quality, or both. With a loss alone, the fastest model that keeps it is sought. Times are measured, in
    turns with the original, or predicted where the target is another device. Where the budget cannot be met, the exit status is 1, the reason
    is said, and no model is written; the report is, with what would have been the best.
    """
    check_outputs(output, report)
    read_model(model)  # for its errors
    with _Progress() as progress:
        found = search(
            model,
            target=target,
            latency=latency,
            speedup=speedup,
            max_drop=max_drop,
            best_effort=True,
            watch=progress.show,
            **settings,
        )
    if require_change and not found.changed:
        raise BudgetError("no pass changed the model (--require-change); nothing was written")
    writes = best_effort or not found.missed
    made = write_results(found.graph if writes else None, output, found.report, report)
    if as_json:
        print_json(_record(made, found))
    else:
        _print(made, found)
    notes(found.notes)
    if found.missed:
        written = f"{output} holds the best model all the same" if writes else "no model was written; --best-effort writes the best one"
        raise BudgetError(f"the budget is missed: {found.missed} ({written})")


def _record(report: Report, found: Optimized) -> dict[str, Any]:
    """The report, with what else a script may want to know."""
    trials = [
        {
            "pipeline": trial.pipeline,
            "macs": trial.run.after.macs,
            "speedup": trial.timing.speedup if trial.timing is not None else None,
            "latency_ms": trial.timing.latency.median_ms if trial.timing is not None else None,
            "quality": trial.quality,
        }
        for trial in found.trials
    ]
    latency = found.timing.latency
    measured = None if found.timing.predicted else {"threads": latency.threads, "repeats": latency.repeats}
    extra = {"missed": found.missed or None, "changed": found.changed, "metric": found.metric, "samples": found.samples}
    return report.to_dict() | extra | {"measured": measured, "trials": trials, "notes": list(found.notes)}


def _print(report: Report, found: Optimized) -> None:
    timing = found.timing
    if found.missed:
        say("the budget is missed; the best that was found:")
    print_figures(report.before, report.after, found.metric)
    say()
    say(f"pipeline: {','.join(step.text for step in report.steps)}")
    if timing.predicted:
        low, high = (milliseconds(end) for end in (timing.latency.low_ms, timing.latency.high_ms))
        say(
            f"predicted for {report.target}: {milliseconds(timing.latency.median_ms)}, with 90 % certainty {low} to {high}; "
            f"{times(timing.speedup)}; {found.metric} on {found.samples} samples, on this machine"
        )
    else:
        say(_measured(found))
    if report.output is not None:
        say(f"wrote {report.output.path}")


def _measured(found: Optimized) -> str:
    timing = found.timing
    return (
        f"measured: {timing.latency.repeats} runs of each model in turns, median, {timing.latency.threads} threads, "
        f"{times(timing.speedup)} +- {timing.uncertainty * 100:.1f} %; {found.metric} on {found.samples} samples"
    )


class _Progress:
    """A line on the terminal that says what is being measured; nothing where stderr is no terminal."""

    def __init__(self) -> None:
        screen = console(stderr=True)
        self._status: Status | None = screen.status("measuring the original", refresh_per_second=4) if screen.is_terminal else None

    def __enter__(self) -> _Progress:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def show(self, trial: Trial) -> None:
        if self._status is None:
            return
        facts = [f"ratio {trial.ratio:g}", f"{amount(trial.run.after.macs)} MACs"]
        if trial.timing is not None:
            facts += [milliseconds(trial.timing.latency.median_ms), times(trial.timing.speedup)]
        if trial.quality is not None:
            facts.append(f"quality {score(trial.quality)}")
        self._status.console.print("  ".join(facts))
        self._status.update("searching")
