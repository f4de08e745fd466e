"""Channel groups for people and for JSON: what can be pruned, what is frozen and why."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphopt.channels import Analysis, ChannelGroup, covered, elements, share_under
from graphopt.cost import parameters
from graphopt.ir import Node
from graphopt.report.words import amount

_SHOWN = 3  # names of many


@dataclass(frozen=True)
class Reason:
    """Why some groups stay: as frozen, or as inexact where only exact cuts are wanted.

    `held` are the elements of weights that cannot go because of it: they lie under these groups and under none that can be pruned.
    """

    why: str
    groups: tuple[ChannelGroup, ...]
    held: int


@dataclass(frozen=True)
class GroupSummary:
    """How much of a model can be pruned, in elements of weights, and the reasons for the rest, what holds most first."""

    parameters: int
    prunable: int
    frozen: tuple[Reason, ...]
    inexact: tuple[Reason, ...]

    @property
    def share(self) -> float:
        """The share of the parameters that can be pruned, 0 to 1."""
        return self.prunable / self.parameters if self.parameters else 0.0

    def __str__(self) -> str:
        return f"prunable: {percent(self.share)} of parameters"


def summarise(analysis: Analysis) -> GroupSummary:
    """What the groups of an analysis add up to."""
    free = [group for group in analysis.groups if is_free(group)]
    prunable = elements(covered(free))
    reasons: dict[str, list[Reason]] = {"frozen": [], "inexact": []}
    by_why: dict[tuple[str, str], list[ChannelGroup]] = {}
    for group in analysis.groups:
        remark = group.frozen or group.inexact
        if remark is not None:
            by_why.setdefault((remark.kind, remark.why), []).append(group)
    for (kind, why), groups in by_why.items():
        reasons[kind].append(Reason(why, tuple(groups), elements(covered([*groups, *free])) - prunable))
    frozen, inexact = (tuple(sorted(found, key=lambda reason: -reason.held)) for found in reasons.values())
    return GroupSummary(parameters(analysis.graph), prunable, frozen, inexact)


def is_free(group: ChannelGroup) -> bool:
    """Whether the group's units can go without any other effect than that they are gone."""
    return group.prunable and group.inexact is None


def group_record(group: ChannelGroup, macs: Mapping[Node, int | None]) -> dict[str, Any]:
    """The group as JSON's own types; `macs` are the model's, by node."""
    return {
        "name": group.name,
        "kind": group.kind,
        "size": group.size,
        "parameters": group.parameters,
        "macs": macs_under(group, macs),
        "exact": group.inexact is None,
        "inexact": None if group.inexact is None else {"where": group.inexact.where, "why": group.inexact.why},
        "frozen": None if group.frozen is None else {"where": group.frozen.where, "why": group.frozen.why},
        "members": [
            {"initializer": member.value.name, "axis": member.axis, "per_unit": member.indices.shape[1]} for member in group.members
        ],
    }


def group_rows(groups: Iterable[ChannelGroup], macs: Mapping[Node, int | None]) -> Iterator[tuple[str, ...]]:
    """Cells of a table of the groups that are not frozen: name, kind, size, parameters, MACs, exactness, members."""
    for group in groups:
        if group.frozen is None:
            exact = "yes" if group.inexact is None else f"no, {group.inexact.where}: {group.inexact.why}"
            members = ", ".join(member.name for member in group.members)
            yield group.name, group.kind, f"{group.size:,}", f"{group.parameters:,}", amount(macs_under(group, macs)), exact, members


def frozen_rows(summary: GroupSummary) -> Iterator[tuple[str, ...]]:
    """Cells of a table of the frozen groups, one row per reason: why, by which nodes, parameters held, names."""
    for reason in summary.frozen:
        places = dict.fromkeys(group.frozen.where for group in reason.groups if group.frozen is not None)
        yield reason.why, some_names(list(places)), f"{reason.held:,}", some_names([group.name for group in reason.groups])


def some_names(names: Sequence[str]) -> str:
    """The names, or the first few and how many more."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def percent(share: float) -> str:
    """Such as "97 %"; never 0 % or 100 % for something that is not."""
    if 0.0 < share < 0.01:
        return "under 1 %"
    return f"{math.floor(share * 100 + 1e-9) if share > 0.5 else round(share * 100)} %"


def macs_under(group: ChannelGroup, macs: Mapping[Node, int | None]) -> int:
    """Multiply-accumulates of one run that are spent on the group's units: those of the nodes that read its weights, by share."""
    shares: dict[Node, float] = {}
    for value, axes in covered([group]).items():
        for node, _ in value.graph.consumers(value) if value.graph is not None else ():
            shares[node] = max(shares.get(node, 0.0), share_under(axes.values()))  # of weight and bias, the weight
    return round(sum((macs.get(node) or 0) * share for node, share in shares.items()))
