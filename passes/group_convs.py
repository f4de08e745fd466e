"""Makes dense convolutions grouped, or depthwise separable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from graphopt.errors import DataError, PassParameterError, RuntimeRefusedError, UnsupportedError
from graphopt.ir import Graph, Node, inline_functions
from graphopt.pipeline import Context, Pass, PassResult, parameter
from graphopt.quality import predict, session, synthetic_inputs
from graphopt.repair import ConvLayer, Moments, cost, decouple, decoupled_macs

from ._families import Family, Selection
from ._grouping import Grouper, Grouping, kernel_of
from ._moments import scale_of, with_moments
from ._stages import replace, shift_bias

Array = npt.NDArray[Any]

_SAME = 1e-3  # relative difference of outputs that rounding may make when sums are taken in another order


@dataclass(frozen=True)
class GroupConvs(Pass):
    """Turn convolutions into grouped ones (`groups`), or into sums of depthwise and pointwise pairs (`pairs`).

    Channels are ordered so that groups keep the most energy; the layers around take the order over where they can, elsewhere a Gather
    does. With calibration data the error of the outputs is made least, without data that of the weights. `group-convs{groups=2}`, other
    passes such as reconstruct, then `group-convs{groups=4}` does it step by step.
    """

    name: ClassVar[str] = "group-convs"

    groups: int | None = parameter(None, minimum=1, help="groups that each convolution is to have; a multiple of those that it has")
    pairs: int | None = parameter(None, minimum=1, help="depthwise kernels per input channel, each followed by 1 x 1; exact at kernel size")
    layers: tuple[str, ...] = parameter((), help="only these nodes, outputs or weights, by name or glob")
    ignore: tuple[str, ...] = parameter((), help="nodes, outputs or weights to leave alone, by name or glob")
    absorb: bool = parameter(True, help="let the layers around take over the order of channels")
    always: bool = parameter(False, help="pairs also where that saves no multiply-accumulates")

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.groups is None) == (self.pairs is None):
            raise PassParameterError(f"{self.name}: give groups or pairs")

    def apply(self, graph: Graph, context: Context) -> PassResult:
        inlined = inline_functions(graph)
        work = inlined.copy()
        selection = Selection(self.name, self.layers, self.ignore)
        families = [family for family in selection.families(work) if self._fits(family, selection)]
        if self.groups is not None and self.groups > 1 and not families and not selection.skipped:
            raise PassParameterError(f"{self.name}: this model has no convolutions")
        moments, gathers = list(with_moments(work, families, context)), _gathers(work)
        losses, kept = self._separated(moments, selection, context) if self.pairs else self._grouped(inlined, work, moments, context)
        summary: dict[str, int | float | str] = {
            "layers": len(losses),
            "left": len(selection.skipped),
            "mean_loss": round(float(np.mean(losses)), 6) if losses else 0.0,
        }
        if self.groups:
            summary["gathers"] = _gathers(work) - gathers
        if losses:
            graph.become(work)
        return PassResult(bool(losses), summary, kept if losses else {}, tuple(selection.skipped))

    def _fits(self, family: Family, selection: Selection) -> bool:
        why = self._obstacle(family)
        if why:
            selection.skip_all(family, why)
        return not why

    def _obstacle(self, family: Family) -> str:
        """Why a family stays as it is."""
        layer = family.layers[0]
        if not isinstance(layer, ConvLayer):
            return "it is no convolution"
        groups, outs, ins = layer.sizes
        channels, places = layer.weight.shape[1], ins // layer.weight.shape[1]
        if self.pairs is not None:
            if channels == 1 or places == 1:
                return "it is depthwise already" if channels == 1 else "it is 1 x 1"
            if self.pairs > min(places, outs):
                return f"{self.pairs} pairs are more than the {min(places, outs)} that make it exact"
            return ""
        wanted = self.groups or 1
        if len(family.layers) > 1 or family.graph.parent is not None:
            return "other layers share its weight" if len(family.layers) > 1 else "it lies in a subgraph"
        if wanted == groups:
            return f"it has {groups} group{'s' if groups > 1 else ''} already"
        if wanted % groups or (groups * channels) % wanted or (groups * outs) % wanted:
            return f"its {groups * channels} and {groups * outs} channels in {groups} groups do not divide into {wanted}"
        return ""

    def _separated(
        self, families: list[tuple[Family, Moments | None]], selection: Selection, context: Context
    ) -> tuple[list[float], _Kept]:
        losses = []
        for family, moments in families:
            second, mean = _about_mean(family, moments)
            layer = family.layers[0]
            kernel = kernel_of(layer, second, scale_of(family.graph, layer))
            pairs = self.pairs or 1
            if decoupled_macs(kernel, pairs) >= kernel.macs and not self.always:
                selection.skip_all(family, f"{pairs} pairs would save no multiply-accumulates")
                continue
            if not context.permit(f"separate {family.label} into {pairs} pairs"):
                continue
            factors = decouple(kernel, pairs)
            losses.append(_share(kernel.matrix, factors.matrix, second))
            replace(family, factors.stages)
            if mean is not None:
                shift = np.einsum("goi,gi->go", kernel.matrix - factors.matrix, mean)
                for member in family.layers:
                    shift_bias(family.graph, member, shift)
        return losses, {}

    def _grouped(
        self, before: Graph, work: Graph, families: list[tuple[Family, Moments | None]], context: Context
    ) -> tuple[list[float], _Kept]:
        allowed = [pair for pair in families if context.permit(f"group {pair[0].label} into {self.groups}")]
        if not allowed:
            return [], {}
        order = {node: place for place, node in enumerate(work.nodes)}
        last_first = sorted(allowed, key=lambda pair: -order[pair[0].layers[0].node])
        grouper, plans = self._plans(work, last_first, context, self.absorb)
        if grouper.kept and not _same_outputs(before, work, context.seed):
            # Something about these channels is not what the channel rules say; orders stay within the layers themselves.
            names = {family.layers[0].node.output().name: moments for family, moments in last_first}
            work.become(before.copy())
            again = [(Family(work, (_layer(work, name),)), moments) for name, moments in names.items()]
            grouper, plans = self._plans(work, again, context, absorb=False)
        for plan in plans:
            plan.carry_out(work, grouper.gathers.get(plan.layer.value))
        return [plan.loss for plan in plans], grouper.kept

    def _plans(
        self, work: Graph, families: list[tuple[Family, Moments | None]], context: Context, absorb: bool
    ) -> tuple[Grouper, list[Grouping]]:
        grouper = Grouper(work, context.rng(), absorb, {family.weight for family, _ in families})
        plans = []
        for family, moments in families:
            second, mean = _about_mean(family, moments)
            layer = family.layers[0]
            plans.append(grouper.plan(layer, (self.groups or 1) // layer.groups, second, mean))
        return grouper, plans


_Kept = dict[str, dict[str, list[int]]]


def _about_mean(family: Family, moments: Moments | None) -> tuple[Array | None, Array | None]:
    """Second moments, about the mean where every bias can make good for it; and that mean."""
    if moments is None:
        return None, None
    if all(layer.bias(family.graph) is not None for layer in family.layers):
        return moments.centered, moments.mean
    return moments.second, None


def _share(matrix: Array, approximation: Array, second: Array | None) -> float:
    whole = cost(matrix, np.zeros_like(matrix), second)
    return max(cost(matrix, approximation, second), 0.0) / whole if whole > 0 else 0.0


def _gathers(graph: Graph) -> int:
    return sum(node.op_type == "Gather" for node in graph.nodes)


def _same_outputs(before: Graph, after: Graph, seed: int) -> bool:
    try:
        data = synthetic_inputs(before, seed, 2)
        wanted, found = predict(session(before), data), predict(session(after), data)
    except (UnsupportedError, DataError, RuntimeRefusedError):
        return False
    return all(_close(found[name], array) for name, array in wanted.items())


def _close(a: Array, b: Array) -> bool:
    if a.shape != b.shape or b.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    return bool(np.abs(a.astype(np.float64) - b).max(initial=0) <= _SAME * np.abs(b).max(initial=0))


def _layer(graph: Graph, output: str) -> ConvLayer:
    node: Node | None = graph.value(output).producer
    assert node is not None
    weight = graph.constant(node.input(1))
    assert weight is not None
    return ConvLayer(node, 1, weight)
