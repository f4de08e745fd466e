"""Loading and saving beside raw onnx, onnx-ir and onnx-graphsurgeon: time and peak memory.

    python benchmarks/ir.py            # everything, about five minutes; 5 GB of disk in the temporary folder
    python benchmarks/ir.py --quick    # one repeat of each

Every figure is the median of interleaved repeats, each in a fresh interpreter; imports are not timed but count in the memory, which is the
peak resident set (memory-mapped pages included). Work: load, convert to the tool's graph, export, save into another folder. Exits with
status 1 when one of the limits is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LAYERS = 48
WIDTH = 2912  # 48 weights of 2912 x 2912 floats: 1.63 GB


# ---- models


def _model(nodes: list[Any], shape: list[Any], initializers: list[Any], output: str, out_shape: list[Any]) -> onnx.ModelProto:
    info = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [info("x", TensorProto.FLOAT, shape)], [info(output, TensorProto.FLOAT, out_shape)], initializers)
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)])


def resnet50() -> onnx.ModelProto:
    """53 convolutions, each with a BatchNormalization, in bottleneck blocks: 102 MB."""
    rng = np.random.default_rng(0)
    nodes: list[Any] = []
    weights: list[Any] = []

    def constant(name: str, array: Any) -> str:
        weights.append(numpy_helper.from_array(np.asarray(array, np.float32), name))
        return name

    def conv(x: str, channels: int, filters: int, size: int, stride: int, relu: bool = True) -> str:
        n = f"conv{len(nodes)}"
        w = constant(f"{n}.w", rng.standard_normal((filters, channels, size, size), np.float32) * np.sqrt(2 / (channels * size * size)))
        nodes.append(
            helper.make_node("Conv", [x, w], [f"{n}.c"], name=n, pads=[size // 2] * 4, strides=[stride] * 2, kernel_shape=[size] * 2)
        )
        norm = [constant(f"{n}.{part}", np.full(filters, part in ("scale", "var"))) for part in ("scale", "bias", "mean", "var")]
        nodes.append(helper.make_node("BatchNormalization", [f"{n}.c", *norm], [f"{n}.n"], name=f"{n}.norm"))
        if relu:
            nodes.append(helper.make_node("Relu", [f"{n}.n"], [f"{n}.r"], name=f"{n}.relu"))
        return f"{n}.r" if relu else f"{n}.n"

    x = conv("x", 3, 64, 7, 2)
    nodes.append(helper.make_node("MaxPool", [x], ["pool"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4))
    x, channels = "pool", 64
    for stage, (blocks, width) in enumerate([(3, 64), (4, 128), (6, 256), (3, 512)]):
        for block in range(blocks):
            stride = 2 if block == 0 and stage else 1
            y = conv(conv(conv(x, channels, width, 1, 1), width, width, 3, stride), width, 4 * width, 1, 1, relu=False)
            short = conv(x, channels, 4 * width, 1, stride, relu=False) if block == 0 else x
            channels = 4 * width
            nodes.append(helper.make_node("Add", [y, short], [f"{y}.sum"]))
            nodes.append(helper.make_node("Relu", [f"{y}.sum"], [f"{y}.out"]))
            x = f"{y}.out"
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["mean"]))
    nodes.append(helper.make_node("Flatten", ["mean"], ["flat"]))
    nodes.append(
        helper.make_node(
            "Gemm", ["flat", constant("fc.w", rng.standard_normal((1000, 2048)) * 0.01), constant("fc.b", np.zeros(1000))], ["y"], transB=1
        )
    )
    return _model(nodes, ["N", 3, 224, 224], weights, "y", ["N", 1000])


def ten_thousand() -> onnx.ModelProto:
    """10,000 nodes in a chain with 5,000 small initializers."""
    nodes = []
    weights = []
    for n in range(5000):
        weights.append(numpy_helper.from_array(np.full(8, 1 + n % 7, np.float32), f"w{n}"))
        nodes.append(helper.make_node("Add", [f"v{n}" if n else "x", f"w{n}"], [f"a{n}"], name=f"add_{n}"))
        nodes.append(helper.make_node("Relu", [f"a{n}"], [f"v{n + 1}"], name=f"relu_{n}"))
    return _model(nodes, ["N", 8], weights, "v5000", ["N", 8])


def write_external(folder: Path) -> None:
    """1.6 GB of external weights in 48 MatMul nodes."""
    nodes, weights = [], []
    size = WIDTH * WIDTH * 4
    tile = np.random.default_rng(0).standard_normal(WIDTH * WIDTH, np.float32)
    with (folder / "weights.bin").open("wb") as file:
        for n in range(LAYERS):
            tensor = TensorProto(name=f"w{n}", data_type=TensorProto.FLOAT, dims=[WIDTH, WIDTH], data_location=TensorProto.EXTERNAL)
            for key, value in {"location": "weights.bin", "offset": str(n * size), "length": str(size)}.items():
                tensor.external_data.add(key=key, value=value)
            weights.append(tensor)
            nodes.append(helper.make_node("MatMul", [f"v{n}" if n else "x", f"w{n}"], [f"v{n + 1}"]))
            file.write(np.roll(tile, n).tobytes())
    (folder / "external.onnx").write_bytes(_model(nodes, ["N", WIDTH], weights, f"v{LAYERS}", ["N", WIDTH]).SerializeToString())


# ---- work, in a process of its own: a function that imports, and returns what is timed


def graphopt_copy(source: str, target: str) -> Callable[[], object]:
    import graphopt.ir as ir

    return lambda: ir.save(ir.load(source), target)


def graphopt_halved(source: str, target: str) -> Callable[[], object]:
    import graphopt.ir as ir

    def work() -> None:
        graph = ir.load(source)
        for value in graph.initializers:
            tensor = value.tensor
            assert tensor is not None
            graph.set_tensor(value, ir.LazyTensor(tensor.elem_type, tensor.shape, lambda tensor=tensor: tensor.numpy() * np.float32(0.5)))
        ir.save(graph, target)

    return work


def graphopt_simplify(source: str, target: str) -> Callable[[], object]:
    import graphopt

    graph = graphopt.load(source)
    return lambda: graphopt.run(graph, "simplify")


def onnx_copy(source: str, target: str) -> Callable[[], object]:
    def work() -> None:
        onnx.save(onnx.load(source), target, **_external(source))

    return work


def onnx_halved(source: str, target: str) -> Callable[[], object]:
    def work() -> None:
        model = onnx.load(source)
        for tensor in model.graph.initializer:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(0.5), tensor.name))
        onnx.save(model, target, **_external(source))

    return work


def onnx_ir_copy(source: str, target: str) -> Callable[[], object]:
    import onnx_ir

    external = {"external_data": "weights.bin"} if _external(source) else {}
    return lambda: onnx_ir.save(onnx_ir.load(source), target, **external)


def onnx_ir_halved(source: str, target: str) -> Callable[[], object]:
    import onnx_ir

    def work() -> None:
        model = onnx_ir.load(source)
        for value in model.graph.initializers.values():
            old = value.const_value
            assert old is not None
            value.const_value = onnx_ir.LazyTensor(
                lambda old=old: onnx_ir.tensor(old.numpy() * np.float32(0.5), name=old.name),
                dtype=old.dtype,
                shape=old.shape,
                name=old.name,
            )
        onnx_ir.save(model, target, external_data="weights.bin")

    return work


def surgeon_copy(source: str, target: str) -> Callable[[], object]:
    import onnx_graphsurgeon as gs

    return lambda: onnx.save(gs.export_onnx(gs.import_onnx(onnx.load(source))), target, **_external(source))


def _external(source: str) -> dict[str, Any]:
    if "external" not in Path(source).name:
        return {}
    return {"save_as_external_data": True, "all_tensors_to_one_file": True, "location": "weights.bin"}


def peak_mb() -> float:
    """Peak resident memory of this process. VmHWM starts anew with exec, ru_maxrss would count what the parent held when it forked."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def worker(function: str, source: str, target: str) -> None:
    work = globals()[function](source, target)
    before = peak_mb()
    start = time.perf_counter()
    work()
    print(json.dumps({"seconds": time.perf_counter() - start, "mb": peak_mb(), "imports_mb": before}))


