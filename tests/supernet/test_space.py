"""What supernets can be set to."""

from __future__ import annotations

import copy
import functools
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphopt
from graphopt.errors import SupernetError
from graphopt.supernet import Space, Transforms, extract, parse_config, parse_family, parse_generic, space_of

from .test_families import FAMILIES, supernet
from .test_transformers import FOLDER


@functools.cache
def family_space(family: str, sizes: tuple[int, ...] = (48, 64)) -> Space:
    graph, made = supernet(family)
    return space_of(graph, parse_family(made.document), sizes)


@functools.cache
def example(name: str) -> tuple[graphopt.Graph, dict[str, Any]]:
    return graphopt.load(FOLDER / f"{name}.onnx"), json.loads((FOLDER / f"{name}.supernet.json").read_text())


def values(space: Space) -> dict[str, tuple[float, ...]]:
    return {site.name: site.values for site in space.sites}


def test_every_elastic_dimension_is_a_site() -> None:
    found = values(family_space("ofa_mbv3"))
    assert found["image_size"] == (48, 64)
    assert [found[f"d[{stage}]"] for stage in range(5)] == [(2, 3, 4)] * 5
    assert [found[f"ks[{slot}]"] for slot in range(20)] == [(3, 5, 7)] * 20
    assert [found[f"e[{slot}]"] for slot in range(20)] == [(3, 4, 6)] * 20
    assert len(found) == 46
    assert "d[5]" not in values(family_space("ofa_proxyless"))  # the last stage has one block
    resnet = values(family_space("ofa_resnet"))
    assert resnet["d[0]"] == (0, 2)  # only the largest keeps the stem's convolution
    assert resnet["d[1]"] == (0, 1, 2)
    assert resnet["w[0]"] == (0, 2)  # 8, 16, 16 channels: two choices
    assert resnet["w[1]"] == (0, 1, 2)
    assert "ks[0]" not in resnet


def test_generic_supernets_say_what_was_trained() -> None:
    graph, document = example("hat_encoder")
    found = values(space_of(graph, parse_generic(document)))
    assert found["layers"] == (1, 2, 3)
    assert found["embed"] == (16, 24, 32)
    assert found["heads[2]"] == (2, 4)
    without = {key: value for key, value in document.items() if key != "choices"}
    with pytest.raises(SupernetError, match=r"^s.json: choices say nothing of 'layers'; list what was trained"):
        space_of(graph, parse_generic(without, "s.json"))
    for choices, message in (
        ({"depth": [1]}, "s.json: choices.depth is no key of a configuration; this supernet knows layers, embed, heads, ffn"),
        ({"embed": [32, 16]}, "s.json: choices.embed must be numbers above 0 in ascending order"),
        ({"embed": []}, "s.json: choices.embed must be a list of numbers, not a list of 0"),
    ):
        with pytest.raises(SupernetError) as caught:
            parse_generic(document | {"choices": choices}, "s.json")
        assert str(caught.value) == message


def test_usual_sizes_are_those_that_the_model_takes() -> None:
    graph, made = supernet("ofa_mbv3")
    assert values(space_of(graph, parse_family(made.document)))["image_size"] == (48, 64)
    fixed = graph.copy()
    flat = next(node for node in fixed.nodes if node.name == "first/act")
    shape = fixed.add_initializer("shape", np.array([1, 8, 32, 32], np.int64))
    rigid = fixed.add_node("Reshape", [flat.output(), shape], ["rigid"], name="rigid")
    for node, slot in fixed.consumers(flat.output()):
        if node is not rigid:
            fixed.set_input(node, slot, rigid.output())
    assert "image_size" not in values(space_of(fixed, parse_family(made.document)))
    with pytest.raises(SupernetError, match="image_size 48 does not fit 'rigid'"):
        space_of(fixed, parse_family(made.document), (48, 64))


def test_the_largest_row_is_the_supernet() -> None:
    for family in FAMILIES:
        graph, made = supernet(family)
        space = family_space(family)
        copied = graph.copy()
        done = extract(copied, parse_family(made.document), space.config(space.largest), Transforms(made.transforms))
        assert not done.changed


@st.composite
def rows(draw: st.DrawFn, space: Space) -> Any:
    return np.array([draw(st.integers(0, count - 1)) for count in space.counts.tolist()], np.intp)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_choices_without_effect_change_nothing(family: str, data: st.DataObject) -> None:
    """Rows with one canonical form make one network; each of them is a configuration that extraction takes."""
    graph, made = supernet(family)
    space = family_space(family)
    row = data.draw(rows(space))
    same = space.canonical(row[None])[0]
    subnets = []
    for choices in (row, same):
        copied = graph.copy()
        extract(
            copied,
            parse_family(made.document),
            parse_config(json.loads(json.dumps(space.document(choices)))),
            None if family == "ofa_resnet" else Transforms(made.transforms),
        )
        subnets.append(
            [(node.name, node.op_type, [copied.shape(value) for value in node.inputs if value is not None]) for node in copied.nodes]
        )
    assert subnets[0] == subnets[1]
    assert (space.canonical(same[None])[0] == same).all()
    assert (space.encoded(row[None]) == space.encoded(same[None])).all()


def test_lists_of_kept_layers_are_as_long_as_there_are_layers() -> None:
    graph, document = example("matformer")
    space = space_of(graph, parse_generic(document))
    numbers = {site.name: number for number, site in enumerate(space.sites)}
    row = space.largest.copy()
    row[numbers["layers"]], row[numbers["ffn[1]"]], row[numbers["ffn[3]"]] = 0, 0, 1
    assert space.document(row) == {"layers": 2, "ffn": [48, 6]}
    copied = graph.copy()
    extract(copied, parse_generic(document), space.config(row))
    graphopt.verify(copied)
    slots = copy.deepcopy(document) | {"slots": "maximum"}
    assert space_of(graph, parse_generic(slots)).document(row) == {"layers": 2, "ffn": [48, 6, 48, 12]}


def test_encoding() -> None:
    space = family_space("ofa_mbv3", (64,))
    encoded = space.encoded(np.stack([space.largest, space.smallest]))
    assert encoded.shape == (2, 3 * 45)
    assert encoded.sum(axis=1).tolist() == [45, 5 + 2 * 10]  # of the smallest, two of four blocks per stage have a say


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_children_have_the_choices_of_their_parents(seed: int) -> None:
    space, rng = family_space("ofa_mbv3"), np.random.default_rng(seed)
    first, second = space.sample(rng, 5), space.sample(rng, 5)
    children, matters = space.crossed(first, second, rng), None
    matters = space.matters(children)
    assert (((children == first) | (children == second)) | ~matters).all()
    assert (space.mutated(first, rng, 0.0) == first).all()
    mutants = space.mutated(np.repeat(first[:1], 400, axis=0), rng, 0.1)
    depth = next(number for number, site in enumerate(space.sites) if site.name == "d[0]")
    changed = (mutants[:, depth] != first[0, depth]).mean()
    assert 0.01 < changed < 0.15  # a tenth is made anew, a third of which comes out the same
