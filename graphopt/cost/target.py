"""Targets: a device with a runtime and precision, what was measured of it, and what was fitted from that. A folder each."""

from __future__ import annotations

import csv
import io
import json
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

from graphopt.cost.coefficients import Coefficients
from graphopt.cost.kernel import Signature
from graphopt.cost.toml import to_toml
from graphopt.errors import TargetError
from graphopt.ir.files import write_atomically

_RUNTIMES = ("onnxruntime", "tensorrt", "tflite")
_TARGET, _KERNELS, _NETWORKS, _COEFFICIENTS = "target.toml", "kernels.csv", "networks.json", "coefficients.json"
_COLUMNS = ["signature", "ms", "spread", "count"]
_TABLES = ("fit", "provenance", "error")
_SESSIONS = 4  # that a network's time is taken to be from where nobody says

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class MeasuredKernel:
    """The time of one kernel in milliseconds, the relative spread of its repetitions, and how many there were."""

    signature: Signature
    ms: float
    spread: float = 0.0
    count: int = 1


@dataclass(frozen=True)
class MeasuredNetwork:
    """The time of one network in milliseconds, the relative standard deviation of its sessions, how often it launches each kernel, and how many
    sessions there were (published measurements, which do not say, count as four)."""

    name: str
    ms: float
    spread: float
    kernels: tuple[tuple[Signature, int], ...]
    count: int = _SESSIONS


@dataclass(frozen=True)
class Target:
    """A device. `align` is the step of channel widths that are worth having, `rules` the fusion rules: a name, or a file in the folder.

    `fit` holds the options of the fit (graphopt.cost.fitting), `provenance` where the measurements come from, `error` how far off
    predictions of held-out networks are.
    """

    name: str
    device: str
    runtime: str
    rules: str
    description: str = ""
    runtime_version: str = ""
    provider: str = ""
    precision: str = "float32"
    threads: int = 1  # 0: not stated
    block: int = 1
    align: int = 1
    aliases: tuple[str, ...] = ()
    fit: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    error: Mapping[str, Any] = field(default_factory=dict)
    kernels: tuple[MeasuredKernel, ...] = ()
    networks: tuple[MeasuredNetwork, ...] = ()
    coefficients: Coefficients | None = None
    folder: Path | None = None

    @property
    def pads_everywhere(self) -> bool:
        """Whether all convolutions pad their channels to blocks; in ONNX Runtime only those of the blocked layout do."""
        return self.runtime != "onnxruntime"

    @property
    def rules_file(self) -> str | Path:
        """What `graphopt.cost.fusion.load_rules` takes: the file in the folder where there is one, else the name."""
        own = None if self.folder is None else self.folder / f"{self.rules.removesuffix('.toml')}.toml"
        return own if own is not None and own.is_file() else self.rules

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Target:
        """The target of a folder. Raises TargetError, which names file and line, for what is missing or corrupt."""
        path = Path(folder)
        if not (path / _TARGET).is_file():
            raise TargetError(f"{path} is no target: it has no {_TARGET}")
        described = _described(path / _TARGET)
        kernels = _optional(path / _KERNELS, _kernels) or ()
        networks = _optional(path / _NETWORKS, _networks) or ()
        return cls(
            **described, kernels=kernels, networks=networks, coefficients=_optional(path / _COEFFICIENTS, _coefficients), folder=path
        )

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> Target:
        """Only what `target.toml` says: no tables, no coefficients. Raises TargetError."""
        return cls(**_described(Path(folder) / _TARGET), folder=Path(folder))

    def save(self, folder: str | os.PathLike[str]) -> Target:
        """Write the folder, which need not exist, and give back the target that lies there. Files appear whole or not at all."""
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        write_atomically(path / _TARGET, to_toml(self._header()).encode())
        texts = {_KERNELS: self._kernels_text(), _NETWORKS: self._networks_text(), _COEFFICIENTS: self._coefficients_text()}
        for name, text in texts.items():
            if text is not None:
                write_atomically(path / name, text.encode())
            else:
                (path / name).unlink(missing_ok=True)
        return replace(self, folder=path)

    def _header(self) -> dict[str, Any]:
        names = [f.name for f in fields(self) if f.name not in ("kernels", "networks", "coefficients", "folder", *_TABLES)]
        return {name: getattr(self, name) for name in names} | {name: getattr(self, name) for name in _TABLES if getattr(self, name)}

    def _kernels_text(self) -> str | None:
        if not self.kernels:
            return None
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows([str(k.signature), f"{k.ms:.6g}", f"{k.spread:.3g}", k.count] for k in self.kernels)
        return text.getvalue()

    def _networks_text(self) -> str | None:
        if not self.networks:
            return None
        places: dict[str, int] = {}
        records = [
            {
                "name": network.name,
                "ms": float(f"{network.ms:.6g}"),
                "spread": float(f"{network.spread:.3g}"),
                "count": network.count,
                "kernels": [[places.setdefault(str(sig), len(places)), count] for sig, count in network.kernels],
            }
            for network in self.networks
        ]
        lines = [*(f"  {json.dumps(text)}" for text in places)]
        networks = [*(f"  {json.dumps(record)}" for record in records)]
        return '{"signatures": [\n' + ",\n".join(lines) + '\n], "networks": [\n' + ",\n".join(networks) + "\n]}\n"

    def _coefficients_text(self) -> str | None:
        return None if self.coefficients is None else json.dumps(self.coefficients.to_json(), indent=1) + "\n"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise TargetError(f"{path}, line {line}: not a text in UTF-8") from error
    except OSError as error:
        raise TargetError(f"{path} cannot be read: {error.strerror}") from error


