"""`graphopt run`: a pipeline that the user wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from graphopt.cli.console import note, notes, print_json, print_table, say
from graphopt.cli.figures import print_figures
from graphopt.cli.files import check_outputs, read_model, write_results
from graphopt.cli.options import (
    data_option,
    debug_option,
    json_option,
    model_argument,
    options,
    output_option,
    plugin_option,
    report_option,
    require_change_option,
    seed_option,
    target_option,
)
from graphopt.cost import Predictor, find_target
from graphopt.errors import BudgetError, InvalidModelError, VerifyError
from graphopt.ir import Graph, verify
from graphopt.pipeline import DumpGraphs, Instrument, StopAfter, VerifyEach, parse_pipeline
from graphopt.pipeline import Timing as PassTiming
from graphopt.quality import PARTS, load_data, split
from graphopt.quality.arrays import AnyArray
from graphopt.report import Report, Run, Step, figures, file_record, installed_passes, origin, verified
from graphopt.report import run as run_passes
from graphopt.report.groups import some_names

_SHOWN = 8  # reasons why a pass left places alone


@click.command("run", short_help="Run passes over a model.")
@options(
    model_argument,
    click.option("-p", "--pipeline", required=True, help="Such as 'fuse-bn,prune-channels{ratio=0.3}'; may be empty."),
    output_option,
    report_option,
    data_option,
    plugin_option,
    seed_option,
    target_option,
    click.option("--part", type=click.Choice(PARTS), help="Only this part of --data, as `optimize` cuts it by the same --seed."),
    click.option("--timing", is_flag=True, help="Print the seconds of each pass on stderr."),
    click.option("--dump-ir", type=click.Path(path_type=Path), metavar="DIR", help="Save the model before and after each pass into DIR."),
    click.option("--verify-each", is_flag=True, help="Verify the model after each pass, with ONNX Runtime."),
    click.option(
        "--stop-after", type=click.IntRange(min=0), metavar="N", help="Do only the first N rewrites, to find one that goes wrong."
    ),
    require_change_option,
    json_option,
    debug_option,
)
def run(
    model: Path,
    pipeline: str,
    output: Path,
    report: Path | None,
    data: str | None,
    preprocess: str | None,
    plugins: tuple[Path, ...],
    seed: int,
    target: str | None,
    part: str | None,
    timing: bool,
    dump_ir: Path | None,
    verify_each: bool,
    stop_after: int | None,
    require_change: bool,
    as_json: bool,
) -> None:
    """Run the passes of a pipeline over MODEL and write the result. Latency and quality are not measured: `compare` does that.

    An empty pipeline writes the same model. `graphopt passes` lists the passes and their parameters. With --target, passes know what is
    worth having on that device: `prune-channels{align=target}`.
    """
    check_outputs(output, report)
    passes = parse_pipeline(pipeline, installed_passes(plugins))
    predictor = Predictor(find_target(target)) if target is not None else None
    original = read_model(model)
    arrays = _arrays(data, original, preprocess, part, seed)
    source = file_record(model)
    clock, stop = PassTiming(), StopAfter(stop_after) if stop_after is not None else None
    if verify_each:
        _check_verifiable(original, model)
    instruments: list[Instrument] = [DumpGraphs(dump_ir)] if dump_ir is not None else []
    instruments += [VerifyEach()] if verify_each else []
    instruments += [stop] if stop is not None else []
    done = run_passes(original, passes, data=arrays, seed=seed, instruments=[*instruments, clock], predictor=predictor)
    if require_change and not done.changed:
        raise BudgetError("no pass changed the model (--require-change); nothing was written")
    remarks = [*done.notes, *(verified(done.graph, original) if done.changed else ())]
    made = Report(origin("", seed), source, None, target or "cpu", {}, figures(done.before), figures(done.after), done.steps)
    made = write_results(done.graph, output, made, report)
    if timing:
        click.echo(str(clock), err=True)
    if stop is not None:
        _tell_stop(stop)
    if as_json:
        print_json(made.to_dict() | {"changed": done.changed, "notes": remarks})
    else:
        _print(done, made)
    notes(remarks)


def _arrays(data: str | None, graph: Graph, preprocess: str | None, part: str | None, seed: int) -> Mapping[str, AnyArray] | None:
    if data is None:
        return None
    whole = load_data(data, graph, preprocess)
    parts = split(whole, seed=seed) if part is not None else None
    return whole.feeds if parts is None or part is None else parts[PARTS.index(part)].feeds


def _check_verifiable(original: Graph, path: Path) -> None:
    try:
        verify(original)
    except VerifyError as error:
        raise InvalidModelError(f"--verify-each cannot tell anything, because {path} itself does not verify: {error}") from error


def _tell_stop(stop: StopAfter) -> None:
    last = f"; the last one: {stop.permitted[-1]}" if stop.permitted else ""
    note(f"{len(stop.permitted)} rewrites were done and {stop.refused} were not{last}")


def _print(done: Run, report: Report) -> None:
    if done.steps:
        rows = []
        for step, result in zip(done.steps, done.results, strict=True):
            did = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in result.summary.items())
            rows.append((step.text, f"{step.seconds:.2f}", did or ("changed" if result.changed else "nothing to do")))
        print_table(["pass", "seconds", "done"], rows, right=(1,))
        say()
    for step in done.steps:
        _print_skipped(step)
    print_figures(report.before, report.after)
    if report.output is not None:
        say(f"\nwrote {report.output.path}")


def _print_skipped(step: Step) -> None:
    by_reason: dict[str, list[str]] = {}
    for skip in step.skipped:
        by_reason.setdefault(skip.why, []).append(skip.where)
    if not by_reason:
        return
    say(f"{step.text} left alone:")
    for why, places in list(by_reason.items())[:_SHOWN]:
        say(f"  {some_names(places)}: {why}")
    if len(by_reason) > _SHOWN:
        say(f"  and others, for {len(by_reason) - _SHOWN} more reasons; --report and --json list all")
    say()
