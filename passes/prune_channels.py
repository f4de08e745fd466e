"""Removes channels, with everything that depends on them, so that the file itself becomes smaller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal
from weakref import WeakKeyDictionary

import numpy as np

from graphopt.allocation import CompressingPass, Costs, Site, WidthCosts
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
from graphopt.channels.groups import Member, shape_of
from graphopt.channels.slices import slices, weights
from graphopt.cost import Predictor, WidthAdvice, candidate_widths
from graphopt.errors import DataError, PassParameterError, UnsupportedError
from graphopt.ir import Graph, inline_functions
from graphopt.pipeline import Context, PassResult, Skip, parameter
from graphopt.repair import DATA_CRITERIA, calibration, data_scores

from ._worthwhile import worthwhile_counts
from .reconstruct import Reconstruct

Scores = np.ndarray[tuple[int], np.dtype[np.float64]]

_scored: WeakKeyDictionary[Graph, tuple[object, object, dict[str, Scores]]] = WeakKeyDictionary()


@dataclass(frozen=True)
class PruneChannels(CompressingPass):
    """Remove the least important units of every channel group, and slice all tensors that depend on them.

    A `plan` says how many units of each group to keep; with a goal (`to`) these numbers are found. Groups that `keep`, `ratios`, `heads` or
    `head_dims` speak of are then cut as these say.
    """

    name: ClassVar[str] = "prune-channels"

    ratio: float = parameter(0.5, minimum=0, below=1, help="share of each group's units to remove")
    ratios: Mapping[str, float] = parameter(
        {}, minimum=0, below=1, help="ratios for groups or tensors by name or glob; the first that fits"
    )
    heads: float | None = parameter(None, minimum=0, below=1, help="ratio for attention heads, instead of `ratio`")
    head_dims: float | None = parameter(None, minimum=0, below=1, help="ratio for dimensions of attention heads, instead of `ratio`")
    criterion: str = parameter("l2", choices=(*CRITERIA, *DATA_CRITERIA), help="how the importance of a unit is measured")
    global_ranking: bool = parameter(False, help="remove the `ratio` least important units of the whole model, not of each group")
    max_ratio: float = parameter(0.9, minimum=0, below=1, help="no group loses more than this share when ranking globally, or for a goal")
    align: int | Literal["target"] = parameter(
        8, minimum=1, help="keep channel counts at multiples of this, or at those worth having on the target; smaller groups stay whole"
    )
    include_inexact: bool = parameter(False, help="also cut where that changes statistics, like the width under a LayerNormalization")
    ignore: tuple[str, ...] = parameter((), help="groups or tensors to leave alone, by name or glob")
    keep: Mapping[str, tuple[int, ...]] = parameter({}, help="units to keep, by group; overrides everything else there")
    repair: bool = parameter(
        False, help="let what is left take over what went, by least squares on calibration data, as `reconstruct` does"
    )

    def sites(self, graph: Graph, context: Context) -> tuple[Site, ...]:
        """The groups that may be cut, with the widths that keep their axes aligned; harm is the share of a group's scores that goes."""
        inlined = _inlined(graph)
        step = self._step(context)
        groups = [group for group in self._free_groups(inlined) if self._count_given(group, step) is None]
        scores = self._known_scores(graph, context)
        return tuple(_site(group, scores[group.name], self._widths(group, step)) for group in groups)

    def costs(self, graph: Graph, context: Context, sites: Sequence[Site]) -> Costs:
        inlined = _inlined(graph)
        step = self._step(context)
        given = {group.name: count for group in self._free_groups(inlined) if (count := self._count_given(group, step)) is not None}
        try:
            return WidthCosts(inlined, sites, context.predictor, given)
        except UnsupportedError:  # widths alone do not say which kernels there are
            return super().costs(graph, context, sites)

    def rebuilt(self, graph: Graph, context: Context, plan: Mapping[str, int]) -> Graph:
        keep = dict(self.keep)
        if plan and self.criterion in DATA_CRITERIA:  # that takes long, and is the same for all plans
            scores = self._known_scores(graph, context)
            keep |= {name: tuple(best_units(scores[name], count)) for name, count in plan.items()}
        return super(PruneChannels, replace(self, repair=False, keep=keep)).rebuilt(graph, context, plan)  # a repair changes no shape

    def compress(self, graph: Graph, context: Context) -> PassResult:
        inlined = _inlined(graph)
        analysis = analyse(inlined)
        self._check_names(analysis)
        skipped = [Skip(group.name, why) for group in analysis.groups if (why := self._left_alone(group)) is not None]
        groups = [group for group in analysis.groups if self._left_alone(group) is None]
        if self.plan is not None:
            counts = self._planned_counts(groups, self.plan, context)
            groups = [group for group in groups if counts[group] < group.size]  # the others need no scores
        advice = self._advice(inlined, context)
        chosen: dict[str, list[int]] = {}
        for group, units in self._choose(groups, self._scores(inlined, groups, context), advice, context).items():
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

    def _known_scores(self, graph: Graph, context: Context) -> dict[str, Scores]:
        """By group name, remembered for the last that were asked of this graph."""
        key = (graph.version, self.criterion, self.ignore, self.keep, self.include_inexact, context.seed)
        known = _scored.get(graph)
        if known is None or known[0] != key or known[1] is not context.data:
            inlined = _inlined(graph)
            found = self._scores(inlined, self._free_groups(inlined), context)
            known = _scored[graph] = key, context.data, {group.name: scores for group, scores in found.items()}
        return known[2]

    def _free_groups(self, graph: Graph) -> list[ChannelGroup]:
        analysis = analyse(graph)
        self._check_names(analysis)
        return [group for group in analysis.groups if self._left_alone(group) is None]

    def _count_given(self, group: ChannelGroup, step: int) -> int | None:
        """How many units of the group are to be kept whatever the goal."""
        if group.name in self.keep:
            return len(set(self.keep[group.name]))
        ratio = self._ratio(group)
        return None if ratio is None else aligned_count(group, ratio, step)

    def _widths(self, group: ChannelGroup, step: int) -> tuple[int, ...]:
        """The widths on offer, the full one first."""
        least = group.size * (1 - self.max_ratio)
        return tuple(width for width in reversed(candidate_widths(group, step)) if width >= least)

    def _step(self, context: Context) -> int:
        return self.align if isinstance(self.align, int) else self._known_target(context).target.align

    def _repaired(self, graph: Graph, result: PassResult, context: Context) -> PassResult:
        repair = Reconstruct().apply(graph, replace(context, history=(*context.history, result)))
        return replace(result, summary={**result.summary, "repaired": repair.summary["layers"]}, skipped=(*result.skipped, *repair.skipped))

    def _check_names(self, analysis: Analysis) -> None:
        groups = {group.name: group for group in analysis.groups}
        for name, parameter_name in (*((name, "keep") for name in self.keep), *((name, "plan") for name in self.plan or ())):
            group = groups.get(name)
            if group is None:
                raise PassParameterError(
                    f"{self.name}: {parameter_name} names the channel group {name!r}, which this model does not have; "
                    "`graphopt inspect --groups` lists them"
                )
            if group.frozen is not None:
                why = f"frozen by {group.frozen.where}: {group.frozen.why}"
                raise PassParameterError(f"{self.name}: {parameter_name} names the group {name!r}, {why}")
        for name, count in (self.plan or {}).items():
            if not 1 <= count <= groups[name].size:
                raise PassParameterError(
                    f"{self.name}: the plan for group {name!r}, of {groups[name].size} units, cannot be to keep {count}"
                )
            if is_ignored(groups[name], self.ignore):
                raise PassParameterError(f"{self.name}: the plan names group {name!r}, which is to be ignored")
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
        if group.inexact is not None and not self.include_inexact and group.name not in {*self.keep, *(self.plan or ())}:
            return f"{group.size} units inexact at {group.inexact.where}: {group.inexact.why}"
        return None

    def _advice(self, graph: Graph, context: Context) -> WidthAdvice | None:
        if self.align != "target" or self.plan is not None:
            return None
        return WidthAdvice(self._known_target(context), graph)

    def _known_target(self, context: Context) -> Predictor:
        if context.predictor is None:
            raise PassParameterError(f"{self.name}: align=target needs to know the target; name it with --target, or give `align` a number")
        return context.predictor

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
        self, groups: list[ChannelGroup], scores: dict[ChannelGroup, Scores], advice: WidthAdvice | None, context: Context
    ) -> dict[ChannelGroup, list[int]]:
        """The units to keep of each group."""
        kept = {group: sorted(set(self.keep[group.name])) for group in groups if group.name in self.keep}
        if self.plan is not None:
            counts = self._planned_counts(list(scores), self.plan, context)
            return {group: kept[group] if group in kept else best_units(scores[group], counts[group]) for group in groups}
        ratios = {group: self._ratio(group) for group in scores}
        ranked = {group: scores[group] for group in scores if ratios[group] is None}
        if self.global_ranking and ranked:
            ratios |= global_ratios(ranked, self.ratio, self.max_ratio)
        shares = {group: self.ratio if ratio is None else ratio for group, ratio in ratios.items()}
        if advice is not None:
            counts = worthwhile_counts(advice, shares, {group.name: len(units) for group, units in kept.items()})
        else:
            assert isinstance(self.align, int)
            counts = {group: aligned_count(group, share, self.align) for group, share in shares.items()}
        return {group: kept[group] if group in kept else best_units(scores[group], counts[group]) for group in groups}

    def _planned_counts(self, groups: list[ChannelGroup], plan: Mapping[str, int], context: Context) -> dict[ChannelGroup, int]:
        step = self._step(context)
        counts = {}
        for group in groups:
            given = self._count_given(group, step)
            counts[group] = plan.get(group.name, group.size if given is None else given)
        return counts

    def _ratio(self, group: ChannelGroup) -> float | None:
        """The ratio that was given for the group in particular."""
        for pattern, ratio in self.ratios.items():
            if names_group(pattern, group):
                return ratio
        return {"heads": self.heads, "head dimensions": self.head_dims}.get(group.kind)


