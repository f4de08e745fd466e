"""`graphopt passes`: what there is to run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from graphopt.cli.console import note, print_json, print_table, say
from graphopt.cli.options import debug_option, json_option, options, plugin_option
from graphopt.errors import UnknownPassError
from graphopt.pipeline import PassInfo
from graphopt.report import installed_passes


@click.command("passes", short_help="List the passes and their parameters.")
@options(click.argument("names", nargs=-1, metavar="[NAME]..."), plugin_option, json_option, debug_option)
def passes(names: tuple[str, ...], plugins: tuple[Path, ...], as_json: bool) -> None:
    """List every pass that is installed, or the named ones: what it does, its parameters, and where it comes from."""
    registry = installed_passes(plugins)
    for name in names:
        if name not in registry.names():
            registry.get(name)  # says what is near
            raise UnknownPassError(f"there is no pass '{name}'")
    found = [info for info in registry.describe() if not names or info.name in names]
    if as_json:
        print_json({"passes": [_record(info) for info in found]})
        return
    for place, info in enumerate(found):
        if place:
            say()
        _print(info)
    if not found:
        note("no pass is installed")


def _record(info: PassInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "summary": info.summary,
        "source": info.source,
        "problem": info.problem or None,
        "parameters": [
            {
                "name": parameter.name,
                "type": parameter.kind.type_words,
                "required": parameter.required,
                "default": parameter.default_text,
                "range": parameter.limits.words or None,
                "help": parameter.help,
            }
            for parameter in info.parameters
        ],
    }


def _print(info: PassInfo) -> None:
    say(f"{info.name}: {info.problem or info.summary or 'no description'}")
    say(f"  from {info.source}")
    rows = [
        (
            f"  {parameter.name}",
            parameter.kind.type_words,
            parameter.default_text if parameter.default_text is not None else "(required)",
            parameter.limits.words,
            parameter.help,
        )
        for parameter in info.parameters
    ]
    if rows:
        print_table(["  parameter", "type", "default", "range", "meaning"], rows)
