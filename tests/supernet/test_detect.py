"""Finding blocks in the graph alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import onnx
import pytest

import graphopt
from graphopt.supernet import draft_supernet, extract, parse_config, parse_family, to_document

from ..networks import network
from .test_families import FAMILIES, STYLES, supernet


def blocks(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [block for stage in document["stages"] for block in stage["blocks"]]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_draft_finds_every_block(family: str, style: str) -> None:
    graph, made = supernet(family, style)
    draft = draft_supernet(graph, "net.onnx")
    assert draft is not None
    document, written = to_document(draft.supernet), made.document
    assert blocks(document) == blocks(written)
    for key in ("family", "input", "output", "image_size", "kernel_sizes", "depths", "depth_rule", "mid_rule", "se_reduction", "bn_folded"):
        assert document[key] == written.get(key, document[key]), key
    assert document["expand_ratios"][-1] == written["expand_ratios"][-1]
    assert document["model"] == "net.onnx"
    if family == "ofa_resnet":
        assert document["classifier"] == written["classifier"]
        assert [{**conv, "out_choices": conv["out_choices"][-1:]} for conv in written["stem"]] == document["stem"]
    assert any("kernel_sizes, expand_ratios, depths" in line for line in draft.unknown)


@pytest.mark.parametrize("family", ["ofa_mbv3", "ofa_resnet"])
def test_stages_are_found_where_their_first_blocks_have_no_shortcut(family: str) -> None:
    graph, made = supernet(family)
    draft = draft_supernet(graph)
    assert draft is not None
    assert [len(stage.blocks) for stage in draft.supernet.stages] == [len(stage["blocks"]) for stage in made.document["stages"]]


def test_equal_neighbouring_stages_look_like_one_and_that_is_said() -> None:
    """At this width two stages of ProxylessNAS have equal widths and stride 1 between them."""
    draft = draft_supernet(supernet("ofa_proxyless")[0])
    assert draft is not None
    assert [len(stage.blocks) for stage in draft.supernet.stages] == [4, 4, 8, 4, 1]
    assert any("neighbouring stages of equal width and stride 1 look like one" in line for line in draft.unknown)


def test_a_draft_can_be_used() -> None:
    graph, _ = supernet("ofa_mbv3")
    draft = draft_supernet(graph)
    assert draft is not None
    read = parse_family(to_document(draft.supernet))
    assert read == replace(draft.supernet, source=read.source)
    copy = graph.copy()
    extract(copy, replace(read, expand_ratios=(3.0, 6.0)), parse_config({"e": 3, "d": 2, "ks": 5}))
    graphopt.verify(copy)


def test_networks_without_such_blocks() -> None:
    assert draft_supernet(graphopt.Graph.from_proto(network())) is None
    separable = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 18]> g (float[1,4,8,8] x) => (float[1,4,8,8] y) {
        a = Conv (x, p1)  b = Conv <group = 4> (a, d1)  c = Conv (b, p2)  d = Conv <group = 4> (c, d2)  y = Conv (d, p3) }"""
    )
    for name, shape in {"p1": (4, 4, 1, 1), "p2": (4, 4, 1, 1), "p3": (4, 4, 1, 1), "d1": (4, 1, 1, 1), "d2": (4, 1, 1, 1)}.items():
        separable.graph.initializer.append(onnx.helper.make_tensor(name, 1, shape, [1.0] * (shape[0] * shape[1])))
    assert draft_supernet(graphopt.Graph.from_proto(separable)) is None  # each 1x1 convolution would belong to two blocks