def _optional(path: Path, read: Callable[[Path], _Found]) -> _Found | None:
    return read(path) if path.exists() else None


def _described(path: Path) -> dict[str, Any]:
    text = _text(path)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TargetError(f"{path}: {error}") from error
    known = {f.name: f.type for f in fields(Target) if f.name not in ("kernels", "networks", "coefficients", "folder")}

    def refuse(key: str, why: str) -> TargetError:
        line = next((n for n, row in enumerate(text.splitlines(), 1) if row.split("=")[0].strip().strip("[]") == key), 1)
        return TargetError(f"{path}, line {line}: {why}")

    for key in document.keys() - known.keys():
        raise refuse(key, f"unknown key {key!r}; known are {', '.join(known)}")
    for key in ("name", "device", "runtime", "rules"):
        if key not in document:
            raise TargetError(f"{path}, line 1: {key!r} is missing")
    for key, value in document.items():
        word, fits = _KINDS.get(key, _TABLE if key in _TABLES else _TEXT)
        if not fits(value):
            raise refuse(key, f"{key} = {value!r} is no {word}")
    if document["runtime"] not in _RUNTIMES:
        raise refuse("runtime", f"runtime {document['runtime']!r} is none of {', '.join(_RUNTIMES)}")
    return document | {"aliases": tuple(document.get("aliases", ()))}


_Kind = tuple[str, Callable[[Any], bool]]
_NUMBER: _Kind = ("positive whole number", lambda value: isinstance(value, int) and not isinstance(value, bool) and value > 0)
_COUNT: _Kind = ("whole number", lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0)
_TEXTS: _Kind = ("list of texts", lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value))
_TABLE: _Kind = ("table", lambda value: isinstance(value, dict))
_TEXT: _Kind = ("text", lambda value: isinstance(value, str))
_KINDS: dict[str, _Kind] = {"threads": _COUNT, "block": _NUMBER, "align": _NUMBER, "aliases": _TEXTS}


def _kernels(path: Path) -> tuple[MeasuredKernel, ...]:
    rows = csv.reader(io.StringIO(_text(path)))
    if next(rows, None) != _COLUMNS:
        raise TargetError(f"{path}, line 1: the columns must be {','.join(_COLUMNS)}")
    found = []
    for row in rows:
        try:
            text, ms, spread, count = row
            kernel = MeasuredKernel(Signature.parse(text), _positive(ms), _positive(spread, zero=True), int(count))
        except ValueError as error:
            what = str(error) if len(row) == len(_COLUMNS) else f"{len(row)} columns, and not {len(_COLUMNS)}"
            raise TargetError(f"{path}, line {rows.line_num}: {what}") from error
        found.append(kernel)
    return tuple(found)


def _positive(text: Any, zero: bool = False) -> float:
    number = float(text)
    if not isfinite(number) or number < 0 or (number == 0 and not zero):
        raise ValueError(f"{text} is no time")
    return number


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise TargetError(f"{path}, line {error.lineno}: {error.msg}") from error


def _networks(path: Path) -> tuple[MeasuredNetwork, ...]:
    document = _json(path)
    try:
        signatures = [Signature.parse(text) for text in document["signatures"]]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TargetError(f"{path}: its list of signatures is corrupt: {_why(error)}") from error
    found = []
    try:
        for record in document["networks"]:
            kernels = tuple((signatures[_index(index)], int(count)) for index, count in record["kernels"])
            found.append(
                MeasuredNetwork(
                    str(record["name"]),
                    _positive(record["ms"]),
                    _positive(record["spread"], zero=True),
                    kernels,
                    int(record.get("count", _SESSIONS)),
                )
            )
    except (IndexError, KeyError, TypeError, ValueError) as error:
        where = f"network {len(found) + 1}"
        raise TargetError(f"{path}: {where} is corrupt: {_why(error)}") from error
    return tuple(found)


def _index(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is no position in the list of signatures")
    return value


def _why(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def _coefficients(path: Path) -> Coefficients:
    try:
        return Coefficients.from_json(_json(path))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TargetError(f"{path} is corrupt: {_why(error)}; fit it again") from error
