"""The oracle of the lossless passes: ONNX Runtime runs the model before and after on the same random inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from graphopt import ir
from graphopt.pipeline import Context, Pass, PassResult

Arrays = Mapping[str, Any]


def session(model: onnx.ModelProto) -> ort.InferenceSession:
    """One thread and no optimisations: what the model says is what is run."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def random_inputs(model: onnx.ModelProto, seed: int = 0, size: int = 3) -> dict[str, npt.NDArray[Any]]:
    """Arrays for the inputs that are no initializers; dimensions that are not numbers get `size`."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for info in model.graph.input:
        if any(initializer.name == info.name for initializer in model.graph.initializer):
            continue
        tensor = info.type.tensor_type
        shape = [dim.dim_value if dim.HasField("dim_value") else size for dim in tensor.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        numbers = rng.standard_normal(shape) if tensor.elem_type in _FLOATS else rng.integers(0, 2, shape)
        arrays[info.name] = numbers.astype(dtype)
    return arrays


_FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16}


def run(model: onnx.ModelProto, inputs: Arrays) -> list[Any]:
    return list(session(model).run(None, dict(inputs)))


def assert_equal(before: Any, after: Any, tolerance: float = 1e-5) -> None:
    """Equal in type and shape, and in value within `tolerance` of the largest."""
    if isinstance(before, list):
        assert isinstance(after, list)
        assert len(before) == len(after)
        for left, right in zip(before, after, strict=True):
            assert_equal(left, right, tolerance)
        return
    if not isinstance(before, np.ndarray):
        assert before == after
        return
    assert (before.dtype, before.shape) == (after.dtype, after.shape)
    if before.dtype.kind not in "fc":
        np.testing.assert_array_equal(after, before)
        return
    finite = before[np.isfinite(before)]
    scale = float(np.abs(finite.astype(np.float64)).max()) if finite.size else 0.0
    np.testing.assert_allclose(after, before, rtol=tolerance, atol=tolerance * scale, equal_nan=True)


def apply(pass_: Pass, model: onnx.ModelProto, context: Context | None = None) -> tuple[ir.Graph, PassResult]:
    """The graph after the pass, verified."""
    graph = ir.Graph.from_proto(model)
    result = pass_.apply(graph, context or Context())
    ir.verify(graph)
    return graph, result


def check(pass_: Pass, model: onnx.ModelProto, size: int = 3, context: Context | None = None) -> tuple[ir.Graph, PassResult]:
    """Apply the pass, and let the oracle decide on two sets of inputs; inputs and outputs must stay as declared, the file no larger."""
    graph, result = apply(pass_, model, context)
    after = graph.to_proto()
    assert list(after.graph.input) == list(model.graph.input)
    assert list(after.graph.output) == list(model.graph.output)
    for seed in range(2):
        inputs = random_inputs(model, seed, size)
        assert_equal(run(model, inputs), run(after, inputs))
    return graph, result


def operators(graph: ir.Graph) -> list[str]:
    """The operators in order, those in subgraphs behind their owner."""
    return [node.op_type for node in graph.walk()]


def parse(text: str, opset: int = 18, ir_version: int = 9, **initializers: npt.ArrayLike) -> onnx.ModelProto:
    """A model from ONNX's text form of a graph: `(float[N,3] x) => (float[N,3] y) <float one = {1}> { y = Mul(x, one) }`."""
    model = onnx.parser.parse_model(f'<ir_version: {ir_version}, opset_import: ["" : {opset}]> main {text}')
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(array), name) for name, array in initializers.items())
    return model