# ---- the table

CASES: list[tuple[str, str, dict[str, str]]] = [
    (
        "ResNet-50-like, 102 MB",
        "resnet50",
        {"graphopt": "graphopt_copy", "onnx": "onnx_copy", "onnx-ir": "onnx_ir_copy", "graphsurgeon": "surgeon_copy"},
    ),
    (
        "10,000 nodes, 5,000 initializers",
        "nodes",
        {"graphopt": "graphopt_copy", "onnx": "onnx_copy", "onnx-ir": "onnx_ir_copy", "graphsurgeon": "surgeon_copy"},
    ),
    (
        "1.6 GB external, untouched",
        "external",
        {"graphopt": "graphopt_copy", "onnx": "onnx_copy", "onnx-ir": "onnx_ir_copy", "graphsurgeon": "surgeon_copy"},
    ),
    ("1.6 GB external, halved lazily", "external", {"graphopt": "graphopt_halved", "onnx": "onnx_halved", "onnx-ir": "onnx_ir_halved"}),
    ("simplify, 10,000 nodes", "nodes", {"graphopt": "graphopt_simplify"}),
]


def measure(repeats: int, only: str) -> dict[str, dict[str, dict[str, float]]]:
    results: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="graphopt-bench-") as name:
        folder = Path(name)
        onnx.save(resnet50(), folder / "resnet50.onnx")
        onnx.save(ten_thousand(), folder / "nodes.onnx")
        cases = [case for case in CASES if only in case[0]]
        if any(model == "external" for _, model, _ in cases):
            write_external(folder)
        for title, model, tools in cases:
            runs: dict[str, list[dict[str, float]]] = {tool: [] for tool in tools}
            for _ in range(repeats):
                for tool, function in tools.items():
                    runs[tool].append(run_once(function, folder / f"{model}.onnx", folder))
            results[title] = {tool: {key: statistics.median(run[key] for run in each) for key in each[0]} for tool, each in runs.items()}
    return results


