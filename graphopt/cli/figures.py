"""Figures of two models side by side."""

from __future__ import annotations

from collections.abc import Sequence

from graphopt.cli.console import print_table
from graphopt.report import Figures
from graphopt.report.words import amount, change, data_size, milliseconds, score, times


def print_figures(before: Figures, after: Figures, metric: str = "quality", names: Sequence[str] = ("before", "after")) -> None:
    """A table of what is known of both."""
    rows = []
    if before.latency_ms is not None and after.latency_ms is not None:
        factor = f"{times(before.latency_ms / after.latency_ms)} as fast" if after.latency_ms else ""
        rows.append(("latency", milliseconds(before.latency_ms), milliseconds(after.latency_ms), factor))
    if before.quality is not None and after.quality is not None:
        rows.append((metric, score(before.quality), score(after.quality), f"{after.quality - before.quality:+.4f}"))
    rows.append(("MACs", amount(before.macs), amount(after.macs), change(before.macs, after.macs)))
    rows.append(("parameters", amount(before.params), amount(after.params), change(before.params, after.params)))
    rows.append(("size", data_size(before.bytes), data_size(after.bytes), change(before.bytes, after.bytes)))
    print_table(["", *names, "change"], rows, right=(1, 2, 3))
