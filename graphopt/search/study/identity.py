"""What two searches must have in common to be one study."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

import numpy as np

_WORDS = {
    "model": "model",
    "data": "data",
    "target": "target",
    "budget": "budget",
    "metric": "metric",
    "seed": "seed",
    "first": "first pipeline",
    "settings": "settings",
    "version": "version of graphopt",
}


@dataclass(frozen=True)
class Identity:
    """What the figures of a study's trials depend on, besides their pipelines.

    `model` and `data` are content hashes, `target` is a target's name and the hash of its fitted coefficients, `budget` the limits by name
    as they were asked for, `first` the pipeline that is run before all others, `settings` anything else that changes figures (threads, size
    of a batch), `version` graphopt's major version.
    """

    model: str
    data: str
    target: str
    budget: Mapping[str, float]
    metric: str
    seed: int
    first: str
    version: str
    settings: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"budget": dict(self.budget), "settings": dict(self.settings)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The identity that `to_json` wrote. Raises ValueError or TypeError for anything else."""
        return cls(**document)

    def differences(self, other: Identity) -> tuple[str, ...]:
        """What is not the same, in words: "data (1f4c... there, 90ab... here)"; `self` is there, `other` here."""
        mine, others = self.to_json(), other.to_json()
        names = [each.name for each in fields(self) if mine[each.name] != others[each.name]]
        return tuple(f"{_WORDS[name]} ({_shown(mine[name])} there, {_shown(others[name])} here)" for name in names)


def array_hash(arrays: Mapping[str, np.ndarray[Any, Any]]) -> str:
    """Content hash of named arrays: names, element types, shapes, and contents."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={item}" for name, item in value.items()) or "none"
    text = str(value)
    return f"{text[:12]}..." if len(text) == 64 else text or "none"
