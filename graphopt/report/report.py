"""`report.json`. docs/report.md describes every field, schema.json is its JSON Schema."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.resources
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graphopt.errors import InvalidModelError, OutputError
from graphopt.ir.files import write_atomically
from graphopt.pipeline import Skip


@dataclass(frozen=True)
class Origin:
    """How the report came to be: graphopt's version, the command line as one text, and the seed of everything random."""

    version: str
    command: str
    seed: int


@dataclass(frozen=True)
class FileRecord:
    """A model file: its path as it was given, and the SHA-256 of the file itself (not of its external data), in hexadecimal."""

    path: str
    sha256: str


@dataclass(frozen=True)
class Figures:
    """A model in numbers; None for what was not measured. A latency with an interval, of 90 %, was predicted."""

    params: int
    macs: int
    bytes: int
    latency_ms: float | None = None
    quality: float | None = None
    latency_interval_ms: tuple[float, float] | None = None


@dataclass(frozen=True)
class Step:
    """One pass: its pipeline text, the figures around it, what it kept and what it left alone."""

    text: str
    seconds: float
    before: Figures
    after: Figures
    kept: Mapping[str, Mapping[str, Sequence[int]]] = field(default_factory=dict)
    skipped: Sequence[Skip] = ()


@dataclass(frozen=True)
class Report:
    """The whole of `report.json`; `output` is None where no model was written, `budget` empty where there was none.

    `predicted`: latencies were predicted for the target, not measured.
    """

    graphopt: Origin
    input: FileRecord
    output: FileRecord | None
    target: str
    budget: Mapping[str, float]
    before: Figures
    after: Figures
    steps: Sequence[Step] = ()
    predicted: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON's own types."""
        plain: dict[str, Any] = _plain(self)
        # "pass" is no name that Python allows for a field.
        plain["steps"] = [{"pass": step.pop("text"), **step} for step in plain["steps"]]
        return plain

    def to_json(self) -> str:
        """The report as JSON text (RFC 8259: infinities and NaN become null)."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_report(report: Report, path: str | os.PathLike[str]) -> None:
    """Write the report to `path`, whole or not at all. Raises OutputError."""
    try:
        write_atomically(path, report.to_json().encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise OutputError(f"cannot write {os.fspath(path)}: {error.strerror or error}") from error


def file_record(path: str | os.PathLike[str]) -> FileRecord:
    """The record of a file that is there. Raises InvalidModelError where it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
    except OSError as error:
        raise InvalidModelError(f"cannot read {os.fspath(path)}: {error.strerror or error}") from error
    return FileRecord(os.fspath(path), digest.hexdigest())


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of `report.json`."""
    text = importlib.resources.files(__package__).joinpath("schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    match value:
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case None | str() | bool() | int():
            return value
        case Sequence():
            return [_plain(item) for item in value]
    number = value.item() if hasattr(value, "item") else value  # numpy's numbers
    return number if not isinstance(number, float) or math.isfinite(number) else None
