"""Goals and plans of factorize, group-convs and prune-blocks: sites, what plans do, that goals are met, and what is left alone on a target."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphopt
import graphopt.ir as ir
from graphopt.allocation import CompressingPass
from graphopt.cost import count
from graphopt.errors import BudgetError, PassParameterError
from graphopt.passes.factorize import Factorize
from graphopt.passes.group_convs import GroupConvs
from graphopt.passes.prune_blocks import PruneBlocks
from graphopt.pipeline import Context, StopAfter
from tests.channels.build import Build
from tests.cost.staircase import predictor
from tests.passes.factorized import assert_same, inputs
from tests.passes.small_nets import Net, mobilenet, resnet, vit
from tests.passes.test_prune_blocks import residual

PASSES: dict[str, tuple[CompressingPass, Any, float]] = {  # and a model, and the share of work that is asked for
    "factorize": (Factorize(align=1), resnet, 0.6),
    "factorize products": (Factorize(align=1), vit, 0.8),
    "groups": (GroupConvs(plan={}), resnet, 0.6),
    "pairs": (GroupConvs(plan={}, form="pairs"), resnet, 0.6),
    "blocks": (PruneBlocks(), resnet, 0.7),
}


def goal(pass_: CompressingPass, **options: Any) -> CompressingPass:
    return type(pass_)(
        **{name: getattr(pass_, name) for name in ("align", "form") if hasattr(pass_, name)},  # type: ignore[arg-type]
        **options,
    )


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("with_data", [False, True])
def test_a_goal_is_met_and_its_plan_does_the_same(name: str, with_data: bool) -> None:
    pass_, build, share = PASSES[name]
    graph = build()
    data = inputs(graph, 16) if with_data else None
    macs = count(graph).macs
    made = graph.copy()
    asked = goal(pass_, to=f"{share}x-macs")
    result = asked.apply(made, Context(data=data))
    assert result.changed
    assert share / 2 * macs < count(made).macs <= share * macs
    ir.verify(made)
    again = graph.copy()
    asked.apply(again, Context(data=data))
    assert again.to_proto() == made.to_proto()


@pytest.mark.parametrize("name", PASSES)
def test_every_choice_does_less_than_the_one_before_and_the_first_nothing(name: str) -> None:
    pass_, build, _ = PASSES[name]
    graph = build()
    before = graph.to_proto()
    sites = pass_.sites(graph, Context())
    assert sites
    for site in sites:
        work = [count(pass_.rebuilt(graph, Context(), {site.name: value})).macs for value in site.values]
        assert work == sorted(set(work), reverse=True), site
        assert work[0] == count(graph).macs
        assert min(site.harms) >= 0
        costs = pass_.costs(graph, Context(), sites)
        along = costs.along("macs", sites.index(site), (0,) * len(sites))
        assert along.tolist() == pytest.approx(work)
    assert graph.to_proto() == before


@pytest.mark.parametrize("name", PASSES)
def test_what_cannot_be_reached_is_said_with_what_can(name: str) -> None:
    pass_, build, _ = PASSES[name]
    with pytest.raises(BudgetError, match=r"to=0\.01x-macs cannot be met"):
        goal(pass_, to="0.01x-macs").apply(build(), Context())


def test_the_share_of_energy_that_goes_is_the_loss_that_is_reported() -> None:
    graph = resnet()
    data = inputs(graph, 16)
    for site in Factorize(align=1).sites(graph, Context(data=data)):
        value = site.values[-1]
        result = Factorize(align=1, plan={site.name: value}).apply(graph.copy(), Context(data=data))
        assert result.summary["mean_loss"] == pytest.approx(site.harms[-1], abs=1e-6)


def test_the_knapsack_harms_no_more_than_one_ratio_for_all() -> None:
    graph = resnet()
    data = inputs(graph, 32)
    found = {}
    for solver in ("knapsack", "uniform"):
        made = graph.copy()
        found[solver] = Factorize(to="0.6x-macs", align=1, solver=solver).apply(made, Context(data=data)).summary["harm"]
    assert float(found["knapsack"]) <= float(found["uniform"]) * (1 + 1e-6)


def test_a_block_that_adds_nothing_is_the_one_that_goes() -> None:
    graph = residual((0.5, 0.01, 0.2))
    data = inputs(graph, 8)
    made = graph.copy()
    result = PruneBlocks(to="0.8x-macs").apply(made, Context(data=data))
    assert result.summary["removed"] == "'add1' (Add)"
    before, after = (
        next(iter(graphopt.quality.predict(graphopt.quality.session(g), graphopt.quality.load_data(data, g)).values()))
        for g in (graph, made)
    )
    lost = [
        -np.log(2 * (a * b).sum() / (a * a + b * b).sum()) for a, b in ((before, after), (before - before.mean(0), after - after.mean(0)))
    ]
    assert result.summary["harm"] == pytest.approx(np.mean(lost), rel=1e-2)


def test_either_side_of_an_add_may_go_by_plan() -> None:
    graph = residual((0.5,), shortcut=True)
    (site,) = PruneBlocks().sites(graph, Context())
    assert site.values == (0, 1, 2)
    kept = []
    for side in (1, 2):
        made = graph.copy()
        PruneBlocks(plan={site.name: side}).apply(made, Context())
        kept.append({node.name for node in made.nodes})
        ir.verify(made)
    assert kept == [{"stem", "a0", "b0", "head"} | _relus(graph), {"stem", "shortcut", "head"}]


def _added(graph: ir.Graph) -> str:
    return next(node for node in graph.nodes if node.op_type == "Add").output().name


def _relus(graph: ir.Graph) -> set[str]:
    return {node.name for node in graph.nodes if node.op_type == "Relu"}


def test_a_plan_may_be_empty() -> None:
    for pass_ in (Factorize(plan={}), GroupConvs(plan={}), PruneBlocks(plan={})):
        graph = resnet()
        before = graph.to_proto()
        assert not pass_.apply(graph, Context()).changed
        assert graph.to_proto() == before


def test_a_plan_of_all_pairs_is_exact() -> None:
    graph = mobilenet()
    original = graph.copy()
    GroupConvs(plan={"conv1.weight": 8}, form="pairs").apply(graph, Context())
    assert_same(graph, original, inputs(graph))
    assert sum(node.attributes.get("group", 1) == 3 for node in graph.nodes) == 1


def test_a_bisection_refuses_parts_of_a_plan() -> None:
    graph = resnet()
    plan = {site.name: site.values[-1] for site in Factorize(align=1).sites(graph, Context())}
    result = Factorize(plan=plan, align=1).apply(graph, Context(instruments=(StopAfter(2),)))
    assert result.summary["layers"] == 2


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Factorize(rank=2, to="0.5x"), "give one of rank, .* got rank and to"),
        (lambda: Factorize(ratio=0.5, plan={"w1": 50}), "got ratio and plan"),
        (lambda: GroupConvs(groups=2, to="0.5x"), "got groups and to"),
        (lambda: GroupConvs(), "got none of them"),
        (lambda: PruneBlocks(ratio=0.2, to="0.5x"), "ratio and max_change do not go with"),
        (lambda: Factorize(to="fast"), "parameter 'to'"),
        (lambda: Factorize(to="0.5x").apply(resnet(), Context()), "needs to know the target"),
        (lambda: Factorize(plan={"nothing": 50}).apply(resnet(), Context()), "names 'nothing', which is no weight"),
        (lambda: Factorize(plan={"conv2.weight": 0}).apply(resnet(), Context()), "1 to 100; got 0"),
        (lambda: GroupConvs(plan={"nothing": 2}).apply(resnet(), Context()), "names 'nothing', which is no weight"),
        (lambda: GroupConvs(plan={"conv2.weight": 3}).apply(resnet(), Context()), "do not divide into 3"),
        (lambda: GroupConvs(plan={"conv2.weight": 0}).apply(resnet(), Context()), "no number of groups"),
        (lambda: PruneBlocks(plan={"nothing": 1}).apply(resnet(), Context()), "names 'nothing', which is no output of an Add or Concat"),
        (lambda: PruneBlocks(plan={_added(residual()): 2}).apply(residual(), Context()), "is 0 to 1; got 2"),
    ],
)
def test_what_cannot_be_meant_is_an_error(make: Any, said: str) -> None:
    with pytest.raises(PassParameterError, match=said):
        make()


# ---- on a target


def layers() -> ir.Graph:
    """x [1, 64, 8, 8] -> Conv large -> pool -> Conv small on a single place: work worth saving, and a launch that costs more than its work."""
    net = Net(opset=17)
    x = net.conv(net.input(1, 64, 8, 8), 64, 64, name="large")
    net.output(net.conv(net.node("GlobalAveragePool", x), 8, 64, 3, name="small"))
    return net.graph()


@pytest.mark.parametrize("pass_", [Factorize(ratio=0.5, align=16), GroupConvs(pairs=1)])
def test_layers_that_would_be_slower_are_left_alone(pass_: CompressingPass) -> None:
    graph = layers()
    before = predictor().predict(graph).ms
    result = pass_.apply(graph, Context(predictor=predictor()))
    assert result.changed
    assert predictor().predict(graph).ms < before
    assert any("predicted to take" in skip.why and "'small'" in skip.where for skip in result.skipped)
    weight = graph.constant(graph.value("small.weight"))
    assert weight is not None
    assert weight.shape == (8, 64, 3, 3)


def test_always_means_always() -> None:
    graph = layers()
    result = Factorize(ratio=0.5, align=16, always=True).apply(graph, Context(predictor=predictor()))
    assert result.summary["layers"] == 2


def test_a_layer_asked_for_by_name_that_would_be_slower_is_an_error() -> None:
    with pytest.raises(PassParameterError, match=r"'small'.*predicted to take"):
        Factorize(ratio=0.5, align=16, layers=("small",)).apply(layers(), Context(predictor=predictor()))


@pytest.mark.parametrize("pass_", [Factorize(to="0.8x", align=16), GroupConvs(to="0.9x", form="pairs"), GroupConvs(to="0.9x")])
def test_a_goal_of_time(pass_: CompressingPass) -> None:
    graph = layers()
    before = predictor().predict(graph).ms
    pass_.apply(graph, Context(predictor=predictor()))
    share = 0.8 if isinstance(pass_, Factorize) else 0.9
    assert predictor().predict(graph).ms <= share * before
    assert np.array_equal(graph.constant(graph.value("small.weight")).shape, (8, 64, 3, 3))  # type: ignore[union-attr]


def test_goals_stand_in_pipelines() -> None:
    model = Build(opset=17)
    model.output(model.node("MatMul", model.input("n", 32), model.weight(32, 32)))
    run = graphopt.run(model.graph(), "factorize{to=0.5x-macs align=1}")
    assert run.after.macs <= run.before.macs / 2
