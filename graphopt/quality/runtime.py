"""ONNX Runtime sessions on the CPU."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from graphopt.errors import RuntimeRefusedError
from graphopt.ir import Graph, save
from graphopt.ir.emit import emit_model
from graphopt.ir.verify import one_line
from graphopt.quality.arrays import AnyArray
from graphopt.quality.deadline import check_time
from graphopt.quality.threads import default_threads

Model = Graph | onnx.ModelProto | str | os.PathLike[str]

_LARGEST_IN_MEMORY = 2**30  # bytes of weights; a larger graph is handed over through a temporary file


def session(model: Model, threads: int | None = None, optimize: bool = True) -> ort.InferenceSession:
    """A session for a graph, a model in memory or a file, computing with `threads` threads (all processors by default).

    `optimize` is ONNX Runtime's own graph optimization, all of it or none. Raises RuntimeRefusedError, in one line, where ONNX Runtime does
    not take the model.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what is fatal; everything else arrives as an exception too
    options.intra_op_num_threads = threads or default_threads()
    options.inter_op_num_threads = 1
    # Threads that spin after a run would take processors from another session that is measured in turn.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    match model:
        case Graph():
            return _graph_session(model, options)
        case onnx.ModelProto():
            if model.ByteSize() > _LARGEST_IN_MEMORY:
                return _graph_session(Graph.from_proto(model), options)
            return _open(model.SerializeToString(), options)
        case _:
            return _open(os.fspath(model), options)


def _graph_session(graph: Graph, options: ort.SessionOptions) -> ort.InferenceSession:
    if sum(value.tensor.nbytes for value in graph.initializers if value.tensor is not None) <= _LARGEST_IN_MEMORY:
        return _open(emit_model(graph).SerializeToString(), options)
    with tempfile.TemporaryDirectory(prefix="graphopt-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "model.onnx"
        save(graph, path)
        return _open(str(path), options)


def _open(model: bytes | str, options: ort.SessionOptions) -> ort.InferenceSession:
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a family without a common public base
        raise RuntimeRefusedError(f"ONNX Runtime cannot load the model: {one_line(error)}") from error


def run(session: ort.InferenceSession, feeds: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    """The outputs by name. Elements of a sequence or map come one by one, as `name[0]` or `name[key]`; an absent optional not at all.

    Raises RuntimeRefusedError where ONNX Runtime fails on these inputs, OutOfTimeError where the time is over.
    """
    check_time()
    names = [output.name for output in session.get_outputs()]
    try:
        results = session.run(names, dict(feeds))
    except Exception as error:
        raise RuntimeRefusedError(f"ONNX Runtime cannot run the model: {one_line(error)}") from error
    return {key: array for name, result in zip(names, results, strict=True) for key, array in _arrays(name, result)}


def _arrays(name: str, result: Any) -> Iterator[tuple[str, AnyArray]]:
    match result:
        case None:
            return
        case list():
            for place, item in enumerate(result):
                yield from _arrays(f"{name}[{place}]", item)
        case dict():
            for key, item in result.items():
                yield from _arrays(f"{name}[{key}]", item)
        case _ if isinstance(result, ort.SparseTensor):
            yield name, np.asarray(result.values())
        case _:
            yield name, np.asarray(result)
