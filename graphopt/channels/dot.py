"""A picture of the coupling, in Graphviz's language."""

from __future__ import annotations

from graphopt.channels.analysis import Analysis
from graphopt.channels.groups import ChannelGroup

_COLORS = {"channels": "#4e79a7", "heads": "#e15759", "head dimensions": "#f28e2b", "hidden units": "#59a14f", "groups": "#b07aa1"}


def coupling_dot(analysis: Analysis) -> str:
    """A Graphviz graph: boxes are weights, ellipses channel groups, an edge says which axis of the weight the group cuts.

    Groups that are cut exactly are solid, inexact ones dashed; frozen ones are left out, and so are weights that no group reaches.
    """
    lines = [
        "graph coupling {",
        "  layout=dot; rankdir=LR; ranksep=1.5;",
        '  node [fontname="Helvetica", fontsize=10];',
        "  edge [fontsize=8];",
    ]
    weights: dict[str, None] = {}
    for number, group in enumerate(group for group in analysis.groups if group.prunable):
        style = "dashed" if group.inexact is not None else "solid"
        label = f"{group.size} {group.kind}"
        tooltip = _quoted(f"{group.name}{'' if group.inexact is None else ': inexact at ' + group.inexact.where}")
        lines.append(f'  g{number} [label="{label}", shape=ellipse, style={style}, color="{_COLORS[group.kind]}", tooltip={tooltip}];')
        for name, axes in _axes(group).items():
            weights[name] = None
            lines.append(f'  {_quoted(name)} -- g{number} [label="{axes}", color="{_COLORS[group.kind]}"];')
    lines += [f"  {_quoted(name)} [shape=box];" for name in weights]
    return "\n".join([*lines, "}", ""])


def _axes(group: ChannelGroup) -> dict[str, str]:
    axes: dict[str, list[int]] = {}
    for member in group.members:
        axes.setdefault(member.value.name, []).append(member.axis)
    return {name: ", ".join(str(axis) for axis in sorted(set(found))) for name, found in axes.items()}


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'"{escaped}"'
