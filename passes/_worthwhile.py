"""How many units of each group to keep where a target says which channel counts are worth having."""

from __future__ import annotations

import math
from collections.abc import Mapping

from graphopt.channels import ChannelGroup
from graphopt.cost import WidthAdvice


def worthwhile_counts(advice: WidthAdvice, ratios: Mapping[ChannelGroup, float], fixed: Mapping[str, int]) -> dict[ChannelGroup, int]:
    """For each group the fewest units worth having so that at most about its ratio of them go; all where a cut would win no time.

    `fixed` are the widths of other groups, by name. Channels that cost nothing are given back: where several widths are equally fast, the
    largest is taken. A cut is judged once more beside all the others, and left out if the network is not predicted to be slower without it.
    """
    counts = {
        group: advice.site(group.name).at_least(max(1, math.floor(group.size * (1 - ratio) + 0.5))) for group, ratio in ratios.items()
    }
    widths = {**fixed, **{group.name: count for group, count in counts.items()}}
    ms = advice.ms(widths)
    for group, count in counts.items():
        if count < group.size:
            whole = advice.ms(widths | {group.name: group.size})
            if whole <= ms:
                ms, widths[group.name], counts[group] = whole, group.size, group.size
    return counts
