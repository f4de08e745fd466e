"""Targets from published tables: what is read from them, how networks are named and built, how single kernels are found again."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from graphopt.cost.fit import operations, tables
from graphopt.cost.fit.__main__ import main
from graphopt.cost.fit.definitions import DEFINITIONS
from graphopt.cost.fit.held_out import with_held_out_error, without
from graphopt.cost.fit.make import make
from graphopt.cost.fit.recipes import Recipe, pip_recipe
from graphopt.cost.fitting import fit_target
from graphopt.cost.fusion import load_rules
from graphopt.cost.kernel import Signature
from graphopt.cost.predictor import Predictor
from graphopt.cost.target import MeasuredKernel, MeasuredNetwork, Target
from graphopt.errors import DataError, TargetError, UnsupportedError
from tests.networks import write_network

_TORCH2TRT = ["device", "runtime", "model", "library", "resolution", "latency_ms", "throughput_ips"]
_XAVIER = [("alexnet", 2.0), ("vgg11", 2.1), ("vgg13", 2.2)]
_OPS = ["model", "op", "h_in", "cin", "h_out", "stride", "kernel", "cout", "groups", "pixel_4_ms", "fused_adreno640", "fused_mali_g76"]


def _write(path: Path, columns: list[str], rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def _torch2trt(path: Path) -> None:
    row = {"device": "jetson-agx-xavier", "library": "torchvision", "resolution": "224x224"}
    rows = [
        row | {"runtime": "pytorch", "model": "alexnet", "latency_ms": 5.0},
        row | {"runtime": "tensorrt (torch2trt)", "model": "alexnet", "latency_ms": 2.0},
        row | {"runtime": "tensorrt (torch2trt)", "model": "vgg11", "latency_ms": 2.1},
        row | {"runtime": "tensorrt (torch2trt)", "model": "vgg13", "latency_ms": 2.2},
        row | {"runtime": "tensorrt (torch2trt)", "model": "alexnet", "throughput_ips": 580},  # an earlier run: no latency
        row | {"runtime": "tensorrt (torch2trt)", "model": "resnet18", "latency_ms": 1.5, "device": "jetson-nano"},
    ]
    _write(path / "torch2trt_jetson.csv", _TORCH2TRT, rows)


class TestRecipes:
    @pytest.mark.parametrize(
        ("cell", "text"),
        [
            ("torchvision resnet50", "torchvision:resnet50@224"),
            ("timm efficientvit_b1.r224_in1k", "timm:efficientvit_b1.r224_in1k@224"),
            ("torchvision mobilenet_v2(width_mult=0.35)", "torchvision:mobilenet_v2{width_mult=0.35}@224"),
            ("timm MobileNetV1 channel_multiplier=0.25", "timm:mobilenetv1_100{channel_multiplier=0.25}@224"),
        ],
    )
    def test_cells_of_the_tables(self, cell: str, text: str) -> None:
        assert str(pip_recipe(cell, 224)) == text

    @pytest.mark.parametrize("cell", ["", "transformers something", "timm mobilenetv1_100 (ReLU)"])
    def test_what_is_not_built(self, cell: str) -> None:
        assert pip_recipe(cell, 224) is None

    def test_files_differ_where_recipes_do(self) -> None:
        recipes = [
            Recipe("timm", "a", 224),
            Recipe("timm", "a", 192),
            Recipe("timm", "a", 224, (("width_mult", 0.5),)),
            Recipe("torchvision", "a", 224),
        ]
        assert len({recipe.file for recipe in recipes}) == len(recipes)
        assert all(recipe.file.endswith(".onnx") and "/" not in recipe.file and ":" not in recipe.file for recipe in recipes)


class TestTables:
    def test_only_the_latencies_of_the_device_and_runtime(self, tmp_path: Path) -> None:
        _torch2trt(tmp_path)
        found = list(tables.torch2trt(tmp_path, "jetson-agx-xavier"))
        assert [(network.name, network.ms) for network in found] == _XAVIER
        assert found[0].recipe == Recipe("torchvision", "alexnet", 224)

    def test_a_missing_table_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"qed_tflite_e2e\.csv"):
            list(tables.mobile(tmp_path, "pixel-4", "fp32", "1large"))

    def test_quantised_networks_are_the_float_graphs(self, tmp_path: Path) -> None:
        row = {
            "device": "raspberry-pi-4b", "runtime": "TFLite v2.7.1 (ruy)", "model": "mobilenet_v2", "width_mult": "0.5",
            "resolution": "96x96", "latency_p50_ms": "7", "latency_p90_ms": "8",
        }  # fmt: skip
        rows = [
            row | {"precision": "fp32", "latency_ms": "7.1", "pip_equivalent": "torchvision mobilenet_v2(width_mult=0.5)"},
            row | {"precision": "int8", "latency_ms": "3.1"},
            row | {"precision": "int8", "latency_ms": "9.9", "model": "unheard_of"},
        ]
        _write(tmp_path / "mlperf_v21_v30_edge.csv", [*rows[0]], [dict(r) for r in rows])
        (found,) = tables.mlperf(tmp_path, "raspberry-pi-4b", "int8")
        assert (found.name, found.ms) == ("mobilenet_v2_0.5@96", 3.1)
        assert found.recipe == Recipe("torchvision", "mobilenet_v2", 96, (("width_mult", 0.5),))
        assert found.spread > 0


_CONV = "Conv(float[1,8,28,28], *float[16,8,3,3], *float[16]) -> float[1,16,14,14] {activation=Relu kernel_shape=[3,3] strides=[2,2]}"
_SUM = "Conv(float[1,8,28,28], *float[8,8,1,1], *float[8], float[1,8,28,28]) -> float[1,8,28,28] {kernel_shape=[1,1]}"
_DEPTHWISE = "Conv(float[1,8,28,28], *float[8,1,3,3]) -> float[1,8,28,28] {activation=HardSwish group=8 kernel_shape=[3,3]}"
_ADD = "Add(float[1,8,28,28], float[1,8,28,28]) -> float[1,8,28,28]"


class TestOperations:
    @pytest.mark.parametrize(
        ("text", "sizes", "chain"),
        [
            (_CONV, ("conv", 8, 16, 3, 2, 14), "conv+relu"),
            (_SUM, ("conv", 8, 8, 1, 1, 28), "conv+add"),
            (_DEPTHWISE, ("depthwise", 8, 3, 1, 28), "dw+hard_swish"),
            ("GlobalAveragePool(float[1,8,7,7]) -> float[1,8,1,1]", ("mean", 7, 8), "mean"),
            ("Gemm(float[1,8], *float[10,8], *float[10]) -> float[1,10] {transB=1}", ("fc", 8, 10), "fc"),
            ("Concat(float[1,8,7,7], float[1,4,7,7]) -> float[1,12,7,7] {axis=1}", ("concat", 2, 7), "concat"),
        ],
    )
    def test_what_the_table_says_of_a_kernel(self, text: str, sizes: tuple[object, ...], chain: str) -> None:
        sig = Signature.parse(text)
        assert operations.kernel_sizes(sig) == sizes
        assert operations.chain(sig) == chain

    def test_rows_find_their_kernels(self, tmp_path: Path) -> None:
        one, other = Signature.parse(_SUM), Signature.parse(_SUM.replace(", float[1,8,28,28])", ")"))
        row = {"model": "net", "op": "conv_2d", "h_in": 28, "cin": 8, "h_out": 28, "stride": 1, "kernel": 1, "cout": 8, "groups": 1}
        rows = [
            row | {"pixel_4_ms": 3.0, "fused_adreno640": "conv+add", "fused_mali_g76": "="},
            row | {"pixel_4_ms": 1.0, "fused_adreno640": "conv", "fused_mali_g76": "conv+relu"},
            row | {"pixel_4_ms": 9.0, "fused_adreno640": "conv", "cin": 99},
        ]
        _write(tmp_path / "qed_tflite_gpu_ops.csv", _OPS, [dict(r) for r in rows])
        found = operations.match(tmp_path, "pixel_4_ms", "fused_adreno640", [("net", [other, one, Signature.parse(_ADD)])])
        assert {kernel.signature: kernel.ms for kernel in found.measured()} == {one: 3.0, other: 1.0}  # by what is fused, not by order
        assert (found.rows, found.anchors, found.chains) == (3, 2, 2)
        assert found.missing == {"conv_2d": 1}


def _target(kernels: tuple[MeasuredKernel, ...] = (), count: int = 12) -> Target:
    """Networks of two kinds of convolutions, in times that follow one law."""
    networks = []
    for place in range(count):
        width = 8 * (place + 1)
        sig = Signature.parse(f"Conv(float[1,8,28,28], *float[{width},8,3,3]) -> float[1,{width},28,28] {{kernel_shape=[3,3]}}")
        add = Signature.parse(_ADD)
        networks.append(MeasuredNetwork(f"net{place}", 0.5 + 0.1 * width + 0.2 * (place % 3), 0.0, ((sig, 1), (add, place % 3 + 1))))
    return Target(
        name="t", device="d", runtime="tflite", rules="tflite-gpu", kernels=kernels, networks=tuple(networks), fit={"constant": True}
    )


class TestHeldOut:
    def test_a_network_does_not_see_its_own_kernels(self) -> None:
        target = _target()
        table = tuple(MeasuredKernel(network.kernels[0][0], network.ms / 2) for network in target.networks)
        shared = MeasuredKernel(Signature.parse(_ADD), 0.2)
        found = without(replace(target, kernels=(*table, shared)), [3])
        assert [network.name for network in found.networks if network.name == "net3"] == []
        assert table[3].signature not in {kernel.signature for kernel in found.kernels}
        assert shared.signature in {kernel.signature for kernel in found.kernels}
        assert shared.signature not in {
            kernel.signature for kernel in without(replace(target, kernels=(*table, shared)), [3], strict=True).kernels
        }

    def test_error_and_interval_are_those_of_unseen_networks(self) -> None:
        target = _target()
        table = tuple(MeasuredKernel(network.kernels[0][0], 0.1 * network.kernels[0][0].outputs[0].shape[1]) for network in target.networks)
        fitted = with_held_out_error(fit_target(replace(target, kernels=table), held_out=False), folds=4)
        assert 0 <= fitted.error["mape"] < 0.2
        assert fitted.error["networks"] == len(target.networks)
        assert Predictor(fitted).interval.networks == len(target.networks)


class TestCommand:
    def test_from_tables_and_exported_graphs(self, tmp_path: Path) -> None:
        graphs, out = tmp_path / "graphs", tmp_path / "out"
        graphs.mkdir()
        _torch2trt(tmp_path)
        for seed, (name, _) in enumerate(_XAVIER):
            write_network(graphs / Recipe("torchvision", name, 224).file, seed)
        run = CliRunner().invoke(main, ["jetson-agx-xavier", "--data", str(tmp_path), "--graphs", str(graphs), "--out", str(out)])
        assert run.exit_code == 0, run.output
        written = Target.load(out)
        assert [(network.name, network.ms) for network in written.networks] == _XAVIER
        assert written.coefficients is not None
        assert written.provenance["licence"] == "MIT"
        before = (out / "coefficients.json").read_bytes()
        again = CliRunner().invoke(main, ["jetson-agx-xavier", "--out", str(out)])  # from what the folder keeps
        assert again.exit_code == 0, again.output
        assert (out / "coefficients.json").read_bytes() == before

    def test_a_missing_package_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        _torch2trt(tmp_path)
        monkeypatch.setitem(__import__("sys").modules, "torch", None)
        with pytest.raises(UnsupportedError, match=r"torch.*--graphs"):
            make("jetson-agx-xavier", tmp_path, tmp_path / "graphs")

    def test_nothing_to_fit_again(self, tmp_path: Path) -> None:
        run = CliRunner().invoke(main, ["jetson-agx-xavier", "--out", str(tmp_path)])
        assert run.exit_code == 1
        assert "no target" in run.output

    def test_a_target_that_is_not_made_here(self, tmp_path: Path) -> None:
        with pytest.raises(TargetError, match="jetson-nano"):
            make("toaster", tmp_path, tmp_path)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_definitions_have_rules_and_provenance(name: str) -> None:
    target = DEFINITIONS[name].target
    rules = load_rules(target.rules)
    assert (target.name, rules.runtime) == (name, target.runtime)
    assert {"source", "licence", "date", "command", "notes"} <= target.provenance.keys()
