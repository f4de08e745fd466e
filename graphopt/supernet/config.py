"""The search configuration: which subnet to extract."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graphopt.errors import SupernetError
from graphopt.supernet.document import is_integer, is_number, kind, read_json

Setting = float | tuple[float | None, ...] | None

_SHARED = frozenset({"image_size", "r", "wid", "sort_channels"})
SORTS = ("l1",)


@dataclass(frozen=True)
class Config:
    """A configuration: settings by key, each one number for all slots or a tuple with one (or None) per slot.

    What is None or missing stays at its maximum. `image_size` is the new height and width of the input.
    """

    settings: Mapping[str, Setting] = field(default_factory=dict)
    image_size: int | None = None
    sort_channels: str | None = None
    source: str = "config"

    def error(self, message: str) -> SupernetError:
        return SupernetError(f"{self.source}: {message}")

    def slots(self, key: str, count: int) -> tuple[float | None, ...]:
        """The setting of each of `count` slots. Raises SupernetError for a list of another length."""
        value = self.settings.get(key)
        if not isinstance(value, tuple):
            return (value,) * count
        if len(value) != count:
            raise self.error(f"{key} has {len(value)} entries, and the supernet has {count} slots for it; a single number fits all slots")
        return value

    def check_keys(self, known: tuple[str, ...]) -> None:
        for key in self.settings:
            if key not in known:
                raise self.error(f"unknown key {key!r}; this supernet knows {', '.join((*known, 'image_size', 'sort_channels'))}")


def load_config(path: str | os.PathLike[str]) -> Config:
    """Read a configuration from a JSON file. Raises SupernetError."""
    return parse_config(read_json(path, "configuration"), os.fspath(path))


def parse_config(document: Mapping[str, Any], source: str = "config") -> Config:
    """A configuration from JSON's own types; `source` is what messages call it. Raises SupernetError."""
    if document.get("wid") is not None:
        raise SupernetError(
            f"{source}: wid is not supported, because forks disagree about its meaning; leave it null or out, and use the supernet that "
            f"was trained at this width (wid is {kind(document['wid'])})"
        )
    sort = document.get("sort_channels")
    if sort is not None and sort not in SORTS:
        raise SupernetError(f"{source}: sort_channels must be null or one of {', '.join(SORTS)}, not {kind(sort)}")
    settings = {key: _setting(source, key, value) for key, value in document.items() if key not in _SHARED}
    return Config(settings, _image_size(source, document), sort, source)


def _image_size(source: str, document: Mapping[str, Any]) -> int | None:
    found = {}
    for key in ("image_size", "r"):  # "r": [224] is seen in the wild
        value = document.get(key)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if value is None:
            continue
        if not is_integer(value) or value < 1:
            raise SupernetError(f"{source}: {key} must be a whole number from 1 on, not {kind(document[key])}")
        found[key] = int(value)
    if len(set(found.values())) > 1:
        raise SupernetError(f"{source}: image_size is {found['image_size']} and r is {found['r']}; give one of them")
    return next(iter(found.values()), None)


def _setting(source: str, key: str, value: object) -> Setting:
    if value is None or is_number(value):
        return value  # type: ignore[return-value]
    if isinstance(value, list):
        for place, item in enumerate(value):
            if item is not None and not is_number(item):
                raise SupernetError(f"{source}: {key}[{place}] must be a number or null, not {kind(item)}")
        return tuple(value)
    raise SupernetError(f"{source}: {key} must be a number, a list of numbers, or null, not {kind(value)}")
