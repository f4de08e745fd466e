"""Small things that several test files share."""

from __future__ import annotations

from pathlib import Path

import onnx
from google.protobuf.message import Message

import graphopt.ir as ir


def serialised(message: Message) -> bytes:
    """Canonical bytes: two messages are equal, presence bits and unknown fields included, when these are."""
    return message.SerializeToString(deterministic=True)


def read(path: Path) -> onnx.ModelProto:
    """The file as it is, external data left alone."""
    return onnx.ModelProto.FromString(path.read_bytes())


def write(path: Path, model: onnx.ModelProto) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def load(path: Path, model: onnx.ModelProto) -> ir.Graph:
    """`model` written to `path` and loaded."""
    return ir.load(write(path, model))


def saved(graph: ir.Graph, path: Path) -> onnx.ModelProto:
    """What `save` writes to `path`, external data left alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ir.save(graph, path)
    return read(path)


def difference(before: onnx.ModelProto, after: onnx.ModelProto) -> str:
    """Empty where both are equal, otherwise the first lines that differ."""
    if serialised(before) == serialised(after):
        return ""
    left, right = str(before).splitlines(), str(after).splitlines()
    lines = [f"{n}: {a!r} became {b!r}" for n, (a, b) in enumerate(zip(left, right, strict=False)) if a != b][:3]
    return "; ".join(lines) or f"{len(left)} lines became {len(right)}, or presence bits or unknown fields differ"
