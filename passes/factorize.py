"""Puts products of small layers in the place of large ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from graphopt.allocation import CompressingPass, Site
from graphopt.errors import PassParameterError
from graphopt.ir import Graph, inline_functions
from graphopt.pipeline import Context, PassResult, parameter
from graphopt.repair import ConvLayer, Factors, Form, Kernel, Layer, Moments, Ranks, Stage, cost, forms

from ._families import Family, Selection, same_family
from ._memory import Memory
from ._moments import scale_of, with_moments
from ._stages import replace as put_stages
from ._stages import shift_bias
from ._timing import slower

_DEFAULT_RATIO = 0.5
_METHODS = ("auto", "svd", "channel", "spatial", "tucker")
_OFFERED = (75, 50, 38, 25)  # percent of a layer's multiply-accumulates


@dataclass(frozen=True)
class Factorize(CompressingPass):
    """Replace layers by products of low rank: Gemm, MatMul and 1 x 1 convolutions by two, larger kernels by two or three convolutions.

    With calibration data the error of the outputs on it is made least, without data that of the weights. A `plan` says how many percent of
    a layer's multiply-accumulates to keep, by the name of its weight: the ranks are the best that fit in. Layers whose factors are predicted
    to be slower on the target are left alone, unless `plan` or `always` asks for them.
    """

    name: ClassVar[str] = "factorize"
    states_activations: ClassVar[bool] = True

    rank: int | None = parameter(None, minimum=1, help="the rank of every layer, per group")
    ratio: float | None = parameter(
        None, above=0, below=1, help="share of each layer's multiply-accumulates to save; 0.5 if nothing is given"
    )
    energy: float | None = parameter(None, above=0, maximum=1, help="share of each layer's energy (squared singular values) to keep")
    method: str = parameter("auto", choices=_METHODS, help="svd: only products and 1 x 1; the others say what becomes of larger kernels")
    layers: tuple[str, ...] = parameter((), help="only these nodes, outputs or weights, by name or glob")
    ignore: tuple[str, ...] = parameter((), help="nodes, outputs or weights to leave alone, by name or glob")
    align: int = parameter(8, minimum=1, help="ranks that are not given are multiples of this, where they reach it")
    always: bool = parameter(False, help="also where that saves no multiply-accumulates, or no time on the target")

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [name for name in ("rank", "ratio", "energy") if getattr(self, name) is not None]
        given += [name for name, is_given in (("to", bool(self.to)), ("plan", self.plan is not None)) if is_given]
        if len(given) > 1:
            raise PassParameterError(f"{self.name}: give one of rank, ratio, energy, to and plan; got {' and '.join(given)}")

    def sites(self, graph: Graph, context: Context) -> tuple[Site, ...]:
        """The layers, by their weights' names, with percents of their multiply-accumulates; harm is the share of their outputs' energy that goes."""
        return tuple(offer.site(self.harm == "weights") for offer in self._offers(graph, context).values() if offer.choices)

    def rebuilt(self, graph: Graph, context: Context, plan: Mapping[str, int]) -> Graph:
        self._offers(graph, context)  # which are remembered
        copy = inline_functions(graph).copy()
        for factors in self._planned_factors(graph, context, plan):
            factors.carry_out(copy)
        return copy

    def compress(self, graph: Graph, context: Context) -> PassResult:
        inlined = inline_functions(graph)
        selection = Selection(self.name, self.layers, self.ignore)
        if self.plan is not None:
            plans = self._planned_factors(graph, context, self.plan)
        else:
            families = selection.families(inlined)
            self._check_rank(families)
            every = (self._plan(*found, selection) for found in with_moments(inlined, families, context))
            plans = [plan for plan in every if plan is not None]
        done = [
            plan
            for plan in plans
            if not self._wins_nothing(plan, inlined, context, selection)
            and context.permit(f"factorize {plan.label} to rank {_words(plan.ranks)} ({plan.form})")
        ]
        for plan in done:
            plan.carry_out(inlined)
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

    def _wins_nothing(self, plan: _Plan, graph: Graph, context: Context, selection: Selection) -> bool:
        """Whether the factors are predicted to be slower than the layer; then it is left alone, and that is noted."""
        if context.predictor is None or self.plan is not None or self.always or plan.family.graph is not graph:
            return False
        copy = graph.copy()
        plan.carry_out(copy)
        why = slower(graph, copy, context.predictor)
        if why is not None:
            selection.skip_all(plan.family, f"with rank {_words(plan.ranks)} ({plan.form}) {why}")
        return why is not None

    def _plan(self, family: Family, moments: Moments | None, selection: Selection) -> _Plan | None:
        """The factors as the parameters want them; None, and noted, where there are none."""
        known = _Known.of(family, moments)
        best: tuple[tuple[float, float], _Plan] | None = None
        why = (
            "its kernel leaves no rank to choose" if self.method != "svd" else "it is no product or 1 x 1 convolution with a rank to choose"
        )
        for form in forms(known.kernel, self.method):
            ranks = self._ranks(form)
            if ranks is None:
                why = (
                    f"rank {self.rank} is above its full rank {_words(form.full)}"
                    if self.rank
                    else "no rank is small enough to save as much"
                )
                continue
            macs = form.macs(ranks)
            if macs >= known.kernel.macs and not self.always:
                why = f"rank {_words(ranks)} of {_words(form.full)} would save no multiply-accumulates"
                continue
            if self.energy is not None and best is not None and macs >= best[0][0]:
                continue
            plan = known.factored(form, ranks)
            key = (macs, plan.loss) if self.energy is not None else (plan.loss, macs)
            if best is None or key < best[0]:
                best = key, plan
        if best is None:
            selection.skip_all(family, why)
            return None
        return best[1]

    def _ranks(self, form: Form) -> Ranks | None:
        if self.rank is not None:
            return form.at(self.rank)
        if self.energy is not None:
            return form.keeping(self.energy, self.align)
        return form.within((1 - (self.ratio or _DEFAULT_RATIO)) * form.kernel.macs, self.align)

    # ---- plans by site

    def _offers(self, graph: Graph, context: Context) -> dict[str, _Offer]:
        """What can become of each layer of the root `graph`, by its weight's name; it is remembered until the graph changes."""
        return _OFFERS.of(graph, (replace(self, to=(), plan=None), context.seed), context.data, lambda: self._find_offers(graph, context))

    def _find_offers(self, graph: Graph, context: Context) -> dict[str, _Offer]:
        inlined = inline_functions(graph)
        families = [family for family in Selection(self.name, self.layers, self.ignore).families(inlined) if family.graph is inlined]
        return {
            family.weight.name: self._offer(_Known.of(family, moments), _OFFERED)
            for family, moments in with_moments(inlined, families, context)
        }

    def _offer(self, known: _Known, percents: Iterable[int]) -> _Offer:
        """The choices at one layer: for each percent the form and ranks that seem to lose least, where they are others than for more."""
        found: dict[int, _Plan] = {}
        taken: list[tuple[Form, Ranks]] = []
        tried = list(forms(known.kernel, self.method))
        for percent in percents:
            fitting = [(form, ranks) for form in tried if (ranks := form.within(percent / 100 * known.kernel.macs, self.align)) is not None]
            best = min(fitting, key=lambda fit: fit[0].estimate(fit[1]), default=None)
            if best is not None and best not in taken:
                taken.append(best)
                found[percent] = known.factored(*best)
        return _Offer(known.family, found)

    def _planned_factors(self, graph: Graph, context: Context, plan: Mapping[str, int]) -> list[_Plan]:
        """The factors that a plan asks for. Raises PassParameterError for a layer or percentage that there is not."""
        offers = _OFFERS.known(graph, (replace(self, to=(), plan=None), context.seed), context.data)
        if (
            offers is None
            or not set(plan) <= set(offers)
            or any(percent not in (100, *offers[name].choices) for name, percent in plan.items())
        ):
            offers = self._asked(graph, context, plan)
        found = []
        for name, percent in plan.items():
            if percent == 100:
                continue
            if percent not in offers[name].choices:
                raise PassParameterError(
                    f"{self.name}: the plan for {name!r} is to keep {percent} % of its work, for which no rank is small enough"
                )
            found.append(offers[name].choices[percent])
        return found

    def _asked(self, graph: Graph, context: Context, plan: Mapping[str, int]) -> dict[str, _Offer]:
        inlined = inline_functions(graph)
        families = {family.weight.name: family for family in Selection(self.name, self.layers, self.ignore).families(inlined)}
        for name, percent in plan.items():
            if name not in families:
                raise PassParameterError(f"{self.name}: the plan names {name!r}, which is no weight of a layer that could be factorized")
            if not 1 <= percent <= 100:
                raise PassParameterError(f"{self.name}: the plan for {name!r} is a percentage of its work to keep, 1 to 100; got {percent}")
        wanted = [families[name] for name in plan]
        return {
            family.weight.name: self._offer(_Known.of(family, moments), [plan[family.weight.name]])
            for family, moments in with_moments(inlined, wanted, context)
        }


