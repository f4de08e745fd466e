"""Models in another precision, converted by ONNX Runtime's own tools."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx

from graphopt.errors import UnsupportedError
from graphopt.ir import Graph, save
from graphopt.ir.verify import one_line
from graphopt.quality.inputs import synthetic_inputs

PRECISIONS = ("float32", "float16", "int8")

_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear")


def precision_of(graph: Graph) -> str:
    """`int8` where the model computes on quantized tensors, `float16` where its weights are, else `float32`."""
    if any(node.op_type in _QUANTIZED for node in graph.nodes):
        return "int8"
    halves = sum(value.tensor.size for value in graph.initializers if value.tensor and value.tensor.elem_type == onnx.TensorProto.FLOAT16)
    singles = sum(value.tensor.size for value in graph.initializers if value.tensor and value.tensor.elem_type == onnx.TensorProto.FLOAT)
    return "float16" if halves > singles else "float32"


def converted(graph: Graph, precision: str) -> Graph:
    """The model in that precision: itself where it is already; otherwise a float32 model converted, for its speed only.

    int8: static quantization in ONNX Runtime's QDQ format, weights per channel, with ranges from made-up inputs. Raises UnsupportedError
    where the model has another precision than float32, or ONNX Runtime's tools cannot convert it.
    """
    own = precision_of(graph)
    if own == precision:
        return graph
    if own != "float32":
        raise UnsupportedError(f"the model is {own} and cannot be measured as {precision}; only float32 models are converted")
    try:
        with _quiet():
            return _half(graph) if precision == "float16" else _quantized(graph)
    except Exception as error:  # the tools raise whatever they come across
        raise UnsupportedError(f"ONNX Runtime's tools cannot convert the model to {precision}: {one_line(error)}") from error


def _half(graph: Graph) -> Graph:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return Graph.from_proto(convert_float_to_float16(graph.to_proto()))


def _quantized(graph: Graph) -> Graph:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class OneRun(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self._runs: Iterator[dict[str, Any]] = iter([synthetic_inputs(graph).one_run()])

        def get_next(self) -> dict[str, Any] | None:
            return next(self._runs, None)

    with tempfile.TemporaryDirectory(prefix="graphopt-", ignore_cleanup_errors=True) as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        save(graph, before)
        quantize_static(
            str(before),
            str(after),
            OneRun(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
        )
        return Graph.from_proto(onnx.load(after))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice that the tools log."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
