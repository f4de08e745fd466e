"""Puts products of small layers in the place of large ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from graphopt.errors import PassParameterError
from graphopt.ir import Graph, inline_functions
from graphopt.pipeline import Context, Pass, PassResult, parameter
from graphopt.repair import ConvLayer, Factors, Form, Kernel, Layer, Moments, Ranks, Stage, cost, forms

from ._families import Family, Selection
from ._moments import scale_of, with_moments
from ._stages import replace, shift_bias

_DEFAULT_RATIO = 0.5
_METHODS = ("auto", "svd", "channel", "spatial", "tucker")


@dataclass(frozen=True)
class Factorize(Pass):
    """Replace layers by products of low rank: Gemm, MatMul and 1 x 1 convolutions by two, larger kernels by two or three convolutions.

    With calibration data the error of the outputs on it is made least, without data that of the weights.
    """

    name: ClassVar[str] = "factorize"

    rank: int | None = parameter(None, minimum=1, help="the rank of every layer, per group")
    ratio: float | None = parameter(
        None, above=0, below=1, help="share of each layer's multiply-accumulates to save; 0.5 if nothing is given"
    )
    energy: float | None = parameter(None, above=0, maximum=1, help="share of each layer's energy (squared singular values) to keep")
    method: str = parameter("auto", choices=_METHODS, help="svd: only products and 1 x 1; the others say what becomes of larger kernels")
    layers: tuple[str, ...] = parameter((), help="only these nodes, outputs or weights, by name or glob")
    ignore: tuple[str, ...] = parameter((), help="nodes, outputs or weights to leave alone, by name or glob")
    align: int = parameter(8, minimum=1, help="ranks that `ratio` and `energy` give are multiples of this, where they reach it")
    always: bool = parameter(False, help="also where that saves no multiply-accumulates")

    def __post_init__(self) -> None:
        super().__post_init__()
        if sum(goal is not None for goal in (self.rank, self.ratio, self.energy)) > 1:
            raise PassParameterError(f"{self.name}: give one of rank, ratio and energy")

    def apply(self, graph: Graph, context: Context) -> PassResult:
        inlined = inline_functions(graph)
        selection = Selection(self.name, self.layers, self.ignore)
        families = selection.families(inlined)
        self._check_rank(families)
        plans = [plan for family, moments in with_moments(inlined, families, context) if (plan := self._plan(family, moments, selection))]
        done = [plan for plan in plans if context.permit(f"factorize {plan.family.label} to rank {_words(plan.ranks)} ({plan.form})")]
        for plan in done:
            plan.carry_out()
        if done and inlined is not graph:
            graph.become(inlined)
        summary: dict[str, int | float | str] = {
            "layers": sum(len(plan.family.layers) for plan in done),
            "left": len(selection.skipped),
            "mean_loss": round(float(np.mean([plan.loss for plan in done])), 6) if done else 0.0,
        }
        return PassResult(bool(done), summary, skipped=tuple(selection.skipped))

    def _check_rank(self, families: list[Family]) -> None:
        if self.rank is None or not families:
            return
        largest = max(min(family.layers[0].sizes[1:]) for family in families)
        if self.rank > largest:
            raise PassParameterError(f"{self.name}: rank {self.rank} is above the full rank of every layer; the largest is {largest}")

    def _plan(self, family: Family, moments: Moments | None, selection: Selection) -> _Plan | None:
        layer = family.layers[0]
        centered = moments is not None and all(member.bias(family.graph) is not None for member in family.layers)
        second = None if moments is None else moments.centered if centered else moments.second
        kernel = Kernel(_with_kernel_axes(layer), second, scale_of(family.graph, layer))
        whole = cost(kernel.matrix, np.zeros_like(kernel.matrix), second)
        why = (
            "its kernel leaves no rank to choose" if self.method != "svd" else "it is no product or 1 x 1 convolution with a rank to choose"
        )
        best: tuple[tuple[float, float], Form, Ranks, Factors] | None = None
        for form in forms(kernel, self.method):
            ranks = self._ranks(form)
            if ranks is None:
                why = (
                    f"rank {self.rank} is above its full rank {_words(form.full)}"
                    if self.rank
                    else "no rank is small enough to save as much"
                )
                continue
            macs = form.macs(ranks)
            if macs >= kernel.macs and not self.always:
                why = f"rank {_words(ranks)} of {_words(form.full)} would save no multiply-accumulates"
                continue
            if self.energy is not None and best is not None and macs >= best[0][0]:
                continue
            factors = form.factors(ranks)
            lost = max(cost(kernel.matrix, factors.matrix, second), 0.0) / whole if whole > 0 else 0.0
            key = (macs, lost) if self.energy is not None else (lost, macs)
            if best is None or key < best[0]:
                best = key, form, ranks, factors
        if best is None:
            selection.skip_all(family, why)
            return None
        _, form, ranks, factors = best
        shift = None
        if centered and moments is not None:
            shift = np.einsum("goi,gi->go", kernel.matrix - factors.matrix, moments.mean)
        lost = best[0][1 if self.energy is not None else 0]
        dtype = layer.weight.dtype if layer.weight.dtype.itemsize >= 4 else np.float32  # until they are stored
        stages = tuple(Stage(stage.weight.astype(dtype), stage.axes) for stage in factors.stages)
        return _Plan(family, form.name if kernel.weight.ndim > 3 else "svd", ranks, stages, shift, lost)

    def _ranks(self, form: Form) -> Ranks | None:
        if self.rank is not None:
            return form.at(self.rank)
        if self.energy is not None:
            return form.keeping(self.energy, self.align)
        return form.within((1 - (self.ratio or _DEFAULT_RATIO)) * form.kernel.macs, self.align)


@dataclass(frozen=True)
class _Plan:
    """What becomes of a family; `loss` is the share of its outputs' energy that goes, `shift` what its biases gain."""

    family: Family
    form: str
    ranks: Ranks
    stages: tuple[Stage, ...]
    shift: np.ndarray[tuple[int, ...], np.dtype[np.float64]] | None
    loss: float

    def carry_out(self) -> None:
        replace(self.family, self.stages)
        if self.shift is not None:
            for layer in self.family.layers:
                shift_bias(self.family.graph, layer, self.shift)


def _with_kernel_axes(layer: Layer) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    groups, outs, _ = layer.sizes
    kernel = layer.weight.shape[1:] if isinstance(layer, ConvLayer) else layer.sizes[2:]
    return layer.matrix.reshape(groups, outs, *kernel)


def _words(ranks: Ranks) -> str:
    return " and ".join(map(str, dict.fromkeys(ranks)))
