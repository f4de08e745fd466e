"""Pruned variants of a model, as somebody may try them: what a profile for the model measures besides the model itself."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphopt.channels import aligned_count, analyse, cut, functions_with_rules, without_emptied
from graphopt.ir import Graph, inline_functions

_RATIOS = (0.3, 0.5, 0.15, 0.6, 0.4)  # of the variants in turn; each group's own lies around it
_AROUND = 0.25
_LARGEST = 0.8
# Blocks to which the widths of the variants in turn are aligned. Most people stay with whole ones; those who do not get other kernels, and
# a kernel of a kind that was never measured cannot be predicted.
_ALIGNMENTS = (1.0, 0.5, 1.0, 0.0, 1.0, 0.25, 1.0, 0.5)  # 0: any width


def pruned_variants(graph: Graph, count: int, block: int, seed: int = 0) -> Iterator[tuple[str, Graph]]:
    """At most `count` copies of `graph`, each channel group of each cut to another width; with a name each.

    Widths are whole blocks of the runtime in half of the variants, and parts of blocks or of any size in the others. Groups that cannot be
    cut without changing more than the channels that go are left alone. None for a model that has no others. Same seed, same variants.
    """
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        align = max(round(block * _ALIGNMENTS[number % len(_ALIGNMENTS)]), 1)
        variant = inline_functions(graph.copy(), keep=functions_with_rules(graph))
        analysis = analyse(variant)
        keep: dict[str, list[int]] = {}
        groups = [group for group in analysis.groups if group.frozen is None and group.inexact is None and group.size > 1]
        if not groups:
            return
        for group in groups:
            ratio = float(np.clip(_RATIOS[number % len(_RATIOS)] + rng.uniform(-_AROUND, _AROUND), 0, _LARGEST))
            width = aligned_count(group, ratio, align)
            if width < group.size:
                keep[group.name] = list(range(width))
        if not keep:
            continue  # too narrow for this alignment
        cut(analysis, without_emptied(analysis, keep))
        yield f"pruned variant {number + 1}, seed {seed}", variant
