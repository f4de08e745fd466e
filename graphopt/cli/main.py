"""The command `graphopt`, and what becomes of errors: one line and an exit status."""

from __future__ import annotations

import sys
import traceback
from typing import Any

import click

from graphopt import __version__
from graphopt.cli.check import check
from graphopt.cli.compare import compare
from graphopt.cli.extract import extract
from graphopt.cli.files import ARGUMENTS
from graphopt.cli.inspect import inspect
from graphopt.cli.optimize import optimize
from graphopt.cli.options import DEBUG, debug_option
from graphopt.cli.passes import passes
from graphopt.cli.predict import predict
from graphopt.cli.profile import profile
from graphopt.cli.run import run
from graphopt.cli.study import study
from graphopt.cli.targets import targets
from graphopt.errors import DefectError, GraphoptError

_INTERRUPTED = 130  # 128 + SIGINT, as shells count


class _Main(click.Group):
    """Turns every exception into a message on stderr and an exit status: 1 a budget is missed, 2 bad input, 3 a defect of ours."""

    def make_context(self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any) -> click.Context:
        given = list(args)
        context = super().make_context(info_name, args, parent, **extra)
        context.meta[ARGUMENTS] = given
        return context

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except GraphoptError as error:
            _fail(ctx, str(error), error.exit_status, hint=isinstance(error, DefectError))
        except KeyboardInterrupt:
            _fail(ctx, "interrupted", _INTERRUPTED)
        except MemoryError:
            _fail(ctx, "not enough memory for this model", GraphoptError.exit_status)
        except BrokenPipeError:
            raise  # click knows what to do when the reader of our output went away
        except Exception as error:
            what = f"{type(error).__name__}: {error}".removesuffix(": ")
            _fail(ctx, f"unexpected {what}", DefectError.exit_status, hint=True)


@click.group(cls=_Main, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}, no_args_is_help=True)
@click.version_option(__version__, prog_name="graphopt", message="%(prog)s %(version)s")
@debug_option
def main() -> None:
    """Make ONNX models smaller and faster for a device, and say what it cost.

    Exit status: 0 done, 1 a budget or gate is missed, 2 bad input or usage, 3 a defect of graphopt.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # names in a model may hold characters that a terminal cannot show


for _command in (optimize, run, inspect, compare, check, passes, predict, profile, targets, study, extract):
    main.add_command(_command)


def _fail(ctx: click.Context, message: str, status: int, hint: bool = False) -> None:
    if ctx.meta.get(DEBUG):
        traceback.print_exc()
    click.echo(f"Error: {message}", err=True)
    if hint and not ctx.meta.get(DEBUG):
        click.echo(
            "This is a defect of graphopt or of a plug-in; please report it with what the same command prints with --debug.", err=True
        )
    ctx.exit(status)