def _inlined(graph: Graph) -> Graph:
    return inline_functions(graph, keep=functions_with_rules(graph))  # channels are not followed into calls


def _site(group: ChannelGroup, scores: Scores, widths: tuple[int, ...]) -> Site:
    """The harm of a width is the share of the squared norm of each weight that reads the group which goes with the units of the lowest scores, summed.

    So the channels of a residual stream, which many layers read, weigh more than those between two layers. Where no weight is known to
    read the group, all that are cut are taken.
    """
    members = weights(group)
    best = np.argsort(-scores, kind="stable")
    lost = np.zeros(group.size + 1)
    for member in [member for member in members if _reads(member)] or members:
        energies = np.square(slices(member)).sum(axis=1)
        lost += 1 - np.concatenate([[0.0], np.cumsum(energies[best])]) / (energies.sum() or 1.0)
    return Site(group.name, widths, tuple(max(0.0, float(lost[width])) if width < group.size else 0.0 for width in widths))


def _reads(member: Member) -> bool:
    """Whether the axis of a layer's weight is that of the layer's input."""
    graph, dimensions = member.value.graph, len(shape_of(member.value))
    for node, slot in [] if graph is None else graph.consumers(member.value):
        if slot == 1 and node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            transposed = node.op_type == "Conv" or (node.op_type == "Gemm" and node.attributes.get("transB", 0))
            return member.axis == (1 if transposed else dimensions - 2 if node.op_type == "MatMul" else 0)
    return False
