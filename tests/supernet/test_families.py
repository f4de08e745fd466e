"""Subnets of the three families: what the published package computes, and what must hold for every configuration."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import graphopt
from graphopt.quality import run, session
from graphopt.supernet import Extraction, Transforms, extract, parse_config, parse_family
from graphopt.supernet.operands import stored

from .families import FAMILIES, Small, small
from .make_expected import image

STYLES = {"kept": {}, "folded": {"fold": True}, "kept, awkward": {"awkward": True}, "folded, awkward": {"fold": True, "awkward": True}}
EXPECTED = Path(__file__).parent / "expected"


@functools.cache
def supernet(family: str, style: str = "kept") -> tuple[graphopt.Graph, Small]:
    made = small(family, **STYLES[style])
    return graphopt.Graph.from_proto(made.model), made


def subnet(family: str, config: dict[str, Any], style: str = "kept") -> tuple[graphopt.Graph, Extraction]:
    graph, made = supernet(family, style)
    graph = graph.copy()
    done = extract(graph, parse_family(made.document), parse_config(config), Transforms(made.transforms))
    return graph, done


def outputs(graph: graphopt.Graph, size: int = 64) -> Any:
    return run(session(graph, threads=1), {"input": image(size)})["output"]


def weights(graph: graphopt.Graph) -> dict[str, Any]:
    """Arrays that nodes read, by node name and input."""
    found = {}
    for node in graph.nodes:
        if node.op_type in ("Conv", "Gemm", "BatchNormalization"):
            for slot, value in enumerate(node.inputs):
                tensor = None if value is None else stored(value)
                if tensor is not None:
                    found[node.name, slot] = tensor.numpy()
    return found


def parameters(graph: graphopt.Graph) -> int:
    trained = {"Conv": (1, 2), "Gemm": (1, 2), "BatchNormalization": (1, 2)}
    every = {(node.name, slot) for node in graph.nodes for slot in trained.get(node.op_type, ())}
    return sum(array.size for place, array in weights(graph).items() if place in every)


def cases() -> list[Any]:
    found = []
    for family in FAMILIES:
        for number, case in enumerate(json.loads((EXPECTED / f"{family}.json").read_text())):
            styles = STYLES if number < 6 else ("kept", "folded")
            found += [
                pytest.param(family, case, style, id=f"{family}-{number}-{style}")
                for style in styles
                if not ("sort_channels" in case["config"] and "folded" in style)
            ]
    return found


@pytest.mark.parametrize(("family", "case", "style"), cases())
def test_it_computes_what_the_package_computes(family: str, case: dict[str, Any], style: str) -> None:
    config = case["config"]
    graph, _ = subnet(family, config, style)
    graphopt.verify(graph)
    found, expected = outputs(graph, config.get("image_size", 64)), np.array(case["outputs"])
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    if style == "kept":
        assert parameters(graph) == case["parameters"]
    readers = {value for node in graph.nodes for value in node.inputs}
    assert set(graph.initializers) <= readers


def test_the_package_tells_the_configurations_apart() -> None:
    """The largest network's outputs are far from every other's, so that the comparison above means something."""
    for family in FAMILIES:
        read = json.loads((EXPECTED / f"{family}.json").read_text())
        same = [case["outputs"] for case in read if case["config"].get("image_size", 64) == 64]
        for other in same[1:]:
            assert np.abs(np.array(other) - same[0]).max() > 0.02 * np.abs(same[0]).max()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_largest_configuration_is_the_supernet(family: str) -> None:
    graph, done = subnet(family, {})
    assert not done.changed
    largest = {"d": 2, "e": 0.35, "w": 2} if family == "ofa_resnet" else {"ks": 7, "e": 6, "d": 4}
    again, done = subnet(family, largest | {"image_size": 64})
    assert not done.changed
    assert not done.kept
    np.testing.assert_array_equal(outputs(graph), outputs(again))


@st.composite
def configs(draw: st.DrawFn, family: str) -> dict[str, Any]:
    def some(values: list[Any], count: int) -> Any:
        return draw(st.one_of(st.sampled_from(values), st.lists(st.sampled_from([*values, None]), min_size=count, max_size=count)))

    if family == "ofa_resnet":
        return {"d": some([0, 1, 2], 5), "e": some([0.2, 0.25, 0.35], 18), "w": some([0, 1, 2], 6)}
    slots, stages = (20, 5) if family == "ofa_mbv3" else (21, 6)
    return {"ks": some([3, 5, 7], slots), "e": some([3, 4, 6], slots), "d": some([1, 2, 3, 4, 9], stages)}


few = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("family", FAMILIES)
@few
@given(data=st.data())
def test_smaller_widths_are_nested_in_larger_ones(family: str, data: st.DataObject) -> None:
    config = data.draw(configs(family))
    key, least = ("w", 0) if family == "ofa_resnet" else ("e", 3)
    larger, smaller = weights(subnet(family, config)[0]), weights(subnet(family, config | {key: least})[0])
    assert larger.keys() == smaller.keys()
    for place, array in smaller.items():
        np.testing.assert_array_equal(array, larger[place][tuple(slice(size) for size in array.shape)])


@pytest.mark.parametrize("family", FAMILIES)
@few
@given(data=st.data())
def test_the_record_says_what_was_kept(family: str, data: st.DataObject) -> None:
    graph, done = subnet(family, data.draw(configs(family)))
    before = supernet(family)[0]
    assert set(done.kept) <= set(before.values)
    for name, axes in done.kept.items():
        old, new = before.value(name).tensor, graph.value(name).tensor if graph.has_value(name) else None
        assert old is not None
        assert new is not None
        array = old.numpy()
        for axis, indices in axes.items():
            array = array.take(indices, int(axis))
        if new.shape == array.shape:  # a kernel that was transformed too is no slice
            np.testing.assert_array_equal(new.numpy(), array)
        assert new.shape[:2] == array.shape[:2]


@pytest.mark.parametrize("family", FAMILIES)
def test_sorting_alone_changes_no_output(family: str) -> None:
    graph, done = subnet(family, {"sort_channels": "l1"})
    assert done.changed
    expected, found = outputs(supernet(family)[0]), outputs(graph)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    assert {place: array.shape for place, array in weights(graph).items()} == {
        place: array.shape for place, array in weights(supernet(family)[0]).items()
    }


@pytest.mark.parametrize("family", FAMILIES)
@settings(few, max_examples=6)
@given(data=st.data())
def test_any_configuration_verifies_and_is_no_larger(family: str, data: st.DataObject) -> None:
    graph, _ = subnet(family, data.draw(configs(family)), "kept, awkward")
    graphopt.verify(graph)
    assert parameters(graph) <= parameters(supernet(family, "kept, awkward")[0])


def test_weights_that_are_shared_between_nodes_are_cut_for_each_by_itself(tmp_path: Path) -> None:
    """TorchScript stores equal tensors once; here two blocks share a normalization's vectors and differ in width."""
    graph, made = supernet("ofa_mbv3")
    graph = graph.copy()
    nodes = {node.name: node for node in graph.nodes}
    for slot in range(1, 5):
        graph.set_input(nodes["block2/expand/bn"], slot, nodes["block1/expand/bn"].inputs[slot])
    config = {"e": [6, 3, 4, *[6] * 17]}
    done = extract(graph, parse_family(made.document), parse_config(config), Transforms(made.transforms))
    assert "block1/expand.bn.weight" not in done.kept
    assert done.kept["block1/expand.weight"] == {"0": list(range(24))}
    graphopt.verify(graph)
    found = weights(graph)
    assert (found["block1/expand/bn", 1].size, found["block2/expand/bn", 1].size) == (24, 32)
    np.testing.assert_array_equal(found["block1/expand/bn", 1], found["block2/expand/bn", 1][:24])


def test_the_pass_may_be_stopped_after_any_change() -> None:
    graph, made = supernet("ofa_proxyless")
    for limit in (0, 3, 20):
        copy, asked = graph.copy(), list[str]()
        extract(
            copy,
            parse_family(made.document),
            parse_config({"ks": 3, "e": 3, "d": 2, "image_size": 48}),
            Transforms(made.transforms),
            lambda where, asked=asked, limit=limit: asked.append(where) or len(asked) <= limit,  # type: ignore[func-returns-value]
        )
        graphopt.verify(copy)
        assert len(asked) == 1 + 21
