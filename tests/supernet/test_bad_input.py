"""What does not fit is refused in one line that names the key or the node."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import graphopt
from graphopt.errors import SupernetError
from graphopt.supernet import (
    Transforms,
    extract,
    load_config,
    load_supernet,
    load_transforms,
    parse_config,
    parse_family,
    schema,
    transforms_beside,
)

from .test_families import FAMILIES, supernet
from .test_transformers import FOLDER

Document = dict[str, Any]


def attempt(family: str, config: Document, change: Callable[[Document], Any] | None = None, **options: Any) -> str:
    """The message of the SupernetError that extraction raises."""
    graph, made = supernet(family, options.pop("style", "kept"))
    document = copy.deepcopy(made.document)
    if change is not None:
        change(document)
    transforms = options.pop("transforms", Transforms(made.transforms, "t.npz"))
    with pytest.raises(SupernetError) as caught:
        extract(graph.copy(), parse_family(document, "s.json"), parse_config(config, "c.json"), transforms)
    message = str(caught.value)
    assert "\n" not in message
    return message


def block(document: Document, stage: int, place: int) -> Document:
    found: Document = document["stages"][stage]["blocks"][place]
    return found


MBV3, RESNET = "ofa_mbv3", "ofa_resnet"


@pytest.mark.parametrize(
    ("family", "config", "message"),
    [
        (MBV3, {"ks": 9}, "c.json: ks[0] is 9, and the block of slot 0 has the kernel sizes 3, 5, 7"),
        (MBV3, {"ks": [7] * 19 + [4]}, "c.json: ks[19] is 4, and the block of slot 19 has the kernel sizes 3, 5, 7"),
        (MBV3, {"ks": [7] * 19}, "c.json: ks has 19 entries, and the supernet has 20 slots for it"),
        (MBV3, {"d": [4] * 6}, "c.json: d has 6 entries, and the supernet has 5 slots for it"),
        (MBV3, {"d": 0}, "c.json: d[0] is 0, and a depth must be a whole number from 1 on"),
        (MBV3, {"d": 2.5}, "c.json: d[0] is 2.5"),
        (MBV3, {"e": 8}, "c.json: e[0] is 8, which needs 64 channels, and the block of slot 0 has 48"),
        (MBV3, {"e": 0}, "c.json: e[0] is 0, and a ratio must be above 0"),
        (MBV3, {"e": "6"}, "c.json: e must be a number, a list of numbers, or null, not the text '6'"),
        (MBV3, {"e": [6, "3"]}, "c.json: e[1] must be a number or null, not the text '3'"),
        (MBV3, {"w": 1}, "c.json: unknown key 'w'; this supernet knows ks, e, d"),
        (MBV3, {"wid": 1.2}, "c.json: wid is not supported"),
        (MBV3, {"sort_channels": "l2"}, "c.json: sort_channels must be null or one of l1"),
        (MBV3, {"image_size": 0}, "c.json: image_size must be a whole number from 1 on"),
        (MBV3, {"r": [160, 192]}, "c.json: r must be a whole number from 1 on, not a list of 2"),
        (MBV3, {"r": [160], "image_size": 192}, "c.json: image_size is 192 and r is 160"),
        (RESNET, {"w": 3}, "c.json: w[0] is 3, and must be an index from 0 to 2 into [8, 16, 16]"),
        (RESNET, {"w": [0] * 5}, "c.json: w has 5 entries, and the supernet has 6 slots"),
        (RESNET, {"d": -1}, "c.json: d[1] is -1, and a depth must be a whole number from 0 on"),
        (RESNET, {"e": 0.5}, "c.json: e[0] is 0.5, which needs 40 channels, and the block of slot 0 has 32"),
        (RESNET, {"ks": 5}, "c.json: ks[0] is 5, and kernels of this family are always 3"),
    ],
)
def test_configurations(family: str, config: Document, message: str) -> None:
    assert message in attempt(family, config)


def test_slots_of_blocks_that_are_left_out_may_hold_anything() -> None:
    graph, made = supernet(MBV3)
    zeros = {"ks": [7, 7, 0, 0] * 5, "e": [6, 6, 0, 0] * 5, "d": 2}
    graph = graph.copy()
    done = extract(graph, parse_family(made.document), parse_config(zeros), Transforms(made.transforms))
    assert done.summary["blocks_left_out"] == 10


def test_what_was_not_trained_is_said() -> None:
    graph, made = supernet("ofa_proxyless")
    done = extract(graph.copy(), parse_family(made.document), parse_config({"e": 5, "d": 1}), None)
    assert set(done.notes) == {"e = 5 is not among the trained ratios 3, 4, 6", "d = 1 is not among the trained depths 2, 3, 4"}


@pytest.mark.parametrize(
    ("family", "change", "message"),
    [
        (MBV3, lambda d: block(d, 1, 2)["convs"]["depthwise"].update(node="gone"), "the block of slot 6, depthwise names node 'gone'"),
        (MBV3, lambda d: block(d, 1, 2)["convs"]["depthwise"].update(node="block6/act1"), "node 'block6/act1' is no Conv but Relu"),
        (MBV3, lambda d: block(d, 1, 2)["convs"]["depthwise"].update(weight="w"), "node 'block6/depthwise' should have the weight 'w'"),
        (MBV3, lambda d: block(d, 0, 3).update(output="gone"), "the block of slot 3 names tensor 'gone'"),
        (MBV3, lambda d: block(d, 0, 0).update(mid=40), "the weight of 'block0/expand' (Conv) should have 40 x 8 channels"),
        (MBV3, lambda d: block(d, 0, 0).update(slot=1), "stages[0].blocks[1].slot 1 is also that of stages[0].blocks[0]"),
        (MBV3, lambda d: block(d, 4, 3).update(slot=25), "no block has slot 19, and the highest slot is 25"),
        (MBV3, lambda d: block(d, 0, 1).update(stride=2), "stages[0].blocks[1] cannot be left out: its stride is 2"),
        (MBV3, lambda d: block(d, 0, 0)["convs"].pop("project"), "stages[0].blocks[0].convs.project is missing"),
        (MBV3, lambda d: block(d, 1, 0)["convs"].pop("se_expand"), "se_reduce and se_expand must be given together"),
        (MBV3, lambda d: block(d, 1, 0)["convs"].update(extra={"node": "x"}), "stages[1].blocks[0].convs.extra is no role"),
        (MBV3, lambda d: d.update(family="vit"), "family must be one of ofa_mbv3, ofa_proxyless, ofa_resnet, not 'vit'"),
        (MBV3, lambda d: d.pop("depths"), "depths is missing"),
        (MBV3, lambda d: d.update(kernel_sizes=[3, "5"]), "kernel_sizes must be a list of whole numbers"),
        (MBV3, lambda d: d.update(kernel_sizes=[3, 4, 7]), "kernel_sizes must be odd"),
        (MBV3, lambda d: d.update(kernel_sizes=[3, 5]), "the block of slot 0: its kernel size 7 is not among kernel_sizes 3, 5"),
        (MBV3, lambda d: d.update(stages=[]), "stages is empty"),
        (MBV3, lambda d: d["stages"][2].update(depth_slot="2"), "stages[2].depth_slot must be a whole number from 0 on, not the text '2'"),
        (
            MBV3,
            lambda d: d.update(se_reduction=2),
            "se_reduce has 16 channels, and by the rule it would have 24; are se_reduction and divisor right?",
        ),
        (MBV3, lambda d: d.update(input="picture"), "image_size needs the input 'picture'"),
        (RESNET, lambda d: d["stages"][0].update(out_choices=[64, 40, 80]), "stages[0].out_choices must be channel counts in ascending"),
        (RESNET, lambda d: d["stages"][0].update(out_choices=[40, 64]), "stages[0].out_choices end at 64, and its blocks put out 80"),
        (RESNET, lambda d: d["stages"][0].update(base_depth=7), "stages[0].base_depth is 7, and the stage has 4 blocks"),
        (RESNET, lambda d: d["stem"][0].update(out_choices=[8, 16, 24]), "stem[0].out_choices end at 24, and 'stem0' (Conv) has 16"),
        (RESNET, lambda d: d.pop("classifier"), "classifier is missing, and the width of the last stage is to change"),
        (RESNET, lambda d: d["classifier"].update(node="block0/conv1"), "should have the weight 'logits.weight'"),
        (RESNET, lambda d: block(d, 0, 0)["convs"].pop("downsample"), "the block of slot 0 has an identity shortcut"),
    ],
)
def test_side_files(family: str, change: Callable[[Document], Any], message: str) -> None:
    config = {"d": 0, "e": 0.2, "w": 0} if family == RESNET else {"ks": 3, "e": 3, "image_size": 48}
    graph, made = supernet(family)
    document = copy.deepcopy(made.document)
    change(document)
    with pytest.raises(SupernetError) as caught:
        extract(graph.copy(), parse_family(document, "s.json"), parse_config(config), Transforms(made.transforms))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_transforms() -> None:
    assert "ks[0] is 5, which needs the kernel transforms 'transforms.npz' that s.json names" in attempt(MBV3, {"ks": 5}, transforms=None)
    some = dict(supernet(MBV3)[1].transforms)
    some.pop("block3/depthwise.weight.5to3_matrix")
    assert attempt(MBV3, {"ks": 3}, transforms=Transforms(some, "t.npz")).startswith("t.npz has no 'block3/depthwise.weight.5to3_matrix'")
    some["block3/depthwise.weight.5to3_matrix"] = np.eye(3)
    assert "must be 9 x 9 floats, not float64 [3, 3]" in attempt(MBV3, {"ks": 3}, transforms=Transforms(some, "t.npz"))


def test_centre_crops_where_no_transforms_are_named() -> None:
    graph, made = supernet(MBV3)
    document = {key: value for key, value in made.document.items() if key != "transforms"}
    cropped, transformed = graph.copy(), graph.copy()
    done = extract(cropped, parse_family(document), parse_config({"ks": 3}))
    assert done.notes == ("smaller kernels are plain centre crops: the supernet's description names no transforms",)
    identities = {key: np.eye(len(matrix), dtype=np.float32) for key, matrix in made.transforms.items()}
    extract(transformed, parse_family(document), parse_config({"ks": 3}), Transforms(identities))
    for name in graph.values:
        old, new = (g.value(name).tensor if g.has_value(name) else None for g in (cropped, transformed))
        if old is not None and new is not None:
            np.testing.assert_allclose(old.numpy(), new.numpy(), atol=1e-6)
    whole = graph.value("block4/depthwise.weight").tensor
    crop = cropped.value("block4/depthwise.weight").tensor
    assert whole is not None
    assert crop is not None
    np.testing.assert_array_equal(crop.numpy(), whole.numpy()[:, :, 2:5, 2:5])


@pytest.mark.parametrize("family", FAMILIES)
def test_sorting_a_folded_model_is_refused_with_the_reason(family: str) -> None:
    message = attempt(family, {"sort_channels": "l1"}, style="folded")
    assert "sort_channels needs a model that kept BatchNormalization: the block of slot 0 has none after 'block0/" in message


def test_two_nodes_of_one_name() -> None:
    made = supernet(MBV3)[1]
    model = copy.deepcopy(made.model)
    next(node for node in model.graph.node if node.name == "first").name = "block0/expand"
    with pytest.raises(SupernetError, match="names node 'block0/expand', and several nodes of this model are called so"):
        extract(graphopt.Graph.from_proto(model), parse_family(made.document), parse_config({"e": 3}))


def test_files(tmp_path: Path) -> None:
    def refused(read: Callable[[Path], Any], name: str, contents: bytes | None) -> str:
        path = tmp_path / name
        if contents is not None:
            path.write_bytes(contents)
        with pytest.raises(SupernetError) as caught:
            read(path)
        assert "\n" not in str(caught.value)
        return str(caught.value).replace(str(tmp_path), "")

    assert refused(load_config, "none.json", None) == "cannot read configuration /none.json: No such file or directory"
    assert refused(load_config, "a.json", b"{").startswith("configuration /a.json is not JSON: ")
    assert refused(load_config, "b.json", b'{"e": NaN}') == "configuration /b.json is not JSON: it holds NaN"
    assert refused(load_config, "c.json", b"[1]") == "configuration /c.json must hold an object {...}, not a list of 1"
    assert refused(load_config, "d.json", b"\xff") == "configuration /d.json is not a text in UTF-8"
    assert refused(load_supernet, "e.json", b"{}").startswith('/e.json: schema must be "ofa-supernet/1" or "elastic-graph/1", not None')
    assert refused(load_transforms, "f.npz", None).startswith("cannot read transforms /f.npz: No such file")
    assert refused(load_transforms, "g.npz", b"no zip").startswith("cannot read transforms /g.npz as an .npz file of plain arrays")
    np.savez(tmp_path / "h.npz", a=np.array([{}], dtype=object))
    assert "Object arrays cannot be loaded" in refused(load_transforms, "h.npz", None)
    np.save(tmp_path / "i.npy", np.zeros(2))
    assert "as an .npz file" in refused(load_transforms, "i.npy", None)


def test_transforms_lie_beside_the_side_file(tmp_path: Path) -> None:
    document = supernet(MBV3)[1].document
    path = tmp_path / "supernet.json"
    path.write_text(json.dumps(document))
    assert transforms_beside(load_supernet(path)) is None
    np.savez(tmp_path / "transforms.npz", key=np.eye(9))
    found = transforms_beside(load_supernet(path))
    assert found is not None
    assert list(found.matrices) == ["key"]
    path.write_text(json.dumps(document | {"transforms": "../transforms.npz"}))
    with pytest.raises(SupernetError, match="transforms must be the name of a file beside it"):
        transforms_beside(load_supernet(path))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_schemas_take_what_the_readers_take(family: str) -> None:
    document = supernet(family)[1].document
    jsonschema.validate(document, schema("supernet"))
    for key in ("family", "input", "expand_ratios", "depths", "stages"):
        broken = {name: value for name, value in document.items() if name != key}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, schema("supernet"))
        with pytest.raises(SupernetError, match=key):
            parse_family(broken)


def test_the_other_schemas() -> None:
    for name in ("hat_encoder", "matformer"):
        jsonschema.validate(json.loads((FOLDER / f"{name}.supernet.json").read_text()), schema("elastic"))
        jsonschema.validate(json.loads((FOLDER / f"{name}.config.json").read_text()), schema("config"))
    for config in ({"wid": 1}, {"e": "6"}, {"image_size": 0}, {"sort_channels": "l2"}, {"ks": [3, "5"]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(config, schema("config"))
        with pytest.raises(SupernetError):
            parse_config(config)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"schema": "elastic-graph/1", "edits": [{"node": "n", "input": 0, "keep": "e"}]}, schema("elastic"))


def test_constants_per_channel_that_nobody_would_cut() -> None:
    graph, made = supernet(MBV3)
    graph = graph.copy()
    activation = next(node for node in graph.nodes if node.name == "block0/act2")
    slopes = graph.add_initializer("slopes", np.full((48, 1, 1), 0.1, np.float32))
    leaky = graph.add_node("PRelu", [activation.inputs[0], slopes], ["leaky"], name="leaky", at=activation)
    graph.replace_uses(activation.output(), leaky.output())
    graph.remove(activation)
    with pytest.raises(
        SupernetError, match=r"'leaky' \(PRelu\) behind 'block0/depthwise' \(Conv\) has a constant of 48 channels in input 1"
    ):
        extract(graph.copy(), parse_family(made.document), parse_config({"e": 3}))
    extract(graph, parse_family(made.document), parse_config({"e": [6, *[3] * 19]}))
    graphopt.verify(graph)
