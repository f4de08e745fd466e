"""Which channel counts are worth having at a site: those that are predicted to be faster than all larger ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphopt.channels import ChannelGroup
from graphopt.channels.plan import step
from graphopt.cost.fused_widths import FusedWidths
from graphopt.cost.kernel import Signature
from graphopt.cost.predictor import Predictor
from graphopt.ir import Graph

_MOST = 64  # widths of a group that are looked at
_TOLERANCE = 0.002  # of the time of the kernels at the site: a smaller gain is none


def candidate_widths(group: ChannelGroup, align: int, most: int = _MOST) -> tuple[int, ...]:
    """The widths of a group that keep its axes multiples of `align`, ascending, and the full width; of very many, `most` evenly spread."""
    unit = step(group, align)
    widths = list(range(unit, group.size, unit))
    if len(widths) >= most:
        widths = [widths[place] for place in np.unique(np.linspace(0, len(widths) - 1, most - 1).round().astype(int)).tolist()]
    return (*widths, group.size)


def faster_than_larger(widths: Sequence[int], ms: Sequence[float], gain_ms: float = 0.0) -> tuple[int, ...]:
    """Of ascending `widths`, which take `ms`, those that are faster than every larger one, by more than `gain_ms` than the next of them."""
    found = [widths[-1]]
    best = ms[-1]
    for width, time in zip(reversed(widths[:-1]), reversed(ms[:-1]), strict=True):
        if time < best - gain_ms:
            found.append(width)
            best = time
    return tuple(reversed(found))


@dataclass(frozen=True)
class SiteWidths:
    """A group's widths, ascending, and for each the predicted milliseconds of the network, and of the kernels that depend on the group."""

    group: str
    widths: tuple[int, ...]
    ms: tuple[float, ...]
    site_ms: tuple[float, ...]

    @property
    def worthwhile(self) -> tuple[int, ...]:
        """The widths worth having: faster than every larger one by more than a trifle; the full width is always one of them."""
        return faster_than_larger(self.widths, self.ms, _TOLERANCE * self.site_ms[-1])

    def at_least(self, wanted: int) -> int:
        """The smallest width worth having that is not below `wanted`: what a wider one costs no more is given back."""
        return next(width for width in self.worthwhile if width >= wanted)


class WidthAdvice:
    """Predicted widths for the channel groups of one graph; `sizes` are its free dimensions by name, 1 unless given.

    Raises UnsupportedError where the graph's groups cannot be told apart.
    """

    def __init__(self, predictor: Predictor, graph: Graph, sizes: Mapping[str, int] | None = None) -> None:
        self._predictor = predictor
        self._fused = FusedWidths(graph, predictor.rules, sizes)
        self.groups: tuple[ChannelGroup, ...] = self._fused.groups

    def ms(self, widths: Mapping[str, int]) -> float:
        """Milliseconds of the network where the named groups have these widths, the others all they have. Raises EditError."""
        return self._predictor.latency(self._signatures(self._assigned(widths))).ms

    def site(self, group: str, widths: Mapping[str, int] | None = None, candidates: Sequence[int] | None = None) -> SiteWidths:
        """The candidate widths of a group, by default multiples of the target's `align`; the other groups have `widths`. Raises EditError."""
        number = self._fused.number(group)
        whole = self._fused.groups[number]
        offered = candidate_widths(whole, self._predictor.target.align) if candidates is None else tuple(sorted({*candidates, whole.size}))
        assigned = self._assigned(widths or {})
        kernels: list[Counter[Signature]] = []
        for width in offered:
            assigned[number] = width
            kernels.append(Counter(self._signatures(assigned)))
        same = kernels[-1]
        for each in kernels[:-1]:
            same = same & each
        ms = [self._predictor.latency(each.elements()).ms for each in kernels]
        site_ms = [float(self._predictor.time((each - same).elements()).sum()) for each in kernels]
        return SiteWidths(group, offered, tuple(ms), tuple(site_ms))

    def _assigned(self, widths: Mapping[str, int]) -> list[int]:
        assigned = self._fused.full
        for name, width in widths.items():
            assigned[self._fused.number(name)] = width
        return assigned

    def _signatures(self, assigned: Sequence[int]) -> list[Signature]:
        return [kernel.signature for kernel in self._fused.kernels(assigned)]


def predicted_widths(predictor: Predictor, graph: Graph, group: str) -> dict[int, float]:
    """Milliseconds of the whole network for each candidate width of one group, the others as they are. Raises EditError."""
    site = WidthAdvice(predictor, graph).site(group)
    return dict(zip(site.widths, site.ms, strict=True))


def worthwhile_widths(predictor: Predictor, graph: Graph, group: str) -> tuple[int, ...]:
    """The widths of a group that are worth having on the predictor's target, ascending; its full width is the last. Raises EditError."""
    return WidthAdvice(predictor, graph).site(group).worthwhile
