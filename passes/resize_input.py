"""Makes models take smaller pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from graphopt.allocation import CompressingPass, Site
from graphopt.errors import PassParameterError, UnsupportedError
from graphopt.ir import Graph, Value, inline_functions
from graphopt.pipeline import Context, PassResult, Skip, parameter

from ._resolution import picture_axes, resize

_DEFAULT_RATIO = 0.75
_LEAST = 0.5  # of the height, that is offered to a goal
_CELLS = 7  # along the height that a network's last maps have about; a size is kept a multiple of its strides


@dataclass(frozen=True)
class ResizeInput(CompressingPass):
    """Let the model take smaller pictures, and rewrite what was computed from their size when it was exported.

    Ends of slices, target shapes, sizes of Resize and windows of global pooling follow; position embeddings are interpolated over their
    grid, class tokens stay. A model that fixes its resolution (a Gemm on flattened maps, masks of shifted windows) is refused. Whoever runs the
    model must feed smaller pictures; in a pipeline the calibration data is resized on the way, by the mean over areas.
    """

    name: ClassVar[str] = "resize-input"
    variants: ClassVar[tuple[str, ...]] = ()  # not searched unasked: it changes what the model is fed with

    size: int | tuple[int, ...] = parameter((), minimum=1, help="height and width in pixels, as one number or [height,width]")
    ratio: float | None = parameter(
        None, above=0, maximum=1, help="share of height and width to keep, instead of `size`; 0.75 if nothing is given"
    )
    input: str | None = parameter(None, help="which input takes the pictures, where several do")
    interpolation: str = parameter("bicubic", choices=("bicubic", "linear"), help="of position embeddings")

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.size, tuple) and len(self.size) > 2:
            raise PassParameterError(f"{self.name}: size is one number or [height,width]; got {list(self.size)}")
        if sum((bool(self.size), self.ratio is not None, bool(self.to), bool(self.plan))) > 1:
            raise PassParameterError(f"{self.name}: give one of size, ratio, to and plan")

    def sites(self, graph: Graph, context: Context) -> tuple[Site, ...]:
        """The input, with heights in pixels; the width keeps its proportion. A size that the model refuses is not offered."""
        value, (height, width) = self._picture(graph)
        step = _step(height)
        values = [height]
        for smaller in range(height - step, int(height * _LEAST) - 1, -step):
            try:
                resize(inline_functions(graph).copy(), {value.name: (smaller, _scaled(width, smaller, height))}, self.interpolation)
            except UnsupportedError:
                continue
            values.append(smaller)
        return (Site(value.name, tuple(values), tuple(1 - (size / height) ** 2 for size in values)),)

    def compress(self, graph: Graph, context: Context) -> PassResult:
        value, (height, width) = self._picture(graph)
        wanted = self._wanted(value.name, height, width)
        for old, new in zip((height, width), wanted, strict=True):
            if new > old:
                raise PassParameterError(f"{self.name}: input {value.name!r} takes {height} x {width} pixels; {new} is no smaller size")
        summary: dict[str, int | float | str] = {"height": wanted[0], "width": wanted[1]}
        if wanted == (height, width) or not context.permit(f"resize {value.name} from {height} x {width} to {wanted[0]} x {wanted[1]}"):
            return PassResult(
                False,
                {"height": height, "width": width},
                skipped=(Skip(value.name, "it has that size already"),) if wanted == (height, width) else (),
            )
        work = inline_functions(graph).copy()
        try:
            summary["rewritten"] = resize(work, {value.name: wanted}, self.interpolation)
        except UnsupportedError as error:
            raise UnsupportedError(f"{self.name}: {error}") from None
        graph.become(work)
        return PassResult(True, summary)

    def _wanted(self, name: str, height: int, width: int) -> tuple[int, int]:
        if self.plan:
            self._check_plan(self.plan, name)
            return self.plan[name], _scaled(width, self.plan[name], height)
        if self.size:
            sizes = (self.size,) if isinstance(self.size, int) else self.size
            return sizes[0], sizes[-1]
        ratio = _DEFAULT_RATIO if self.ratio is None else self.ratio
        sides = [max(round(ratio * side / _step(side)), 1) * _step(side) for side in (height, width)]
        return sides[0], sides[1]

    def _check_plan(self, plan: Mapping[str, int], name: str) -> None:
        for key, size in plan.items():
            if key != name:
                raise PassParameterError(f"{self.name}: plan names {key!r}, but pictures come in by {name!r}")
            if size < 1:
                raise PassParameterError(f"{self.name}: plan gives {key!r} {size} pixels")

    def _picture(self, graph: Graph) -> tuple[Value, tuple[int, int]]:
        """The input that takes pictures, and their height and width."""
        found = {value.name: value for value in graph.inputs if not value.is_initializer}
        if self.input is not None and self.input not in found:
            raise PassParameterError(f"{self.name}: this model has no input {self.input!r}; it has {', '.join(found)}")
        fitting = {name: axes for name, value in found.items() if (axes := picture_axes(graph.shape(value))) and self.input in (None, name)}
        if len(fitting) > 1:
            raise PassParameterError(f"{self.name}: several inputs take pictures ({', '.join(fitting)}); say which with `input`")
        if not fitting:
            which = "the input" if self.input is None else f"input {self.input!r}"
            raise UnsupportedError(
                f"{self.name}: {which} takes no pictures of a fixed size, [N, C, H, W] or [N, H, W, C]; "
                "where height and width are free, feed smaller pictures"
            )
        name, axes = next(iter(fitting.items()))
        shape = graph.shape(found[name]) or ()
        return found[name], (int(shape[axes[0]] or 0), int(shape[axes[1]] or 0))


def _step(side: int) -> int:
    """The largest power of two that divides a side and of which it has at least as many as a last map has cells."""
    step = 1
    while side % (2 * step) == 0 and side >= 2 * step * _CELLS:
        step *= 2
    return step


def _scaled(width: int, new: int, old: int) -> int:
    return max(round(width * new / old), 1)
