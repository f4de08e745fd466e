"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from graphopt.quality import METRICS

DEBUG = "graphopt.debug"  # key in a context's meta

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _remember_debug(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[DEBUG] = True


PATH = click.Path(path_type=Path)

model_argument = click.argument("model", type=PATH)

output_option = click.option("-o", "--output", type=PATH, required=True, help="The model file to write; may be the input itself.")

report_option = click.option("--report", type=PATH, help="Also write a report as JSON (docs/report.md) to this file.")

_data = click.option(
    "--data",
    metavar="FILE|FOLDER|MODULE:FUNCTION",
    help="An .npz file of arrays by input name, many samples along axis 0, and optionally `labels`; a folder of .npz or .npy batches, or of "
    "pictures (sub-folders are classes); or a function that returns such arrays.",
)
_preprocess = click.option(
    "--preprocess",
    metavar="STEPS",
    help="How pictures become inputs: imagenet, resize=256,crop=224,mean=..,std=..,layout=nchw, or module:function (docs/data.md).",
)


def data_option(command: _Command) -> _Command:
    """`data` and `preprocess`, as `load_data` takes them."""
    return _data(_preprocess(command))


target_option = click.option(
    "--target",
    metavar="NAME|FOLDER",
    help="The device that the model is made for: a name that `graphopt targets` lists, or a folder of your own.",
)

metric_option = click.option(
    "--metric",
    metavar="NAME|MODULE:FUNCTION",
    help=f"What quality is: {', '.join(METRICS)}. Default: top1 where the data has labels, else fidelity to the original's outputs.",
)

seed_option = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Decides everything that is random.")

threads_option = click.option("--threads", type=click.IntRange(min=1), help="Threads of ONNX Runtime. Default: all processors.")

batch_option = click.option(
    "--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Samples per measured run, where the batch size is free."
)

plugin_option = click.option("--plugin", "plugins", type=PATH, multiple=True, help="A Python file with passes; may be repeated.")

require_change_option = click.option(
    "--require-change", is_flag=True, help="Exit with status 1 and write nothing where no pass changes it."
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout, and nothing else there.")

debug_option = click.option("--debug", is_flag=True, expose_value=False, callback=_remember_debug, help="Show the stack trace of an error.")


def options(*decorators: Callable[[Any], Any]) -> Callable[[_Command], _Command]:
    """Several option decorators as one, in the order in which --help shows them."""

    def decorate(command: _Command) -> _Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate
