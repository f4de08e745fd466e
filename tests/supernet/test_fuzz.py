"""Whatever the files say, extraction works or refuses in one line."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphopt
from graphopt.errors import GraphoptError
from graphopt.supernet import Transforms, extract, parse_config, parse_family, parse_generic

from .test_families import supernet
from .test_transformers import FOLDER

ODD = [
    None,
    True,
    0,
    -1,
    1,
    7,
    2**40,
    10**400,
    0.5,
    -2.5,
    1e300,
    float("inf"),
    "",
    "x",
    "output",
    "block1/expand",
    [],
    [0],
    [1, "a"],
    {},
    {"a": 1},
]


def changed(document: Any, data: st.DataObject) -> Any:
    """The document with an odd value somewhere in it."""
    document = copy.deepcopy(document)
    here = document
    while True:
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        if not keys:
            return document
        key = data.draw(st.sampled_from(keys))
        if isinstance(here[key], dict | list) and here[key] and data.draw(st.integers(0, 4)):
            here = here[key]
            continue
        if isinstance(here, dict) and data.draw(st.integers(0, 5)) == 0:
            del here[key]
        else:
            here[key] = data.draw(st.sampled_from(ODD))
        return document


CONFIGS: dict[str, dict[str, Any]] = {
    "ofa_mbv3": {"ks": [3] * 20, "e": [3] * 20, "d": [2] * 5, "image_size": 64, "sort_channels": None},
    "ofa_resnet": {"e": [0.2] * 18, "d": [0] * 5, "w": [0] * 6, "image_size": 64},
    "hat_encoder": {"embed": 16, "ffn": [16, 32, 48], "heads": [2, 2, 4], "layers": 2},
    "matformer": {"ffn": [16, 32], "layers": [0, 3]},
}


def attempt(graph: graphopt.Graph, document: Any, config: Any, transforms: Transforms | None) -> None:
    try:
        supernet = parse_family(document) if "family" in document else parse_generic(document)
        extract(graph.copy(), supernet, parse_config(config), transforms)
    except GraphoptError as error:
        assert error.exit_status == 2
        assert "\n" not in str(error)


@pytest.mark.parametrize("family", ["ofa_mbv3", "ofa_resnet"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_families(family: str, data: st.DataObject) -> None:
    graph, made = supernet(family)
    document, config = made.document, CONFIGS[family]
    if data.draw(st.booleans()):
        document = changed(document, data)
    else:
        config = changed(config, data)
    attempt(graph, document, config, Transforms(made.transforms))


@pytest.mark.parametrize("name", ["hat_encoder", "matformer"])
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_generic(name: str, data: st.DataObject) -> None:
    graph = graphopt.load(FOLDER / f"{name}.onnx")
    document, config = json.loads((FOLDER / f"{name}.supernet.json").read_text()), CONFIGS[name]
    if data.draw(st.booleans()):
        document = changed(document, data)
    else:
        config = changed(config, data)
    attempt(graph, document, config, None)
