"""`graphopt profile`: measuring this machine into a target."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from graphopt.cli.console import console, notes, print_json, say
from graphopt.cli.files import command_line, read_model
from graphopt.cli.options import debug_option, json_option, options, seed_option
from graphopt.cli.shapes import shape_option, sizes_for
from graphopt.cost import serialised_bytes
from graphopt.cost.open_shapes import fix_sizes
from graphopt.cost.profile import (
    PRECISIONS,
    SESSIONS,
    Campaign,
    converted,
    open_record,
    precision_of,
    profile_generic,
    profile_model,
    provider_name,
    pruned_variants,
    this_host,
)
from graphopt.cost.target import Target
from graphopt.errors import OutputError

_SECONDS = 90.0
_MINUTES = 10.0
_VARIANTS, _FEWEST = 11, 4  # networks of a profile for a model, beside the model itself
_ALL_BYTES = 2 * 10**9  # that their files may take together


@click.command("profile", short_help="Measure this machine, so that latencies can be predicted.")
@options(
    click.option("--for", "model", type=click.Path(path_type=Path), metavar="MODEL", help="Measure what this model and its variants run."),
    click.option("--generic", is_flag=True, help="Measure kernels of networks of many families."),
    click.option("--seconds", type=click.FloatRange(min=1), help=f"Time to measure. Default: {_SECONDS:g} for a model."),
    click.option("--minutes", type=click.FloatRange(min=0.05), help=f"The same in minutes. Default: {_MINUTES:g} with --generic."),
    click.option(
        "--rounds",
        type=click.IntRange(1, SESSIONS),
        default=SESSIONS,
        help=f"Make only so many of the rounds, {SESSIONS} or fewer, now. Default: all.",
    ),
    click.option(
        "-o", "--output", type=click.Path(path_type=Path), help="The folder to write. Default: ./cpu, or ./MODEL-cpu for a model."
    ),
    click.option("--provider", default="cpu", show_default=True, help="Execution provider of the installed onnxruntime."),
    click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of ONNX Runtime."),
    click.option("--precision", type=click.Choice(PRECISIONS), help="Convert float32 networks to it. Default: the model's own, float32."),
    shape_option,
    seed_option,
    json_option,
    debug_option,
)
def profile(
    model: Path | None,
    generic: bool,
    seconds: float | None,
    minutes: float | None,
    rounds: int,
    output: Path | None,
    provider: str,
    threads: int,
    precision: str | None,
    shape: tuple[str, ...],
    seed: int,
    as_json: bool,
) -> None:
    """Measure kernels and whole networks on this machine through ONNX Runtime, and write a target to predict with.

    With --for, the kernels of a model and of pruned variants of it, the widths between, and these networks whole: the most exact
    predictions for work on that model. With --generic, kernels of random networks of many families. Both may be written to one folder.

    The measurements are saved as they are made: a run that was ended goes on when the same command is given again. On a machine that others
    share, --rounds 1 given four times, some minutes apart, predicts better than all rounds at once: what disturbs it changes meanwhile.
    """
    if (model is None) is not generic:
        raise click.UsageError("say what to measure: either --for MODEL or --generic")
    if seconds is not None and minutes is not None:
        raise click.UsageError("--seconds and --minutes say the same; give one of them")
    limit = seconds or (minutes * 60 if minutes is not None else _MINUTES * 60 if generic else _SECONDS)
    name = provider_name(provider)
    graph = read_model(model) if model is not None else None
    exact = precision or (precision_of(graph) if graph is not None else "float32")
    short = name.removesuffix("ExecutionProvider").lower()
    folder = output or Path(f"{model.stem}-{short}" if model is not None else short)
    _check_folder(folder)
    host = this_host(name, threads, exact)
    record = open_record(folder, host)
    started = time.perf_counter()
    with _Bar(limit) as bar:
        if model is not None and graph is not None:
            sizes = fix_sizes(graph, sizes_for(graph, shape))
            digest = hashlib.sha256(model.read_bytes()).hexdigest()[:12]
            campaign = Campaign(record, folder, limit, f"for {model.name} {digest} seed {seed}", bar.show, seed)
            bar.show(0.0, "making variants")
            count = max(_FEWEST, min(_VARIANTS, _ALL_BYTES // max(serialised_bytes(graph), 1)))
            variants = pruned_variants(graph, count, host.block if host.block > 1 else 8, seed)
            base = (model.stem, model if precision_of(graph) == exact else converted(graph, exact))
            others = ((f"{base[0]}, {label}", converted(variant, exact)) for label, variant in variants)
            target = profile_model(campaign, base, others, command_line(), sizes, rounds)
        else:
            campaign = Campaign(record, folder, limit, f"generic seed {seed}", bar.show, seed)
            bar.show(0.0, "making networks")
            target = profile_generic(campaign, command_line(), seed, lambda random: converted(random, exact), rounds)
    passed = time.perf_counter() - started
    if as_json:
        print_json(_record(target, folder, campaign, passed))
        return
    _print(target, folder, campaign, passed, model)


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"cannot write {folder}: it is a file, and a target is a folder")
    if not folder.resolve().parent.is_dir():
        raise OutputError(f"cannot write {folder}: there is no folder {folder.resolve().parent}")


def _record(target: Target, folder: Path, campaign: Campaign, passed: float) -> dict[str, Any]:
    return {
        "folder": str(folder),
        "host": campaign.record.host.to_json(),
        "kernels": len(target.kernels),
        "networks": len(target.networks),
        "skipped": campaign.record.skipped,
        "rules": {"kernels": campaign.agreement.kernels, "differing": campaign.agreement.differing},
        "seconds": {"measuring": round(campaign.spent, 1), "in all": round(passed, 1)},
        "rounds left": campaign.rounds_left,
        "error": dict(target.error),
    }


def _print(target: Target, folder: Path, campaign: Campaign, passed: float, model: Path | None) -> None:
    host, skipped = campaign.record.host, campaign.record.skipped
    threads = "one thread" if host.threads == 1 else f"{host.threads} threads, wall-clock time, which other work disturbs"
    say(f"{host.cpu}, onnxruntime {host.runtime_version}, {host.provider}, {host.precision}, {threads}")
    say(
        f"measured {len(target.kernels)} kernels and {len(target.networks)} whole networks in {campaign.spent:.0f} s "
        f"({passed:.0f} s with making the networks and fitting)"
    )
    if "mape" in target.error:
        error = target.error
        within = f", {_percent(error['within10'])} within 10 %" if "within10" in error else ""
        say(f"predictions of networks left out of the fit: {_percent(error['mape'])} off on average{within}")
    say(f"\nwrote {folder}; use it: graphopt predict {model or 'model.onnx'} --target {_as_path(folder)}")
    if campaign.rounds_left:
        notes([f"{campaign.rounds_left} of {campaign.sessions} rounds are left, for which the same command is to be given again"])
    if skipped:
        reasons = sorted(set(skipped.values()))
        notes([f"{len(skipped)} kernels cannot be measured: {'; '.join(reasons[:3])}"])
    if campaign.note:
        notes([campaign.note])


def _percent(share: Any) -> str:
    return f"{float(share) * 100:.1f} %" if isinstance(share, (int, float)) else str(share)


def _as_path(folder: Path) -> str:
    """With a separator, which tells a folder from the name of a target."""
    text = folder.as_posix()
    return text if "/" in text else f"./{text}"


class _Bar:
    """A bar with the time left on the terminal; nothing where stderr is no terminal."""

    def __init__(self, seconds: float) -> None:
        screen = console(stderr=True)
        self._seconds = seconds
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(elapsed_when_finished=True))
        self._bar = Progress(*columns, console=screen, refresh_per_second=2, transient=True) if screen.is_terminal else None
        self._task = self._bar.add_task("starting", total=seconds) if self._bar is not None else None

    def __enter__(self) -> _Bar:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, share: float, text: str) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=share * self._seconds, description=text)
