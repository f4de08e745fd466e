"""What the commands print: JSON on stdout for machines, tables for people, notes on stderr."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table

_WIDTH = 160  # where the output is no terminal: logs wrap by themselves


def console(stderr: bool = False) -> Console:
    """A console for the current stdout or stderr; nothing is taken for markup, because names in a model may look like it."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _WIDTH
    return Console(stderr=stderr, width=width, markup=False, highlight=False, emoji=False, soft_wrap=False)


def print_json(document: Mapping[str, Any]) -> None:
    """One JSON document on stdout; infinities and NaN become null."""
    click.echo(json.dumps(_plain(document), indent=2, allow_nan=False))


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[int] = (), title: str | None = None) -> None:
    """A table on stdout, without a head where there are no headers; columns whose numbers are in `right` are aligned to the right."""
    table = Table(
        box=None, title=title, title_justify="left", title_style="bold", header_style="bold", pad_edge=False, padding=(0, 2, 0, 0)
    )
    numbers = set(right)
    table.show_header = bool(headers)
    for column, header in enumerate(headers):
        table.add_column(header, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    screen = console()
    if screen.is_terminal:
        screen.print(table)
        return
    with screen.capture() as capture:
        screen.print(table)
    click.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))


def say(text: str = "") -> None:
    """A line for people on stdout."""
    click.echo(text)


def note(text: str) -> None:
    """A line on stderr that people should see and machines may skip."""
    click.echo(f"Note: {text}", err=True)


def notes(texts: Iterable[str]) -> None:
    for text in texts:
        note(text)


def _plain(value: Any) -> Any:
    match value:
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case float() if not math.isfinite(value):
            return None
    return value
