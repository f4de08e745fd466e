"""Removes channels, with everything that depends on them, so that the file itself becomes smaller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from graphopt.channels import (
    CRITERIA,
    Analysis,
    ChannelGroup,
    aligned_count,
    analyse,
    best_units,
    cut,
    functions_with_rules,
    global_ratios,
    is_ignored,
    names_group,
    score,
    without_emptied,
)
from graphopt.errors import PassParameterError
from graphopt.ir import Graph, inline_functions
from graphopt.pipeline import Context, Pass, PassResult, Skip, parameter

Scores = np.ndarray[tuple[int], np.dtype[np.float64]]


@dataclass(frozen=True)
class PruneChannels(Pass):
    """Remove the least important units of every channel group, and slice all tensors that depend on them."""

    name: ClassVar[str] = "prune-channels"

    ratio: float = parameter(0.5, minimum=0, below=1, help="share of each group's units to remove")
    ratios: Mapping[str, float] = parameter(
        {}, minimum=0, below=1, help="ratios for groups or tensors by name or glob; the first that fits"
    )
    heads: float | None = parameter(None, minimum=0, below=1, help="ratio for attention heads, instead of `ratio`")
    head_dims: float | None = parameter(None, minimum=0, below=1, help="ratio for dimensions of attention heads, instead of `ratio`")
    criterion: str = parameter("l2", choices=tuple(CRITERIA), help="how the importance of a unit is measured")
    global_ranking: bool = parameter(False, help="remove the `ratio` least important units of the whole model, not of each group")
    max_ratio: float = parameter(0.9, minimum=0, below=1, help="no group loses more than this share when ranking globally")
    align: int = parameter(8, minimum=1, help="keep channel counts at multiples of this; groups smaller than it stay whole")
    include_inexact: bool = parameter(False, help="also cut where that changes statistics, like the width under a LayerNormalization")
    ignore: tuple[str, ...] = parameter((), help="groups or tensors to leave alone, by name or glob")
    keep: Mapping[str, tuple[int, ...]] = parameter({}, help="units to keep, by group; overrides everything else there")

    def apply(self, graph: Graph, context: Context) -> PassResult:
        inlined = inline_functions(graph, keep=functions_with_rules(graph))  # channels are not followed into calls
        analysis = analyse(inlined)
        self._check_names(analysis)
        skipped = [Skip(group.name, why) for group in analysis.groups if (why := self._left_alone(group)) is not None]
        groups = [group for group in analysis.groups if self._left_alone(group) is None]
        chosen: dict[str, list[int]] = {}
        for group, units in self._choose(groups, context.rng()).items():
            if len(units) < group.size and context.permit(f"prune {group.name} from {group.size} to {len(units)} units"):
                chosen[group.name] = units
        if chosen:
            chosen = without_emptied(analysis, chosen)
        sizes = {group.name: group.size for group in analysis.groups}
        kept = cut(analysis, chosen) if chosen else {}
        if kept and inlined is not graph:
            graph.become(inlined)
        summary: dict[str, int | float | str] = {
            "groups": len(chosen),
            "units_removed": sum(sizes[name] - len(units) for name, units in chosen.items()),
            "units": sum(group.size for group in analysis.groups if group.prunable),
        }
        return PassResult(bool(kept), summary, kept, tuple(skipped))

    def _check_names(self, analysis: Analysis) -> None:
        for name in self.keep:
            group = next((group for group in analysis.groups if group.name == name), None)
            if group is None:
                raise PassParameterError(
                    f"{self.name}: keep names the channel group {name!r}, which this model does not have; `graphopt inspect --groups` lists them"
                )
            if group.frozen is not None:
                raise PassParameterError(f"{self.name}: keep names the group {name!r}, frozen by {group.frozen.where}: {group.frozen.why}")
        for pattern in (*self.ratios, *self.ignore):
            if not any(names_group(pattern, group) for group in analysis.groups):
                raise PassParameterError(f"{self.name}: {pattern!r} names no channel group or tensor of this model")

    def _left_alone(self, group: ChannelGroup) -> str | None:
        """Why the group is not to be cut, if so."""
        if group.frozen is not None:
            return f"{group.size} units frozen by {group.frozen.where}: {group.frozen.why}"
        if group.size == 1:
            return "a single unit"
        if is_ignored(group, self.ignore):
            return "ignored, as asked"
        if group.inexact is not None and not self.include_inexact and group.name not in self.keep:
            return f"{group.size} units inexact at {group.inexact.where}: {group.inexact.why}"
        return None

    def _choose(self, groups: list[ChannelGroup], rng: np.random.Generator) -> dict[ChannelGroup, list[int]]:
        """The units to keep of each group."""
        free = [group for group in groups if group.name not in self.keep]
        scores = {group: score(group, self.criterion, rng) for group in free}
        ratios = {group: self._ratio(group) for group in free}
        ranked = {group: scores[group] for group in free if ratios[group] is None}
        if self.global_ranking and ranked:
            ratios |= global_ratios(ranked, self.ratio, self.max_ratio)
        chosen: dict[ChannelGroup, list[int]] = {}
        for group in groups:
            if group.name in self.keep:
                chosen[group] = sorted(set(self.keep[group.name]))
            else:
                ratio = ratios[group]
                count = aligned_count(group, self.ratio if ratio is None else ratio, self.align)
                chosen[group] = best_units(scores[group], count)
        return chosen

    def _ratio(self, group: ChannelGroup) -> float | None:
        """The ratio that was given for the group in particular."""
        for pattern, ratio in self.ratios.items():
            if names_group(pattern, group):
                return ratio
        return {"heads": self.heads, "head dimensions": self.head_dims}.get(group.kind)
