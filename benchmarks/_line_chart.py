"""Line charts as SVG, without a library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT, _MARGIN = 460, 300, 52


@dataclass(frozen=True)
class Line:
    """Points joined by a line, or alone."""

    label: str
    color: str
    points: Sequence[tuple[float, float]]
    joined: bool = True


@dataclass(frozen=True)
class Chart:
    title: str
    x: str
    y: str
    lines: Sequence[Line]


def svg(charts: Sequence[Chart], columns: int = 2) -> str:
    """The charts in a grid."""
    rows = -(-len(charts) // columns)
    parts = [
        f'<g transform="translate({place % columns * _WIDTH},{place // columns * _HEIGHT})">{_chart(chart)}</g>'
        for place, chart in enumerate(charts)
    ]
    size = f'width="{columns * _WIDTH}" height="{rows * _HEIGHT}"'
    style = "text{font:11px sans-serif}.t{font-weight:bold}"
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style}</style><rect {size} fill="white"/>{"".join(parts)}</svg>\n'


def _chart(chart: Chart) -> str:
    xs = [x for line in chart.lines for x, _ in line.points]
    top = 1.1 * max(y for line in chart.lines for _, y in line.points)
    left, right = min(xs), max(xs)
    wide, high = _WIDTH - 2 * _MARGIN, _HEIGHT - 2 * _MARGIN

    def at(x: float, y: float) -> tuple[float, float]:
        return _MARGIN + wide * (x - left) / max(right - left, 1e-9), _HEIGHT - _MARGIN - high * y / top

    parts = [f'<text class="t" x="{_MARGIN}" y="20">{escape(chart.title)}</text>']
    parts.append(f'<path d="M{_MARGIN} {_MARGIN}V{_HEIGHT - _MARGIN}H{_WIDTH - _MARGIN}" fill="none" stroke="black"/>')
    for share in (0, 0.25, 0.5, 0.75, 1):
        x, _ = at(left + share * (right - left), 0)
        _, y = at(left, share * top)
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - _MARGIN + 15}" text-anchor="middle">{left + share * (right - left):.0f}</text>')
        parts.append(f'<text x="{_MARGIN - 5}" y="{y + 4:.1f}" text-anchor="end">{share * top:.3g}</text>')
    parts.append(f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 18}" text-anchor="middle">{escape(chart.x)}</text>')
    parts.append(f'<text x="8" y="{_MARGIN - 12}">{escape(chart.y)}</text>')
    for place, line in enumerate(chart.lines):
        points = [at(x, y) for x, y in line.points]
        if line.joined:
            joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            parts.append(f'<polyline points="{joined}" fill="none" stroke="{line.color}" stroke-width="1.5"/>')
        else:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{line.color}"/>' for x, y in points]
        parts.append(f'<text x="{_MARGIN + 12 + 130 * place}" y="36" fill="{line.color}">{escape(line.label)}</text>')
    return "".join(parts)
