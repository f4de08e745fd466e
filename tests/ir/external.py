"""Models with external data, and a child process to break things in."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

import graphopt.ir as ir

FLOAT = TensorProto.FLOAT
COUNT = 3  # weights of a model
SIZE = 5000  # floats in each


def contents(n: int, factor: float = 1.0) -> np.ndarray:
    return (np.arange(SIZE, dtype=np.float32) + np.float32(n)) * np.float32(factor)


def external_tensor(name: str, size: int, **entries: str) -> TensorProto:
    tensor = TensorProto(name=name, data_type=FLOAT, dims=[size], data_location=TensorProto.EXTERNAL)
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def external_model(**entries: str) -> onnx.ModelProto:
    """x + w0 + w1 + w2 = y with the weights one after the other in 'w.bin'; `entries` override w1's external_data."""
    info = helper.make_tensor_value_info
    nodes = [helper.make_node("Add", ["x" if n == 0 else f"v{n}", f"w{n}"], ["y" if n == COUNT - 1 else f"v{n + 1}"]) for n in range(COUNT)]
    weights = []
    for n in range(COUNT):
        where = {"location": "w.bin", "offset": str(n * SIZE * 4), "length": str(SIZE * 4)} | (entries if n == 1 else {})
        weights.append(external_tensor(f"w{n}", SIZE, **where))
    graph = helper.make_graph(nodes, "g", [info("x", FLOAT, [SIZE])], [info("y", FLOAT, [SIZE])], weights)
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)])


def write_data(path: Path, factor: float = 1.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(contents(n, factor).tobytes() for n in range(COUNT)))


def write_model(folder: Path, factor: float = 1.0, **entries: str) -> Path:
    """model.onnx and w.bin in `folder`."""
    write_data(folder / "w.bin", factor)
    path = folder / "model.onnx"
    path.write_bytes(external_model(**entries).SerializeToString())
    return path


def factor_of(path: Path) -> float:
    """By what the weights of the model at `path` were multiplied: all by the same, or this fails."""
    return factor_in(ir.load(path))


def factor_in(graph: ir.Graph) -> float:
    factors = set()
    for n in range(COUNT):
        array = graph.constant(graph.value(f"w{n}"))
        assert array is not None
        factor = float(array[-1] / contents(n)[-1])
        np.testing.assert_array_equal(array, contents(n, factor))
        factors.add(factor)
    assert len(factors) == 1, f"a mixture of old and new weights: {factors}"
    return factors.pop()


def multiply(graph: ir.Graph, factor: float) -> None:
    """A pending edit of every weight."""
    for value in graph.initializers:
        old = value.tensor
        assert old is not None
        graph.set_tensor(value, ir.LazyTensor(old.elem_type, old.shape, lambda old=old: old.numpy() * np.float32(factor)))


def in_child(work: Callable[[], object]) -> int:
    """The exit status of a forked child that runs `work`: 0, 1 for an exception, -n where signal n ended it."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def litter(folder: Path, *expected: str) -> list[str]:
    return sorted({str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - set(expected))
