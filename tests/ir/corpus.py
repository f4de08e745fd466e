"""Models of others that come with the onnx wheel: 149 files, and the node cases, which onnx makes in memory."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path

import onnx
import onnx.backend.test

WHEEL_DATA = Path(onnx.backend.test.__file__).parent / "data"


def wheel_files() -> list[str]:
    return sorted(str(path.relative_to(WHEEL_DATA)) for path in WHEEL_DATA.rglob("*.onnx"))


@functools.cache
def node_models() -> dict[str, onnx.ModelProto]:
    """About ten seconds; do not change the models."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {case.name: case.model for case in load_model_tests(kind="node")}
