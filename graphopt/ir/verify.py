"""Checking that a graph is what it claims to be: its structure, ONNX's rules, its types, and that ONNX Runtime takes it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
from onnx import shape_inference

from graphopt.errors import InvalidModelError, VerifyError
from graphopt.ir.emit import emit_model
from graphopt.ir.fit import misfits
from graphopt.ir.graph import Graph
from graphopt.ir.node import Value
from graphopt.ir.save import save

_LARGEST_IN_MEMORY = 2**30  # bytes of weights; larger models are checked from a temporary file


def verify(graph: Graph, runtime: bool = True) -> None:
    """Raise VerifyError, naming the place, where the root `graph` is inconsistent, breaks ONNX's rules, or (with `runtime`) does not load.

    Declared output types are compared with inferred ones; `onnx.checker` and ONNX Runtime's loader are run on the model as it would be saved.
    """
    check_structure(graph)
    for misfit in misfits(graph):
        raise VerifyError(misfit)
    weights = sum(value.tensor.nbytes for value in graph.initializers if value.tensor is not None)
    if weights > _LARGEST_IN_MEMORY:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            save(graph, path)
            _check_model(str(path))
            if runtime:
                _check_runtime(str(path))
        return
    model = emit_model(graph)
    _check_model(model)
    if runtime:
        _check_runtime(model.SerializeToString())


def check_structure(graph: Graph) -> None:
    """Raise VerifyError where nodes, values and the edges of `graph.nx` disagree, in subgraphs too."""
    try:
        nodes = graph.nodes
    except InvalidModelError as error:
        raise VerifyError(str(error)) from error
    expected: set[tuple[Any, Any, int]] = {(v, node, slot) for node in nodes for slot, v in enumerate(node.inputs) if v is not None}
    expected |= {(v, node, -1 - i) for node in nodes for i, v in enumerate(node.captures)}
    expected |= {(node, v, slot) for node in nodes for slot, v in enumerate(node.outputs) if v is not None}
    for source, sink, slot in sorted(set(graph.nx.edges(keys=True)) ^ expected, key=repr):
        raise VerifyError(f"the edge {source!r} → {sink!r} in slot {slot} is on one side only of graph {graph.name!r}")
    for name, value in graph.values.items():
        if value.name != name or value.graph is not graph:
            raise VerifyError(f"value {value.name!r} is filed under {name!r} in graph {graph.name!r}")
        if value.producer is None and not value.is_initializer and not graph.is_input(value):
            raise VerifyError(f"value {name!r} of graph {graph.name!r} has no producer and is neither input nor initializer")
    for output in graph.outputs:
        _check_visible(graph, output, "an output")
    for node in nodes:
        if node.graph is not graph:
            raise VerifyError(f"node {node.label} is in graph {graph.name!r} but does not belong to it")
        for read in node.inputs:
            if read is not None:
                _check_visible(graph, read, f"an input of {node.label}")
        for subgraph in node.subgraphs:
            if subgraph.parent is not graph or subgraph.owner is not node:
                raise VerifyError(f"a subgraph of node {node.label} does not know its place")
            check_structure(subgraph)


def _check_visible(graph: Graph, value: Value, what: str) -> None:
    scope: Graph | None = graph
    while scope is not None:
        if scope.values.get(value.name) is value:
            return
        scope = scope.parent
    raise VerifyError(f"{what} of graph {graph.name!r}, {value.name!r}, is not defined in it or around it")


def _check_model(model: onnx.ModelProto | str) -> None:
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise VerifyError(f"onnx.checker refuses the model: {one_line(error)}") from error
    if isinstance(model, str):
        return
    try:
        shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    except shape_inference.InferenceError as error:
        raise VerifyError(f"shape inference finds a contradiction: {one_line(error)}") from error


def _check_runtime(model: bytes | str) -> None:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a family without a common public base
        raise VerifyError(f"ONNX Runtime cannot load the model: {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """The first lines of a library's message as one."""
    return " ".join(str(error).split())[:400]
