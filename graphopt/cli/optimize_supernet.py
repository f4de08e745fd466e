"""`graphopt optimize --supernet`: the best subnet within a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from graphopt.cli.console import console, print_json, print_table, say
from graphopt.cli.figures import print_figures
from graphopt.cli.files import check_outputs, read_model
from graphopt.cli.options import PATH, options
from graphopt.cli.searching import conclude, is_written, write_found
from graphopt.ir.files import write_atomically
from graphopt.report import Report
from graphopt.report.words import milliseconds, score, times
from graphopt.search.supernet import JUDGES, FoundSubnet, Subnet, search_supernet

_SHOWN = 12  # subnets in the table
_TAKEN = frozenset(
    {"target", "latency", "speedup", "max_drop", "data", "calibration", "preprocess", "metric", "strategy", "seconds", "trials"}
    | {"seed", "threads", "batch"}
)
"""Options of `optimize` that mean the same for subnets; together with those of this file and of what is written."""

_OWN = frozenset({"supernet", "transforms", "image_sizes", "judge", "recalibrated"})
_WRITTEN = frozenset({"model", "output", "report", "best_effort", "as_json"})
_DEFAULT_STRATEGY = {"auto": "evolve"}


class _Sizes(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.2
    name = "sizes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Such as 160,192,224."""
        if isinstance(value, tuple):
            return value
        sizes = str(value).split(",")
        if not all(size.strip().isdecimal() and int(size) > 0 for size in sizes):
            self.fail(f"{value!r} is no list of image sizes; write it like 160,192,224.", param, ctx)
        return tuple(sorted({int(size) for size in sizes}))


supernet_options = options(
    click.option("--supernet", type=PATH, help="MODEL is a supernet with this side file (docs/supernets.md): search among its subnets."),
    click.option("--transforms", type=PATH, help="With --supernet: an .npz file of kernel transforms, as for `extract`."),
    click.option("--image-sizes", type=_Sizes(), metavar="N,N,...", help="With --supernet: input sizes on offer. Default: 0.7 and up."),
    click.option(
        "--judge",
        type=click.Choice(list(JUDGES)),
        default=JUDGES[0],
        show_default=True,
        help="With --supernet: search by a predictor of quality, trained on the subnets that are run, or by runs alone.",
    ),
    click.option(
        "--recalibrate", "recalibrated", is_flag=True, help="With --supernet: compute batch normalization statistics of each subnet anew."
    ),
)


def supernet_settings(settings: dict[str, Any]) -> dict[str, Any] | None:
    """Take the options of this file out of `settings`; None where none of them was given.

    Raises click.UsageError for one of them without --supernet.
    """
    own = {name: settings.pop(name) for name in _OWN}
    if own["supernet"] is not None:
        return own
    stray = [parameter.opts[0] for parameter in _typed() if parameter.name in _OWN]
    if stray:
        raise click.UsageError(f"{', '.join(stray)} says something about subnets, so it needs --supernet.")
    return None


def optimize_supernet(model: Path, output: Path, report: Path | None, best_effort: bool, as_json: bool, settings: dict[str, Any]) -> None:
    """Find the subnet, write it and its configuration beside it; `settings` are all other options of the command.

    Raises BudgetError where the time is missed, click.UsageError for options that mean nothing here.
    """
    _check_options()
    written_config = config_path(output)
    check_outputs(output, report, written_config)
    read_model(model)  # for its errors
    chosen = {name: value for name, value in settings.items() if name in _TAKEN | _OWN}
    chosen["strategy"] = _DEFAULT_STRATEGY.get(chosen["strategy"], chosen["strategy"])
    found = search_supernet(model, **chosen, config_path=written_config, best_effort=True, watch=_shown)
    if is_written(found, best_effort):
        write_atomically(written_config, (json.dumps(found.config) + "\n").encode())
    made = write_found(found, output, report, best_effort)
    if as_json:
        print_json(_record(made, found))
    else:
        _print(made, found, written_config)
    conclude(found, "subnet", output, best_effort)


def config_path(output: Path) -> Path:
    """Where the configuration of a subnet is written: `subnet.onnx` has `subnet.config.json`."""
    return output.with_name(f"{output.stem}.config.json")


def _check_options() -> None:
    """Raise click.UsageError where an option was given that a search among subnets does not know."""
    strange = [parameter.opts[0] for parameter in _typed() if parameter.name not in _TAKEN | _OWN | _WRITTEN]
    if strange:
        raise click.UsageError(f"{', '.join(strange)} cannot be combined with --supernet, which chooses among subnets and runs no passes.")


def _typed() -> list[click.Parameter]:
    """The parameters that stand on the command line."""
    context = click.get_current_context()
    source = click.core.ParameterSource.COMMANDLINE
    return [parameter for parameter in context.command.params if context.get_parameter_source(str(parameter.name)) is source]


def _record(report: Report, found: FoundSubnet) -> dict[str, Any]:
    subnets = [{"config": subnet.text, "table_ms": subnet.ms, "quality": subnet.quality} for subnet in found.subnets]
    ranks = None
    if found.correlation is not None:
        ranks = {"kendall": found.correlation.kendall, "spearman": found.correlation.spearman, "subnets": found.correlation.subnets}
    return report.to_dict() | {
        "missed": found.missed or None,
        "metric": found.metric,
        "samples": found.samples,
        "config": found.config,
        "subnets": subnets,
        "rank_correlation": ranks,
        "notes": list(found.notes),
    }


def _print(report: Report, found: FoundSubnet, written_config: Path) -> None:
    if found.missed:
        say("the budget is missed; the best that was found:")
    print_figures(report.before, report.after, found.metric, ("supernet", "subnet"))
    say()
    rows = [
        (milliseconds(subnet.ms), score(subnet.quality), subnet.text)
        for subnet in sorted(found.subnets, key=lambda subnet: -subnet.quality)[:_SHOWN]
    ]
    print_table(
        ["table", found.metric, "configuration"], rows, right=(0, 1), title=f"the best of {len(found.subnets)} subnets that were run"
    )
    say(f"\nchosen: {json.dumps(found.config)}")
    timing = found.timing
    if timing.predicted:
        low, high = (milliseconds(end) for end in (timing.latency.low_ms, timing.latency.high_ms))
        said = f"predicted for {report.target}: {milliseconds(timing.latency.median_ms)}, with 90 % certainty {low} to {high}"
    else:
        said = f"measured: {milliseconds(timing.latency.median_ms)}, {timing.latency.repeats} runs in turns with the supernet, median"
    say(f"{said}; {times(timing.speedup)}; {found.metric} on {found.samples} samples of the test part")
    if found.correlation is not None:
        ranks = found.correlation
        say(
            f"quality as predicted from the configuration orders {ranks.subnets} subnets held out with Kendall {ranks.kendall:.2f}, "
            f"Spearman {ranks.spearman:.2f}"
        )
    if report.output is not None:
        say(f"wrote {report.output.path} and {written_config}")


def _shown(subnet: Subnet) -> None:
    """A line on the terminal per subnet that was run; nothing where stderr is no terminal."""
    screen = console(stderr=True)
    if screen.is_terminal:
        screen.print(f"{milliseconds(subnet.ms)}  quality {score(subnet.quality)}  {subnet.text}")
