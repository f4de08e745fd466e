"""Removes channels, with everything that depends on them, so that the file itself becomes smaller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from graphopt.channels import CRITERIA, ChannelGroup, aligned_count, analyse, best_units, cut, is_ignored, score, without_emptied
from graphopt.errors import PassParameterError
from graphopt.ir import Graph
from graphopt.pipeline import Context, Pass, PassResult, Skip, parameter


@dataclass(frozen=True)
class PruneChannels(Pass):
    """Remove the least important units of every channel group, and slice all tensors that depend on them."""

    name: ClassVar[str] = "prune-channels"

    ratio: float = parameter(0.5, minimum=0, below=1, help="share of each group's units to remove")
    criterion: str = parameter("l2", choices=tuple(CRITERIA), help="how the importance of a unit is measured")
    align: int = parameter(8, minimum=1, help="keep channel counts at multiples of this; groups smaller than it stay whole")
    ignore: tuple[str, ...] = parameter((), help="groups or tensors to leave alone, by name or glob")
    keep: Mapping[str, tuple[int, ...]] = parameter({}, help="units to keep, by group; overrides ratio and align there")

    def apply(self, graph: Graph, context: Context) -> PassResult:
        analysis = analyse(graph)
        known = {group.name for group in analysis.groups}
        for name in self.keep:
            if name not in known:
                raise PassParameterError(f"{self.name}: keep names the channel group {name!r}, which this model does not have")
        rng = context.rng()
        chosen: dict[str, list[int]] = {}
        skipped: list[Skip] = []
        for group in analysis.groups:
            why = self._left_alone(group)
            if why is not None:
                skipped.append(Skip(group.name, why))
                continue
            units = self._units(group, rng)
            if len(units) < group.size and context.permit(f"prune {group.name} from {group.size} to {len(units)} units"):
                chosen[group.name] = units
        kept = cut(analysis, without_emptied(analysis, chosen)) if chosen else {}
        sizes = {group.name: group.size for group in analysis.groups}
        summary: dict[str, int | float | str] = {
            "groups": len(chosen),
            "units_removed": sum(sizes[name] - len(units) for name, units in chosen.items()),
            "units": sum(group.size for group in analysis.groups if group.prunable),
        }
        return PassResult(bool(chosen), summary, kept, tuple(skipped))

    def _left_alone(self, group: ChannelGroup) -> str | None:
        if group.frozen is not None:
            return f"{group.size} units frozen by {group.frozen.where}: {group.frozen.why}"
        if is_ignored(group, self.ignore):
            return "ignored, as asked"
        if group.inexact is not None and group.name not in self.keep:
            return f"{group.size} units inexact at {group.inexact.where}: {group.inexact.why}"
        return "a single unit" if group.size == 1 else None

    def _units(self, group: ChannelGroup, rng: np.random.Generator) -> list[int]:
        if group.name in self.keep:
            return sorted(set(self.keep[group.name]))
        count = aligned_count(group, self.ratio, self.align)
        return best_units(score(group, self.criterion, rng), count) if count < group.size else list(range(group.size))
