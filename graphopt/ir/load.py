"""Reading a model file."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from graphopt.errors import InvalidModelError
from graphopt.ir.build import build_model
from graphopt.ir.graph import Graph


def load(path: str | os.PathLike[str]) -> Graph:
    """The graph of the ONNX file at `path`; external data is mapped when it is read, not now.

    Raises InvalidModelError where the file cannot be read, is not an ONNX model or is not in SSA form, and ExternalDataError where its data
    is missing or outside the model's folder. Nothing else is checked: `verify` and `onnx.checker` do.
    """
    file = Path(path)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InvalidModelError(f"cannot read {file}: {error.strerror}") from error
    if not data:
        raise InvalidModelError(f"{file} is empty")
    try:
        model = onnx.ModelProto.FromString(data)
        del data  # weights inside the file would be held twice
    except DecodeError as error:
        raise InvalidModelError(f"{file} is not an ONNX model, or is cut off: protobuf cannot parse it") from error
    try:
        return build_model(model, file)
    except InvalidModelError as error:
        raise InvalidModelError(f"{file}: {error}") from error
