"""Beyond protobuf's two gigabytes. Slow: `pytest -m slow tests/ir/test_large.py` writes about 5 GB into the temporary folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

import graphopt.ir as ir
from graphopt.errors import UnsupportedError
from tests.ir.external import litter
from tests.models import read, write

ROWS = 75_000
WIDTH = 4096  # floats: 1.23 GB a table

pytestmark = pytest.mark.slow


def two_tables() -> ir.Graph:
    """ids -> Gather of two tables -> Add -> y, with pending tables of 2.46 GB together."""
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", ["ids"], ["same"])],
        "g",
        [info("ids", TensorProto.INT64, ["n"])],
        [info("same", TensorProto.INT64, ["n"])],
    )
    result = ir.Graph.from_proto(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)]))
    rows = []
    for n in (1, 2):
        table = result.add_initializer(f"table{n}", ir.LazyTensor(TensorProto.FLOAT, (ROWS, WIDTH), lambda n=n: filled(n)))
        rows.append(result.add_node("Gather", [table, result.inputs[0]], [f"rows{n}"]).outputs[0])
    result.add_node("Add", rows, ["y"])
    return result.copy()


def filled(n: int) -> np.ndarray:
    table = np.zeros((ROWS, WIDTH), np.float32)
    table[:, 0] = np.arange(ROWS) * n
    return table


def run(path: Path) -> np.ndarray:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    model = read(path)
    model.graph.output.append(onnx.ValueInfoProto(name="y"))
    watched = write(path.with_name("watched.onnx"), model)
    session = ort.InferenceSession(str(watched), options, providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(["y"], {"ids": np.array([0, 1, ROWS - 1])})[0]
    watched.unlink()
    return result


def test_a_model_over_2_gb_saves_loads_and_runs(tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    ir.save(two_tables(), path)
    assert path.stat().st_size < 10_000
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) > 2**31
    np.testing.assert_array_equal(run(path)[:, 0], [0, 3, 3 * (ROWS - 1)])
    onnx.checker.check_model(str(path))
    ir.verify(ir.load(path))

    graph = ir.load(path)
    table = graph.value("table2")
    contents = table.tensor
    assert contents is not None
    graph.set_tensor(table, ir.LazyTensor(TensorProto.FLOAT, contents.shape, lambda: contents.numpy() * np.float32(2)))
    ir.save(graph, path)
    np.testing.assert_array_equal(run(path)[:, 0], [0, 5, 5 * (ROWS - 1)])
    assert len(litter(tmp_path)) == 2


def test_what_cannot_be_one_message_is_said() -> None:
    graph = two_tables()
    with pytest.raises(UnsupportedError, match="2 GB"):
        graph.to_proto()


def test_loading_and_editing_takes_little_memory(tmp_path: Path) -> None:
    """Measured in a process of its own: a fourth of one table at most, though both are rewritten (their pages are mapped one table at a time)."""
    path = tmp_path / "large.onnx"
    rows = []
    for n in range(24):
        tensor = TensorProto(name=f"w{n}", data_type=TensorProto.FLOAT, dims=[25, 1024, 1024], data_location=TensorProto.EXTERNAL)
        for key, value in {"location": "sparse.bin", "offset": str(n * 25 * 2**22), "length": str(25 * 2**22)}.items():
            tensor.external_data.add(key=key, value=value)
        rows.append(tensor)
    with (tmp_path / "sparse.bin").open("wb") as file:
        file.truncate(24 * 25 * 2**22)  # 2.5 GB of zeros that take no space
    graph = helper.make_graph([], "g", [], [], rows)
    write(path, helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)]))
    (tmp_path / "out").mkdir()
    code = (
        "import sys, numpy as np, graphopt.ir as ir\n"
        "from pathlib import Path\n"
        "def peak(): return int(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0]) // 1024\n"
        "graph = ir.load(sys.argv[1]); before = peak()\n"
        "for value in graph.initializers:\n"
        "    old = value.tensor\n"
        "    graph.set_tensor(value, ir.LazyTensor(old.elem_type, old.shape, lambda old=old: old.numpy() + np.float32(1)))\n"
        "copy = graph.copy(); copy.types(); ir.save(copy, sys.argv[2])\n"
        "print(peak() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(tmp_path / "out" / "model.onnx")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 350, "megabytes: one tensor of 100 MB mapped, one computed, and something to spare"
    last = ir.load(tmp_path / "out" / "model.onnx").value("w23").tensor
    assert last is not None
    assert float(last.numpy()[-1, -1, -1]) == 1.0
