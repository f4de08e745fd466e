"""What an analysis says of the axes of a weight, in a letter each."""

from __future__ import annotations

from graphopt.channels import Analysis


def status(analysis: Analysis, name: str) -> str:
    """A letter per axis of the weight: e exact, i inexact, f frozen, m partly one and partly another, - no units."""
    rank = len(analysis.types[analysis.graph.value(name)].shape or ())
    return "".join(axis_status(analysis, name, axis) for axis in range(rank))


def axis_status(analysis: Analysis, name: str, axis: int) -> str:
    letters = set()
    for group in analysis.groups:
        if any(member.value.name == name and member.axis == axis for member in group.members):
            letters.add("f" if not group.prunable else "i" if group.inexact is not None else "e")
    return letters.pop() if len(letters) == 1 else "m" if letters else "-"
