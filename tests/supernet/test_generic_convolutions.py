"""Convolutions through the generic side file: the same subnets as through the family's."""

from __future__ import annotations

import copy
from typing import Any

import jsonschema
import numpy as np
import pytest

from graphopt.errors import SupernetError
from graphopt.supernet import Transforms, extract, parse_config, parse_family, parse_generic, schema, space_of

from .test_families import outputs, supernet, weights

CHANNELS = {3: 24, 4: 32, 6: 48}  # of block 1 by expand ratio: 8 come in


def document() -> dict[str, Any]:
    """Block 1 of the small MobileNetV3, edit by edit."""
    block = "block1"
    edits: list[dict[str, Any]] = []
    for name, axis in (("expand", 0), ("depthwise", 0), ("project", 1)):
        edits.append({"node": f"{block}/{name}", "input": 1, "axis": axis, "keep": "mid", "slot": 0})
    for name in ("expand", "depthwise"):
        edits += [{"node": f"{block}/{name}/bn", "input": slot, "axis": 0, "keep": "mid", "slot": 0} for slot in range(1, 5)]
    edits.append({"node": f"{block}/depthwise", "group": "mid", "slot": 0})
    edits.append({"node": f"{block}/depthwise", "kernel": "ks", "sizes": [3, 5, 7], "slot": 0})
    choices = {"mid": sorted(CHANNELS.values()), "ks": [3, 5, 7]}
    return {"schema": "elastic-graph/1", "input": "input", "transforms": "transforms.npz", "choices": choices, "edits": edits}


@pytest.mark.parametrize(("ratio", "kernel"), [(3, 3), (4, 5), (6, 3), (3, 7), (6, 7)])
def test_edits_make_what_the_family_makes(ratio: int, kernel: int) -> None:
    graph, made = supernet("ofa_mbv3")
    transforms = Transforms(made.transforms)
    expected, found = graph.copy(), graph.copy()
    family = {"ks": [7, kernel, *[7] * 18], "e": [6, ratio, *[6] * 18], "image_size": 48}
    extract(expected, parse_family(made.document), parse_config(family), transforms)
    jsonschema.validate(document(), schema("elastic"))
    extract(found, parse_generic(document()), parse_config({"mid": [CHANNELS[ratio]], "ks": [kernel], "image_size": 48}), transforms)
    ours, theirs = weights(found), weights(expected)
    assert ours.keys() == theirs.keys()
    for place, array in theirs.items():
        np.testing.assert_array_equal(ours[place], array)
    np.testing.assert_array_equal(outputs(found, 48), outputs(expected, 48))


def test_they_are_sites_of_a_search() -> None:
    graph, _ = supernet("ofa_mbv3")
    space = space_of(graph, parse_generic(document()), (48, 64))
    assert {site.name: site.values for site in space.sites} == {"image_size": (48, 64), "mid[0]": (24, 32, 48), "ks[0]": (3, 5, 7)}


@pytest.mark.parametrize(
    ("change", "config", "message"),
    [
        (lambda d: None, {"ks": 4}, "c.json: ks[0] is 4, and 'block1/depthwise' (Conv) has the kernel sizes 3, 5, 7"),
        (lambda d: None, {"ks": [7], "mid": [2.5]}, "c.json: mid[0] is 2.5, and must be a whole number from 1 to 48"),
        (lambda d: d["edits"][-1].update(slot=1), {"ks": [3]}, "c.json: ks has 1 entries, and 'block1/depthwise' (Conv) asks for slot 1"),
        (lambda d: d["edits"][-1].update(sizes=[3, 4]), {}, "s.json: edits[12].sizes must be odd kernel sizes in ascending order"),
        (lambda d: d["edits"][-1].update(sizes=[3, 5]), {"ks": 3}, "its kernel size 7 is not among kernel_sizes 3, 5"),
        (lambda d: d["edits"][-1].update(node="gone"), {"ks": 3}, "s.json: an edit names node 'gone', which this model does not have"),
        (lambda d: d["edits"][-1].update(node="block1/act1"), {"ks": 3}, "s.json: an edit: node 'block1/act1' is no Conv but Relu"),
        (
            lambda d: d["edits"][-1].update(group="mid"),
            {},
            "edits[12].keep or scalar or shape or kernel or group must be given, and only one",
        ),
    ],
)
def test_what_does_not_fit(change: Any, config: dict[str, Any], message: str) -> None:
    graph, made = supernet("ofa_mbv3")
    changed = copy.deepcopy(document())
    change(changed)
    with pytest.raises(SupernetError) as caught:
        extract(graph.copy(), parse_generic(changed, "s.json"), parse_config(config, "c.json"), Transforms(made.transforms))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_transforms_are_asked_for() -> None:
    graph, _ = supernet("ofa_mbv3")
    with pytest.raises(SupernetError, match=r"ks\[0\] is 5, which needs the kernel transforms 'transforms.npz' that s.json names"):
        extract(graph.copy(), parse_generic(document(), "s.json"), parse_config({"ks": 5}))
    plain = {key: value for key, value in document().items() if key != "transforms"}
    done = extract(graph.copy(), parse_generic(plain), parse_config({"ks": 5}))
    assert done.notes == ("smaller kernels are plain centre crops: the supernet's description names no transforms",)
