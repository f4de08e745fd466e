"""Makes dense convolutions grouped, or depthwise separable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from graphopt.allocation import CompressingPass, Costs, GraphCosts, Site
from graphopt.errors import DataError, PassParameterError, RuntimeRefusedError, UnsupportedError
from graphopt.ir import Graph, Node, inline_functions
from graphopt.pipeline import Context, PassResult, parameter
from graphopt.quality import predict, session, synthetic_inputs
from graphopt.repair import ConvLayer, Moments, Stage, calibration, cost, decouple, decoupled_macs, set_constant

from ._families import Family, Selection, same_family
from ._grouping import Grouper, Grouping, kept_energy, kernel_of
from ._moments import scale_of, with_moments
from ._stages import replace as put_stages
from ._stages import shift_bias
from ._timing import slower

Array = npt.NDArray[Any]

_SAME = 1e-3  # relative difference of outputs that rounding may make when sums are taken in another order
_FORMS = ("groups", "pairs")
_SPLITS = (2, 4, 8)  # into how many parts a goal may divide each group
_NARROWEST = 4  # channels of a group that a goal may leave on either side
_SAMPLES = 64  # of calibration data, on which choices are weighed

_Kept = dict[str, dict[str, list[int]]]


@dataclass(frozen=True)
class GroupConvs(CompressingPass):
    """Turn convolutions into grouped ones (`groups`), or into sums of depthwise and pointwise pairs (`pairs`).

    Channels are ordered so that groups keep the most energy; the layers around take the order over where they can, elsewhere a Gather
    does. With calibration data the error of the outputs is made least, without data that of the weights. `group-convs{groups=2}`, other
    passes such as reconstruct, then `group-convs{groups=4}` does it step by step. A `plan` says for each layer, by the name of its weight, how
    many groups or pairs (`form`) it gets. Layers that are predicted to be slower so on the target are left alone, unless `plan` or `always`
    asks for them.
    """

    name: ClassVar[str] = "group-convs"
    states_activations: ClassVar[bool] = True
    variants: ClassVar[tuple[str, ...]] = ("form=groups", "form=pairs")

    groups: int | None = parameter(None, minimum=1, help="groups that each convolution is to have; a multiple of those that it has")
    pairs: int | None = parameter(None, minimum=1, help="depthwise kernels per input channel, each followed by 1 x 1; exact at kernel size")
    form: str = parameter("groups", choices=_FORMS, help="what `to` and `plan` speak of")
    layers: tuple[str, ...] = parameter((), help="only these nodes, outputs or weights, by name or glob")
    ignore: tuple[str, ...] = parameter((), help="nodes, outputs or weights to leave alone, by name or glob")
    absorb: bool = parameter(True, help="let the layers around take over the order of channels")
    always: bool = parameter(False, help="pairs also where that saves no multiply-accumulates, both also where they save no time")

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [name for name in _FORMS if getattr(self, name) is not None]
        given += [name for name, is_given in (("to", bool(self.to)), ("plan", self.plan is not None)) if is_given]
        if len(given) != 1:
            raise PassParameterError(f"{self.name}: give groups or pairs, or to, or a plan; got {' and '.join(given) or 'none of them'}")

    # ---- sites

    def sites(self, graph: Graph, context: Context) -> tuple[Site, ...]:
        """The convolutions, by their weights' names, with numbers of groups, or of pairs (0: as it is); harm is the share of energy that goes."""
        inlined = inline_functions(graph)
        named = Selection(self.name, self.layers, self.ignore).families(inlined)
        families = [family for family in named if family.graph is inlined and len(self._choices(family)) > 1]
        found = []
        for family, moments in with_moments(inlined, families, _capped(inlined, context)):
            second, _ = _about_mean(family, None if self.harm == "weights" else moments)
            values = self._choices(family)
            harms = [self._harm(family, value, second, context) for value in values[1:]]
            found.append(Site(family.weight.name, values, (0.0, *harms)))
        return tuple(found)

    def costs(self, graph: Graph, context: Context, sites: Sequence[Site]) -> Costs:
        """By shapes alone: which channels go together, and where that takes a Gather, is found when a plan is carried out."""
        inlined = inline_functions(graph)
        named = {family.weight.name: family for family in Selection(self.name, self.layers, self.ignore).families(inlined)}
        return GraphCosts(
            lambda plan: self._shaped(inlined, [(named[name], value) for name, value in plan.items()]), sites, context.predictor
        )

    def rebuilt(self, graph: Graph, context: Context, plan: Mapping[str, int]) -> Graph:
        return super().rebuilt(graph, _capped(graph, context), plan)

    def _choices(self, family: Family) -> tuple[int, ...]:
        """How a layer is, and its other numbers of groups or pairs, the mildest first."""
        layer = family.layers[0]
        if not isinstance(layer, ConvLayer):
            return ()
        groups, outs, ins = layer.sizes
        channels = layer.weight.shape[1]
        if self._is_pairs:
            kernel = kernel_of(layer, None, scale_of(family.graph, layer))
            most = min(ins // channels, outs)
            saving = [pairs for pairs in range(most, 0, -1) if decoupled_macs(kernel, pairs) < kernel.macs]
            return (0, *(pairs for pairs in saving if not self._obstacle(family, pairs)))
        narrow = min(outs, channels) // _NARROWEST
        return (groups, *(groups * parts for parts in _SPLITS if parts <= narrow and not self._obstacle(family, groups * parts)))

    def _harm(self, family: Family, value: int, second: Array | None, context: Context) -> float:
        layer = family.layers[0]
        kernel = kernel_of(layer, second, scale_of(family.graph, layer))
        if self._is_pairs:
            return _share(kernel.matrix, decouple(kernel, value).matrix, second)
        return 1 - kept_energy(kernel, value // layer.groups, context.rng())

    def _shaped(self, graph: Graph, wanted: Sequence[tuple[Family, int]]) -> Graph:
        """A copy of the graph whose layers have the right shapes and no contents."""
        copy = graph.copy()
        for family, value in wanted:
            layer = family.layers[0]
            own = same_family(family, copy)
            kernel = kernel_of(layer, None, ())
            groups, outs, channels, *sizes = kernel.weight.shape
            if self._is_pairs:
                depth, point = (groups * channels, value, 1, *sizes), (groups, outs, channels * value, *[1] * len(sizes))
                empty = [np.zeros(shape, layer.weight.dtype) for shape in (depth, point)]
                put_stages(own, (Stage(empty[0], frozenset(range(len(sizes)))), Stage(empty[1], frozenset())))
            else:
                node = own.layers[0].node
                shape = (layer.weight.shape[0], channels * groups // value, *sizes)
                set_constant(copy, [(node, 1)], np.zeros(shape, layer.weight.dtype), family.weight.name)
                copy.set_attribute(node, "group", value)
        return copy

    @property
    def _is_pairs(self) -> bool:
        return self.pairs is not None or (self.groups is None and self.form == "pairs")

    # ---- carrying out

    def compress(self, graph: Graph, context: Context) -> PassResult:
        inlined = inline_functions(graph)
        work = inlined.copy()
        selection = Selection(self.name, self.layers, self.ignore)
        families = selection.families(work)
        wanted = self._wanted(families, selection)
        if self.groups is not None and self.groups > 1 and not wanted and not selection.skipped:
            raise PassParameterError(f"{self.name}: this model has no convolutions")
        wanted = [found for found in wanted if not self._wins_nothing(*found, work, context, selection)]
        moments, gathers = list(with_moments(work, [family for family, _ in wanted], context)), _gathers(work)
        values = {family.weight.name: value for family, value in wanted}
        if self._is_pairs:
            losses, kept = self._separated(moments, values, selection, context), _Kept()
        else:
            losses, kept = self._grouped(inlined, work, moments, values, context)
        summary: dict[str, int | float | str] = {
            "layers": len(losses),
            "left": len(selection.skipped),
            "mean_loss": round(float(np.mean(losses)), 6) if losses else 0.0,
        }
        if not self._is_pairs:
            summary["gathers"] = _gathers(work) - gathers
        if losses:
            graph.become(work)
        return PassResult(bool(losses), summary, kept if losses else {}, tuple(selection.skipped))

    def _wanted(self, families: list[Family], selection: Selection) -> list[tuple[Family, int]]:
        """The number of groups or pairs that each family gets. Raises PassParameterError for a plan that cannot be carried out."""
        if self.plan is None:
            value = self.pairs or self.groups or 1
            return [(family, value) for family in families if self._fits(family, value, selection)]
        named = {family.weight.name: family for family in families}
        found = []
        for name, value in self.plan.items():
            if name not in named:
                raise PassParameterError(f"{self.name}: the plan names {name!r}, which is no weight of a convolution that could be changed")
            if value == self._as_it_is(named[name]):
                continue
            why = "that is no number of groups" if value < 1 else self._obstacle(named[name], value)
            if why:
                raise PassParameterError(f"{self.name}: the plan for {name!r} is {value} {self.form}, but {why}")
            found.append((named[name], value))
        return found

    def _as_it_is(self, family: Family) -> int:
        return 0 if self._is_pairs else family.layers[0].groups

    def _wins_nothing(self, family: Family, value: int, graph: Graph, context: Context, selection: Selection) -> bool:
        """Whether a layer is predicted to be slower so; then it is left alone, and that is noted."""
        if context.predictor is None or self.plan is not None or self.always or family.graph is not graph:
            return False
        why = slower(graph, self._shaped(graph, [(family, value)]), context.predictor)
        if why is not None:
            selection.skip_all(family, f"with {value} {'pairs' if self._is_pairs else 'groups'} {why}")
        return why is not None

    def _fits(self, family: Family, value: int, selection: Selection) -> bool:
        why = self._obstacle(family, value)
        if why:
            selection.skip_all(family, why)
        return not why

    def _obstacle(self, family: Family, value: int) -> str:
        """Why a family stays as it is."""
        layer = family.layers[0]
        if not isinstance(layer, ConvLayer):
            return "it is no convolution"
        groups, outs, ins = layer.sizes
        channels, places = layer.weight.shape[1], ins // layer.weight.shape[1]
        if self._is_pairs:
            if channels == 1 or places == 1:
                return "it is depthwise already" if channels == 1 else "it is 1 x 1"
            if value > min(places, outs):
                return f"{value} pairs are more than the {min(places, outs)} that make it exact"
            return ""
        if len(family.layers) > 1 or family.graph.parent is not None:
            return "other layers share its weight" if len(family.layers) > 1 else "it lies in a subgraph"
        if value == groups:
            return f"it has {groups} group{'s' if groups > 1 else ''} already"
        if value % groups or (groups * channels) % value or (groups * outs) % value:
            return f"its {groups * channels} and {groups * outs} channels in {groups} groups do not divide into {value}"
        return ""

    def _separated(
        self, families: list[tuple[Family, Moments | None]], values: Mapping[str, int], selection: Selection, context: Context
    ) -> list[float]:
        losses = []
        for family, moments in families:
            second, mean = _about_mean(family, moments)
            layer = family.layers[0]
            kernel = kernel_of(layer, second, scale_of(family.graph, layer))
            pairs = values[family.weight.name]
            if decoupled_macs(kernel, pairs) >= kernel.macs and not self.always and self.plan is None:
                selection.skip_all(family, f"{pairs} pairs would save no multiply-accumulates")
                continue
            if not context.permit(f"separate {family.label} into {pairs} pairs"):
                continue
            factors = decouple(kernel, pairs)
            losses.append(_share(kernel.matrix, factors.matrix, second))
            put_stages(family, factors.stages)
            if mean is not None:
                shift = np.einsum("goi,gi->go", kernel.matrix - factors.matrix, mean)
                for member in family.layers:
                    shift_bias(family.graph, member, shift)
        return losses

    def _grouped(
        self, before: Graph, work: Graph, families: list[tuple[Family, Moments | None]], values: Mapping[str, int], context: Context
    ) -> tuple[list[float], _Kept]:
        allowed = [pair for pair in families if context.permit(f"group {pair[0].label} into {values[pair[0].weight.name]}")]
        if not allowed:
            return [], {}
        order = {node: place for place, node in enumerate(work.nodes)}
        last_first = sorted(allowed, key=lambda pair: -order[pair[0].layers[0].node])
        grouper, plans = self._plans(work, last_first, values, context, self.absorb)
        if grouper.kept and not _same_outputs(before, work, context.seed):
            # Something about these channels is not what the channel rules say; orders stay within the layers themselves.
            names = {family.layers[0].node.output().name: moments for family, moments in last_first}
            work.become(before.copy())
            again = [(Family(work, (_layer(work, name),)), moments) for name, moments in names.items()]
            grouper, plans = self._plans(work, again, values, context, absorb=False)
        for plan in plans:
            plan.carry_out(work, grouper.gathers.get(plan.layer.value))
        return [plan.loss for plan in plans], grouper.kept

    def _plans(
        self, work: Graph, families: list[tuple[Family, Moments | None]], values: Mapping[str, int], context: Context, absorb: bool
    ) -> tuple[Grouper, list[Grouping]]:
        grouper = Grouper(work, context.rng(), absorb, {family.weight for family, _ in families})
        plans = []
        for family, moments in families:
            second, mean = _about_mean(family, moments)
            layer = family.layers[0]
            plans.append(grouper.plan(layer, values[family.weight.name] // layer.groups, second, mean))
        return grouper, plans


def _capped(graph: Graph, context: Context) -> Context:
    """The context with as much data as it takes to weigh choices."""
    if context.data is None:
        return context
    return replace(context, data=calibration(graph, context.data).first(_SAMPLES).feeds)


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
