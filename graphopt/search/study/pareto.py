"""Which trials are worth a look."""

from __future__ import annotations

from collections.abc import Iterable

from graphopt.search.study.records import Record


def pareto(records: Iterable[Record], latency: str = "latency_ms", quality: str = "quality") -> tuple[Record, ...]:
    """The complete trials to which no other is better in latency or quality without being worse in the other, fastest first.

    Of several with the same figures the first is kept; those that lack a figure are left out. `latency` and `quality` name the figures.
    """
    known = [each for each in records if each.state == "complete" and latency in each.values and quality in each.values]
    front: list[Record] = []
    for each in sorted(known, key=lambda each: (each.values[latency], -each.values[quality], each.number)):
        if not front or each.values[quality] > front[-1].values[quality]:
            front.append(each)
    return tuple(front)
