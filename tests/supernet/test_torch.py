"""`graphopt.torch.export_supernet` against the published package: what it exports, extracted, computes what the package's subnets compute."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphopt
from graphopt.errors import SupernetError
from graphopt.quality import run, session
from graphopt.supernet import extract, load_supernet, parse_config, transforms_beside

from .make_expected import configurations, image, module
from .test_families import FAMILIES, parameters

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # PyTorch's exporters warn a lot
]
torch = pytest.importorskip("torch", reason="exporting needs the extra `torch`")
pytest.importorskip("ofa", reason="the reference is the package `ofa`, which pip installs")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from graphopt.torch import export_supernet

# Parameters and Conv nodes of the published spaces with 1000 classes: largest, middle, smallest.
PUBLISHED: dict[str, list[tuple[dict[str, Any], int, int]]] = {
    "mbv3 1.0": [({}, 7_664_760, 89), ({"ks": 5, "e": 4, "d": 3}, 4_551_792, 68), ({"ks": 3, "e": 3, "d": 2}, 3_410_792, 47)],
    "mbv3 1.2": [({}, 10_701_632, 89), ({"ks": 5, "e": 4, "d": 3}, 6_245_312, 68), ({"ks": 3, "e": 3, "d": 2}, 4_602_456, 47)],
    "proxyless 1.3": [({}, 7_942_056, 67), ({"ks": 5, "e": 4, "d": 3}, 5_053_864, 52), ({"ks": 3, "e": 3, "d": 2}, 3_718_832, 37)],
    "resnet": [({}, 48_105_992, 61), ({"d": 1, "e": 0.25, "w": 1}, 15_860_768, 48), ({"d": 0, "e": 0.2, "w": 0}, 6_539_280, 36)],
}


def published(space: str) -> Any:
    from ofa.imagenet_classification.elastic_nn.networks import OFAMobileNetV3, OFAProxylessNASNets, OFAResNets

    if space == "resnet":
        return OFAResNets(dropout_rate=0, depth_list=[0, 1, 2], expand_ratio_list=[0.2, 0.25, 0.35], width_mult_list=[0.65, 0.8, 1.0])
    kind, width = (OFAProxylessNASNets, 1.3) if space.startswith("proxyless") else (OFAMobileNetV3, float(space.split()[1]))
    return kind(dropout_rate=0, width_mult=width, ks_list=[3, 5, 7], expand_ratio_list=[3, 4, 6], depth_list=[2, 3, 4])


@pytest.mark.parametrize("keep_bn", [True, False], ids=["kept", "folded"])
@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
@pytest.mark.parametrize("family", FAMILIES)
def test_subnets_of_both_exporters(family: str, exporter: str, keep_bn: bool, tmp_path: Path) -> None:
    elastic = module(family)
    files = export_supernet(elastic, tmp_path, image_size=64, exporter=exporter, keep_bn=keep_bn)
    supernet = load_supernet(files.side_file)
    transforms, whole = transforms_beside(supernet), graphopt.load(files.model)
    compared = 0
    for config in configurations(family):
        if config.pop("sort_channels", None) is not None and keep_bn:
            config["sort_channels"] = "l1"
        reference = module(family)
        if config.get("sort_channels"):
            reference.re_organize_middle_weights()
        reference.set_max_net()
        reference.set_active_subnet(**{key: value for key, value in config.items() if key in ("ks", "e", "d", "w")})
        images = image(config.get("image_size", 64))
        with torch.no_grad():
            expected = reference.get_active_subnet().eval()(torch.from_numpy(images)).numpy()
        graph = whole.copy()
        extract(graph, supernet, parse_config(config), transforms)
        graphopt.verify(graph)
        found = run(session(graph, threads=1), {"input": images})["output"]
        assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
        compared += 1
    assert compared >= 12


@pytest.mark.parametrize("space", PUBLISHED)
def test_parameters_and_convolutions_of_the_published_spaces(space: str, tmp_path: Path) -> None:
    files = export_supernet(published(space), tmp_path)
    supernet, whole = load_supernet(files.side_file), graphopt.load(files.model)
    for config, count, convolutions in PUBLISHED[space]:
        graph = whole.copy()
        extract(graph, supernet, parse_config(config), transforms_beside(supernet))
        assert parameters(graph) == count
        assert sum(node.op_type == "Conv" for node in graph.nodes) == convolutions


def test_the_module_is_left_as_it_was(tmp_path: Path) -> None:
    elastic = module("ofa_proxyless").train()
    elastic.set_active_subnet(ks=3, e=3, d=2)
    export_supernet(elastic, tmp_path, image_size=32)
    assert elastic.training
    assert elastic.runtime_depth == [2, 2, 2, 2, 2, 1]


def test_other_modules_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SupernetError, match="Linear is no OFAMobileNetV3, OFAProxylessNASNets or OFAResNets"):
        export_supernet(torch.nn.Linear(2, 2), tmp_path)
