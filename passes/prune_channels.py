"""Removes channels, with everything that depends on them, so that the file itself becomes smaller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

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
from graphopt.cost import WidthAdvice
from graphopt.errors import DataError, PassParameterError
from graphopt.ir import Graph, inline_functions
from graphopt.pipeline import Context, Pass, PassResult, Skip, parameter
from graphopt.repair import DATA_CRITERIA, calibration, data_scores

from ._worthwhile import worthwhile_counts
from .reconstruct import Reconstruct

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
    criterion: str = parameter("l2", choices=(*CRITERIA, *DATA_CRITERIA), help="how the importance of a unit is measured")
    global_ranking: bool = parameter(False, help="remove the `ratio` least important units of the whole model, not of each group")
    max_ratio: float = parameter(0.9, minimum=0, below=1, help="no group loses more than this share when ranking globally")
    align: int | Literal["target"] = parameter(
        8, minimum=1, help="keep channel counts at multiples of this, or at those worth having on the target; smaller groups stay whole"
    )
    include_inexact: bool = parameter(False, help="also cut where that changes statistics, like the width under a LayerNormalization")
    ignore: tuple[str, ...] = parameter((), help="groups or tensors to leave alone, by name or glob")
    keep: Mapping[str, tuple[int, ...]] = parameter({}, help="units to keep, by group; overrides everything else there")
    repair: bool = parameter(
        False, help="let what is left take over what went, by least squares on calibration data, as `reconstruct` does"
    )

    def apply(self, graph: Graph, context: Context) -> PassResult:
        inlined = inline_functions(graph, keep=functions_with_rules(graph))  # channels are not followed into calls
        analysis = analyse(inlined)
        self._check_names(analysis)
        skipped = [Skip(group.name, why) for group in analysis.groups if (why := self._left_alone(group)) is not None]
        groups = [group for group in analysis.groups if self._left_alone(group) is None]
        advice = self._advice(inlined, context)
        chosen: dict[str, list[int]] = {}
        for group, units in self._choose(groups, self._scores(inlined, groups, context), advice).items():
            if advice is not None and len(units) == group.size and group.name not in self.keep:
                skipped.append(Skip(group.name, "no width that keeps as many units as wanted is predicted to be faster"))
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
        result = PassResult(bool(kept), summary, kept, tuple(skipped))
        return self._repaired(graph, result, context) if self.repair and kept else result

    def _repaired(self, graph: Graph, result: PassResult, context: Context) -> PassResult:
        repair = Reconstruct().apply(graph, replace(context, history=(*context.history, result)))
        return replace(result, summary={**result.summary, "repaired": repair.summary["layers"]}, skipped=(*result.skipped, *repair.skipped))

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

    def _advice(self, graph: Graph, context: Context) -> WidthAdvice | None:
        if self.align != "target":
            return None
        if context.predictor is None:
            raise PassParameterError(f"{self.name}: align=target needs to know the target; name it with --target, or give `align` a number")
        return WidthAdvice(context.predictor, graph)

    def _scores(self, graph: Graph, groups: list[ChannelGroup], context: Context) -> dict[ChannelGroup, Scores]:
        """The scores of the groups whose units are not given; where data can say nothing about a group, by its weights."""
        free = [group for group in groups if group.name not in self.keep]
        if self.criterion not in DATA_CRITERIA:
            rng = context.rng()
            return {group: score(group, self.criterion, rng) for group in free}
        if context.data is None:
            raise DataError(f"{self.name}: criterion {self.criterion} needs calibration data (--data, or data= in Python)")
        found = data_scores(graph, free, self.criterion, calibration(graph, context.data), context.seed)
        return {group: found[group] if group in found else score(group, "l2", context.rng()) for group in free}

    def _choose(
        self, groups: list[ChannelGroup], scores: dict[ChannelGroup, Scores], advice: WidthAdvice | None
    ) -> dict[ChannelGroup, list[int]]:
        """The units to keep of each group."""
        ratios = {group: self._ratio(group) for group in scores}
        ranked = {group: scores[group] for group in scores if ratios[group] is None}
        if self.global_ranking and ranked:
            ratios |= global_ratios(ranked, self.ratio, self.max_ratio)
        shares = {group: self.ratio if ratio is None else ratio for group, ratio in ratios.items()}
        kept = {group: sorted(set(self.keep[group.name])) for group in groups if group.name in self.keep}
        if advice is not None:
            counts = worthwhile_counts(advice, shares, {group.name: len(units) for group, units in kept.items()})
        else:
            assert isinstance(self.align, int)
            counts = {group: aligned_count(group, share, self.align) for group, share in shares.items()}
        return {group: kept[group] if group in kept else best_units(scores[group], counts[group]) for group in groups}

    def _ratio(self, group: ChannelGroup) -> float | None:
        """The ratio that was given for the group in particular."""
        for pattern, ratio in self.ratios.items():
            if names_group(pattern, group):
                return ratio
        return {"heads": self.heads, "head dimensions": self.head_dims}.get(group.kind)
