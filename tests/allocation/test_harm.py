"""Estimates of harm: each measured beside what it says, none without its data, the same every time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from scipy.special import softmax

from graphopt.allocation import CompressingPass, Site, harm
from graphopt.allocation.harm import SAMPLES, Outputs, with_harms
from graphopt.allocation.nearby import Nearby
from graphopt.errors import DataError
from graphopt.ir import Graph
from graphopt.passes.factorize import Factorize
from graphopt.passes.prune_blocks import PruneBlocks
from graphopt.passes.prune_channels import PruneChannels
from graphopt.passes.resize_input import ResizeInput
from graphopt.pipeline import Context, PassResult
from graphopt.quality import predict, resample, session
from graphopt.repair import calibration
from tests.channels.build import Build
from tests.passes.factorized import inputs, outputs
from tests.passes.small_nets import resnet
from tests.passes.test_prune_blocks import residual


@dataclass(frozen=True)
class Scale(CompressingPass):
    """Multiply the weights of layers by a percentage; what it states is arbitrary but for its order."""

    name: ClassVar[str] = "scale"

    def sites(self, graph: Graph, context: Context) -> tuple[Site, ...]:
        return tuple(Site(name, (100, 95, 70, 40), (0.0, 1.0, 3.0, 4.0)) for name in ("a", "b"))

    def compress(self, graph: Graph, context: Context) -> PassResult:
        for name, percent in (self.plan or {}).items():
            weight = graph.constant(graph.value(name))
            assert weight is not None
            graph.set_tensor(graph.value(name), weight * np.float32(percent / 100))
        return PassResult(bool(self.plan))


def two_layers() -> Graph:
    """x [n, 6] -> MatMul a -> Relu -> MatMul b."""
    model = Build(opset=17)
    rng = model.rng
    a, b = (model.tensor(rng.standard_normal((6, 6)).astype(np.float32), name) for name in "ab")
    hidden = model.node("Relu", model.node("MatMul", model.input("n", 6), a))
    model.output(model.node("MatMul", hidden, b))
    return model.graph()


def share(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.square(found.astype(np.float64) - wanted).sum() / np.square(wanted.astype(np.float64)).sum())


def disagreement(found: np.ndarray, wanted: np.ndarray) -> float:
    """Of scores of classes: the mean of that of the scores and of that of the probabilities."""
    return (as_they_are(found, wanted) + as_they_are(*(softmax(each.astype(np.float64), axis=1) for each in (found, wanted)))) / 2


def as_they_are(found: np.ndarray, wanted: np.ndarray) -> float:
    """-log of the agreement and of the concordance, by way of the covariance; the mean of the two."""
    a, b = found.astype(np.float64), wanted.astype(np.float64)
    centred_a, centred_b = a - a.mean(axis=0), b - b.mean(axis=0)
    agreement = 1 - np.square(a - b).sum() / (np.square(a).sum() + np.square(b).sum())
    concordance = 1 - np.square(centred_a - centred_b).sum() / (np.square(centred_a).sum() + np.square(centred_b).sum())
    return float(-(np.log(agreement) + np.log(concordance)) / 2)


def harms(pass_: CompressingPass, graph: Graph, data: Mapping[str, np.ndarray] | None) -> dict[str, dict[int, float]]:
    context = Context(data=data)
    return {
        site.name: dict(zip(site.values, site.harms, strict=True))
        for site in with_harms(pass_, graph, context, pass_.sites(graph, context))
    }


def test_weights_says_what_the_pass_says() -> None:
    assert harms(Scale(harm="weights"), two_layers(), None) == {name: {100: 0, 95: 1, 70: 3, 40: 4} for name in "ab"}


def test_evaluation_is_the_disagreement_of_the_outputs() -> None:
    graph = two_layers()
    data = inputs(graph, 20)
    found = harms(Scale(harm="evaluation"), graph, data)
    for name in "ab":
        errors = {0: 0.0}
        for percent, stated in ((70, 3.0), (40, 4.0)):
            changed = graph.copy()
            Scale(plan={name: percent}).apply(changed, Context())
            errors[int(stated)] = disagreement(outputs(changed, data), outputs(graph, data))
            assert found[name][percent] == pytest.approx(errors[int(stated)], rel=1e-6)
        assert found[name][95] == pytest.approx(errors[3] / 3, rel=1e-6)  # a third of the way by what is stated
        assert found[name][100] == 0


def test_activations_is_the_error_of_the_layer_behind() -> None:
    graph = two_layers()
    data = inputs(graph, 20)
    found = harms(Scale(harm="activations"), graph, data)
    assert found["a"][40] == pytest.approx(0.36, rel=1e-5)  # of the first product, before the Relu
    assert found["b"][70] == pytest.approx(0.09, rel=1e-5)


def test_activations_behind_removed_channels_is_seen_where_shapes_are_the_same_again() -> None:
    model = Build(opset=17)
    first, second = model.weight(8, 3, 1, 1), model.weight(4, 8, 3, 3)
    hidden = model.node("Relu", model.node("Conv", model.input("n", 3, 6, 6), first))
    behind = model.node("Conv", hidden, second, outputs=("behind",))
    model.output(model.node("Relu", behind))
    graph = model.graph()
    data = inputs(graph, 8)
    (site,) = PruneChannels(align=1).sites(graph, Context())
    pass_ = PruneChannels(align=1, harm="activations")
    found = harms(pass_, graph, data)[site.name]
    pruned = pass_.rebuilt(graph, Context(), {site.name: 4})
    wanted, got = (_value(each, "behind", data) for each in (graph, pruned))
    assert found[4] == pytest.approx(share(got, wanted), rel=1e-5)
    assert list(found.values()) == sorted(found.values())


def _value(graph: Graph, name: str, data: Mapping[str, np.ndarray]) -> np.ndarray:
    model = graph.to_proto()
    model.graph.output.add().name = name
    return predict(session(model), calibration(graph, data))[name]


def test_a_block_that_adds_less_harms_less() -> None:
    graph = residual()  # blocks that add 0.5, 0.01 and 0.2
    for kind in ("weights", "activations", "evaluation"):
        found = harms(PruneBlocks(harm=kind), graph, inputs(graph, 16))
        first, second, third = (each[1] for each in found.values())
        assert second < third < first, kind


def test_smaller_pictures_are_compared_on_smaller_pictures() -> None:
    graph = resnet()
    data = inputs(graph, 12)
    pass_ = ResizeInput(harm="evaluation")
    found = harms(pass_, graph, data)["x1"]
    small = pass_.rebuilt(graph, Context(), {"x1": 8})
    resized = {"x1": resample(resample(data["x1"], 2, 8, "area"), 3, 8, "area")}
    lost = Outputs(graph, calibration(graph, data)).harm(small)
    assert lost == pytest.approx(disagreement(outputs(small, resized), outputs(graph, data)), rel=1e-3)
    assert found[8] >= lost  # no less than that of a larger picture
    assert harms(ResizeInput(harm="activations"), graph, data)["x1"][8] > 0


def test_factorize_states_the_share_of_energy_on_the_data() -> None:
    graph = two_layers()
    data = inputs(graph, 30)
    found = harms(Factorize(harm="activations", align=1), graph, data)
    percent = list(found["a"])[-1]
    rebuilt = Factorize(align=1).rebuilt(graph, Context(data=data), {"a": percent})
    hidden = data["x1"] @ graph.constant(graph.value("a"))  # type: ignore[operator]
    product = next(node for node in rebuilt.nodes if node.op_type == "Relu").input(0)
    assert product is not None
    assert found["a"][percent] == pytest.approx(share(_value(rebuilt, product.name, data), hidden), rel=1e-3)


@pytest.mark.parametrize("kind", ["activations", "evaluation"])
def test_without_data_nothing_is_measured(kind: str) -> None:
    with pytest.raises(DataError, match=f"harm={kind} needs calibration data"):
        harms(Scale(harm=kind), two_layers(), None)


def test_auto_takes_what_it_can_afford(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = two_layers()
    data = inputs(graph, 20)
    assert harms(Scale(), graph, None) == harms(Scale(harm="weights"), graph, None)
    assert harms(Scale(), graph, data) == harms(Scale(harm="evaluation"), graph, data)
    monkeypatch.setattr(harm, "_AFFORDABLE", 1e6)
    assert harms(Scale(), graph, data) == harms(Scale(harm="activations"), graph, data)


def test_only_some_samples_are_looked_at() -> None:
    graph = two_layers()
    data = inputs(graph, 3 * SAMPLES)
    few = {name: array[:SAMPLES] for name, array in data.items()}
    assert harms(Scale(harm="evaluation"), graph, data) == harms(Scale(harm="evaluation"), graph, few)


@pytest.mark.parametrize("shape", [(20, 5), (20, 5, 2), (20, 1)])
def test_probabilities_and_what_are_no_scores_are_compared_as_they_are(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    wanted = rng.random(shape)
    found = wanted + 0.2 * rng.random(shape)
    if shape == (20, 5):
        wanted, found = (array / array.sum(axis=1, keepdims=True) for array in (wanted, found))
    assert harm._lost(wanted, found) == pytest.approx(as_they_are(found, wanted))


def test_a_change_that_is_the_same_for_all_classes_harms_less() -> None:
    """Which class wins does not hang on it."""
    rng = np.random.default_rng(0)
    scores = 4 * rng.standard_normal((50, 10))
    shift = rng.standard_normal((50, 1))
    other = shift * rng.choice([-1, 1], (50, 10))  # as large
    assert harm._lost(scores, scores + shift) < harm._lost(scores, scores + other)


def test_an_unchanged_copy_differs_nowhere() -> None:
    graph = resnet()
    assert Nearby(graph, calibration(graph, inputs(graph))).error(graph.copy()) == 0


def test_harm_of_ruined_outputs_is_finite_and_still_ordered() -> None:
    graph = two_layers()
    data = inputs(graph, 20)
    whole = Outputs(graph, calibration(graph, data))
    found = []
    for percent in (100, 300, 3000, 0, -100):
        changed = graph.copy()
        Scale(plan={"b": percent}).apply(changed, Context())
        found.append(whole.harm(changed))
    assert found[0] == 0 < found[1] < found[2] < found[3] < found[4] < 15
