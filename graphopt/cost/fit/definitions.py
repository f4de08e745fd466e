"""The targets that are made from published measurements: the device, where the figures stand, and how the laws are found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from graphopt.cost.fit import tables
from graphopt.cost.fit.tables import Published
from graphopt.cost.target import Target

# What waits for memory and does not compute, in TensorRT at one price: there are too few networks to tell a Concat from a sum.
_MEMORY = [
    *("batchnormalization", "layernormalization", "binary", "binary.broadcast", "relu", "sigmoid", "swish", "gelu", "unary", "cast"),
    *("concat", "split", "slice", "transpose", "gather", "resize", "reduce", "pool.max", "pool.average", "pool.global"),
]
_PRICED = ("launch", "macs", "in_bytes", "out_bytes", "weight_bytes")
_UNFOLDED = {"conv.dense": ("unfolded",)}  # TensorFlow Lite writes out the pixels under the window before it multiplies matrices


@dataclass(frozen=True)
class Definition:
    """A target to be.

    `target` has everything but measurements; `published` lists its networks from a folder of tables; `operations` names the column of times
    and that of fused chains where single kernels were published, too.
    """

    target: Target
    published: Callable[[Path], Iterable[Published]]
    operations: tuple[str, str] | None = None


_TORCH2TRT = {"source": "github.com/NVIDIA-AI-IOT/torch2trt, docs/benchmarks", "licence": "MIT"}
_CHIPS = "The table names phones; the names of the chips are general knowledge."
_EFFICIENTVIT = "github.com/mit-han-lab/efficientvit, applications/efficientvit_cls/README.md (EfficientViT-B)"
_QED = {
    "source": "github.com/qed-usc/mobile-ml-benchmark, dataset/tflite_cnn_e2e.csv",
    "licence": "MIT",
    "commit": "40ba833",
    "date": "2024-02-22",
}
_MLPERF = {
    "source": "github.com/mlcommons/inference_results_v2.1, open and closed division, submitter Krai, TFLite v2.7.1 with ruy, single stream",
    "licence": "Apache-2.0",
    "commit": "91f7859",
    "date": "2022-09",
}
# In the tables of the phones the classifier is mostly a convolution of one pixel: it costs what a fully connected layer costs.
_FULLY_CONNECTED = {"gemv": "conv.pointwise"}
_SHORT = {"float32": "fp32", "float16": "fp16", "int8": "int8"}  # precisions in the tables


def _provenance(name: str, found: Mapping[str, str], notes: str) -> dict[str, str]:
    return {**found, "command": f"python -m graphopt.cost.fit {name} --data DIR", "notes": notes}


def _jetson(name: str, device: str, alias: str, fit: Mapping[str, Any], provenance: Mapping[str, str], notes: str) -> Target:
    return Target(
        name=name,
        device=f"NVIDIA {device}",
        description=f"{device}, TensorRT, float16, batch 1",
        runtime="tensorrt",
        runtime_version="not stated",
        provider="GPU",
        rules="tensorrt",
        precision="float16",
        threads=0,
        block=8,
        align=8,
        aliases=tuple(alias.split()),
        fit=fit,
        provenance=_provenance(name, provenance, notes),
    )


def _tflite_cpu(
    name: str, device: str, what: str, precision: str, alias: str, provenance: Mapping[str, str], notes: str, groups: Mapping[str, str]
) -> Target:
    return Target(
        name=name,
        device=device,
        description=f"{device}, TensorFlow Lite on {what}, {precision}, batch 1",
        runtime="tflite",
        runtime_version="2.7.1" if provenance is _MLPERF else "not stated",
        provider="CPU",
        rules="tflite-cpu",
        precision=precision,
        threads=0 if provenance is _MLPERF else 1,
        align=8,
        aliases=tuple(alias.split()),
        fit={"features": _PRICED, "extra": _UNFOLDED, **({"groups": groups} if groups else {})},
        provenance=_provenance(name, provenance, notes),
    )


def _phone_cpu(name: str, device: str, phone: str, precision: str, alias: str) -> Definition:
    notes = (
        "Convolutional networks of 224 pixels, rebuilt with pytorchcv: the same operations, not the same file; padding may differ. "
        + _CHIPS
    )
    target = _tflite_cpu(name, device, "one large core", precision, alias, _QED, notes, _FULLY_CONNECTED)
    return Definition(target, partial(_mobile, device=phone, precision=_SHORT[precision], cores="1large"))


def _phone_gpu(name: str, device: str, phone: str, times: str, chains: str, alias: str) -> Definition:
    notes = (
        "Kernels are those of the per-operator table; element-wise operations that stand alone are not in it, their laws come from whole "
        f"networks. {_CHIPS}"
    )
    target = Target(
        name=name,
        device=device,
        description=f"{device}, TensorFlow Lite's GPU delegate, float16, batch 1",
        runtime="tflite",
        runtime_version="not stated",
        provider="GPU delegate",
        rules="tflite-gpu",
        precision="float16",
        threads=0,
        block=4,
        align=4,
        aliases=tuple(alias.split()),
        # Handing over a picture and waiting for the answer costs every network about a millisecond. Element-wise operations compute little.
        fit={"constant": True, "features": ("launch", "bytes")},
        provenance=_provenance(name, _QED | {"source": f"{_QED['source']} and tflite_cnn_ops_gpu.csv"}, notes),
    )
    return Definition(target, partial(_mobile, device=phone, precision="fp16", cores="gpu"), (times, chains))


def _board(name: str, precision: str, alias: str) -> Definition:
    notes = (
        "Mean time of a query as LoadGen sees it. MobileNet v1 to v3, EfficientNet-Lite and ResNet-50 only, rebuilt with timm and torchvision. "
        "Threads are not stated. int8 networks are the float graphs, quantised by the submitter."
    )
    target = _tflite_cpu(name, "Raspberry Pi 4B (Cortex-A72)", "the CPU, with ruy", precision, alias, _MLPERF, notes, {})
    return Definition(target, partial(_mlperf, device="raspberry-pi-4b", precision=_SHORT[precision]))


def _mobile(data: Path, device: str, precision: str, cores: str) -> Iterable[Published]:
    return tables.mobile(data, device, precision, cores)


def _mlperf(data: Path, device: str, precision: str) -> Iterable[Published]:
    return tables.mlperf(data, device, precision)


def _nano(data: Path) -> Iterable[Published]:
    return [*tables.torch2trt(data, "jetson-nano"), *tables.efficientvit(data, "jetson-nano")]


def _xavier(data: Path) -> Iterable[Published]:
    return tables.torch2trt(data, "jetson-agx-xavier")


_NANO = _jetson(
    "jetson-nano",
    "Jetson Nano",
    "jetson nano",
    {
        "features": _PRICED,
        "groups": dict.fromkeys(_MEMORY, "memory") | {"conv.grouped": "conv.depthwise", "bmm": "gemm", "gemv": "gemm"},
        "constant": True,
    },
    _TORCH2TRT
    | {
        "source": f"{_TORCH2TRT['source']}; {_EFFICIENTVIT}",
        "licence": "MIT (torch2trt); that of the README of EfficientViT was not looked up",
        "date": "2019-06-19 (torch2trt); not stated (EfficientViT)",
    },
    "Power mode, clocks and the version of TensorRT are not stated. Depthwise and attention kernels only from EfficientViT, measured by another "
    "laboratory, whose times include the transfer of data.",
)
_AGX_XAVIER = _jetson(
    "jetson-agx-xavier",
    "Jetson AGX Xavier",
    "xavier",
    {},
    _TORCH2TRT | {"date": "2019-10-04"},
    "The table of docs/benchmarks; by that of the README, an earlier run, DenseNets are twice as fast. Power mode, clocks and the "
    "version of TensorRT are not stated. Small networks are bound by launches.",
)

DEFINITIONS: Mapping[str, Definition] = {
    definition.target.name: definition
    for definition in (
        Definition(_NANO, _nano),
        Definition(_AGX_XAVIER, _xavier),
        _phone_gpu("adreno-640", "Adreno 640 (Pixel 4)", "pixel-4", "pixel_4_ms", "fused_adreno640", "pixel-4-gpu"),
        _phone_gpu("mali-g76", "Mali-G76 (Galaxy S10)", "galaxy-s10", "galaxy_s10_ms", "fused_mali_g76", "galaxy-s10-gpu"),
        _phone_gpu("apple-a12-gpu", "Apple A12 GPU (iPhone XS)", "iphone-xs", "iphone_xs_ms", "fused_iphone_xs", "iphone-xs-gpu"),
        _phone_cpu("pixel-4-cpu", "Snapdragon 855 (Pixel 4)", "pixel-4", "float32", "snapdragon-855-cpu"),
        _phone_cpu("pixel-4-cpu-int8", "Snapdragon 855 (Pixel 4)", "pixel-4", "int8", "snapdragon-855-cpu-int8"),
        _phone_cpu("iphone-xs-cpu", "Apple A12 (iPhone XS)", "iphone-xs", "float32", "apple-a12"),
        _board("raspberry-pi-4", "float32", "rpi4"),
        _board("raspberry-pi-4-int8", "int8", "rpi4-int8"),
    )
}