@dataclass(frozen=True)
class _Known:
    """A family with its kernel; `mean` of its rows where its biases can make good for it."""

    family: Family
    kernel: Kernel
    mean: npt.NDArray[Any] | None

    @staticmethod
    def of(family: Family, moments: Moments | None) -> _Known:
        layer = family.layers[0]
        centered = moments is not None and all(member.bias(family.graph) is not None for member in family.layers)
        second = None if moments is None else moments.centered if centered else moments.second
        kernel = Kernel(_with_kernel_axes(layer), second, scale_of(family.graph, layer))
        return _Known(family, kernel, moments.mean if centered and moments is not None else None)

    def factored(self, form: Form, ranks: Ranks) -> _Plan:
        layer, matrix = self.family.layers[0], self.kernel.matrix
        factors = form.factors(ranks)
        shift = None if self.mean is None else np.einsum("goi,gi->go", matrix - factors.matrix, self.mean)
        dtype = layer.weight.dtype if layer.weight.dtype.itemsize >= 4 else np.float32  # until they are stored
        stages = tuple(Stage(stage.weight.astype(dtype), stage.axes) for stage in factors.stages)
        loss, weight_loss = (_share(matrix, factors, second) for second in (self.kernel.second, None))
        return _Plan(self.family, form.name if self.kernel.weight.ndim > 3 else "svd", ranks, stages, shift, loss, weight_loss)


