"""ONNX's own node test models, with their inputs as graph inputs or as initializers."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper


@functools.cache
def node_cases() -> dict[str, tuple[onnx.ModelProto, list[Any]]]:
    """(model, inputs) by name; about ten seconds. Do not change the models."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = load_model_tests(kind="node")
        return {case.name: (case.model, list(case.data_sets[0][0])) for case in cases if case.model is not None and case.data_sets}


def with_initializers(model: onnx.ModelProto, inputs: list[Any]) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """A copy of the model in which every tensor input is an initializer, and the inputs that are left."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.ir_version = max(copy.ir_version, 4)
    del copy.graph.input[:]
    left = {}
    for info, value in zip(model.graph.input, inputs, strict=False):
        if isinstance(value, np.ndarray) and info.type.HasField("tensor_type"):
            copy.graph.initializer.append(numpy_helper.from_array(value, info.name))
        else:
            copy.graph.input.append(info)
            left[info.name] = value
    return copy, left