def run_once(function: str, source: Path, folder: Path) -> dict[str, float]:
    os.sync()  # what an earlier run left to be written must not slow this one
    with tempfile.TemporaryDirectory(dir=folder) as out:
        command = [sys.executable, __file__, "--worker", function, str(source), str(Path(out) / "model.onnx")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{function} failed:\n{done.stderr}")
    result: dict[str, float] = json.loads(done.stdout)
    return result


def limits(results: dict[str, dict[str, dict[str, float]]]) -> list[tuple[str, float, float]]:
    """(what, measured, at most)."""
    found = []

    def ratio(title: str, other: str, at_most: float) -> None:
        if title in results:
            tools = results[title]
            found.append((f"{title}: time / {other}", tools["graphopt"]["seconds"] / tools[other]["seconds"], at_most))

    ratio(CASES[0][0], "onnx", 1.2)
    ratio(CASES[1][0], "graphsurgeon", 0.5)
    for title, _, _ in CASES[2:4]:
        ratio(title, "onnx-ir", 1.5)
        if title in results:
            found.append((f"{title}: peak MB", results[title]["graphopt"]["mb"], 200))
    if CASES[4][0] in results:
        found.append((f"{CASES[4][0]}: seconds", results[CASES[4][0]]["graphopt"]["seconds"], 5))
    return found


def machine() -> str:
    cpu = next((line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")), platform.processor())
    packages = " ".join(f"{name} {version(name)}" for name in ("onnx", "onnx-ir", "onnx-graphsurgeon", "numpy", "networkx"))
    return f"{cpu}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}; {packages}"


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker", nargs=3, metavar=("FUNCTION", "SOURCE", "TARGET"), help=argparse.SUPPRESS)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one repeat")
    parser.add_argument("--only", default="", help="cases whose title contains this")
    options = parser.parse_args()
    if options.worker:
        worker(*options.worker)
        return 0
    results = measure(1 if options.quick else options.repeats, options.only)
    print(machine())
    tools = ["graphopt", "onnx", "onnx-ir", "graphsurgeon"]
    print("\n| load + save (median seconds, peak MB) | " + " | ".join(tools) + " |\n| --- |" + " --- |" * len(tools))
    for title, by_tool in results.items():
        cells = [f"{by_tool[t]['seconds']:.2f} s, {by_tool[t]['mb']:.0f} MB" if t in by_tool else "" for t in tools]
        print(f"| {title} | " + " | ".join(cells) + " |")
    print()
    missed = False
    for what, measured, at_most in limits(results):
        missed = missed or measured > at_most
        print(f"{'PASS' if measured <= at_most else 'FAIL'}  {what}: {measured:.2f} (at most {at_most:g})")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