@dataclass(frozen=True)
class _Plan:
    """What becomes of a family; `loss` is the share of its outputs' energy that goes, `weight_loss` of its weights', `shift` what its biases gain."""

    family: Family
    form: str
    ranks: Ranks
    stages: tuple[Stage, ...]
    shift: npt.NDArray[Any] | None
    loss: float
    weight_loss: float

    @property
    def label(self) -> str:
        return self.family.label

    def carry_out(self, graph: Graph) -> None:
        """Put the factors into the root `graph`, the family's own or a copy of it."""
        family = same_family(self.family, graph)
        put_stages(family, self.stages)
        if self.shift is not None:
            for layer in family.layers:
                shift_bias(family.graph, layer, self.shift)


@dataclass(frozen=True)
class _Offer:
    """What can become of a family, by percent of its multiply-accumulates, descending."""

    family: Family
    choices: Mapping[int, _Plan]

    def site(self, by_weights: bool) -> Site:
        harms = [plan.weight_loss if by_weights else plan.loss for plan in self.choices.values()]
        return Site(self.family.weight.name, (100, *self.choices), (0.0, *harms))


_OFFERS: Memory[dict[str, _Offer]] = Memory()


def _share(matrix: npt.NDArray[Any], factors: Factors, second: npt.NDArray[Any] | None) -> float:
    whole = cost(matrix, np.zeros_like(matrix), second)
    return max(cost(matrix, factors.matrix, second), 0.0) / whole if whole > 0 else 0.0


def _with_kernel_axes(layer: Layer) -> npt.NDArray[Any]:
    groups, outs, _ = layer.sizes
    kernel = layer.weight.shape[1:] if isinstance(layer, ConvLayer) else layer.sizes[2:]
    return layer.matrix.reshape(groups, outs, *kernel)


def _words(ranks: Ranks) -> str:
    return " and ".join(map(str, dict.fromkeys(ranks)))
