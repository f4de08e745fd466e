"""JSON documents whose errors name the file and the key."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from graphopt.errors import SupernetError


def read_json(path: str | os.PathLike[str], what: str) -> dict[str, Any]:
    """The object that a JSON file holds. Raises SupernetError; `what` is what the file is called there."""
    name = os.fspath(path)
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_no_constant)
    except OSError as error:
        raise SupernetError(f"cannot read {what} {name}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise SupernetError(f"{what} {name} is not a text in UTF-8") from None
    except _NotFiniteError as error:
        raise SupernetError(f"{what} {name} is not JSON: it holds {error}") from None
    except json.JSONDecodeError as error:
        raise SupernetError(f"{what} {name} is not JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise SupernetError(f"{what} {name} is nested too deeply") from None
    if not isinstance(document, dict):
        raise SupernetError(f"{what} {name} must hold an object {{...}}, not {kind(document)}")
    return document


_LARGEST = 2**31


class _NotFiniteError(Exception):
    """NaN or Infinity, which Python's reader takes and JSON does not have."""


def _no_constant(word: str) -> None:
    raise _NotFiniteError(word)


def kind(value: object) -> str:
    """A JSON value's type in words."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {str(value)[:40]}"
        case str():
            return f"the text {value[:40]!r}"
        case list() | tuple():
            return f"a list of {len(value)}"
    return "an object"


class Reader:
    """One object of a document and the way to it, such as `supernet.json: stages[1].blocks[0]`."""

    def __init__(self, fields: Mapping[str, Any], where: str, path: str = "") -> None:
        self.fields, self.where, self.path = fields, where, path

    def error(self, key: str, message: str) -> SupernetError:
        place = f"{self.path}.{key}" if self.path else key
        return SupernetError(f"{self.where}: {place} {message}")

    def has(self, key: str) -> bool:
        return self.fields.get(key) is not None

    def _get(self, key: str) -> Any:
        if self.fields.get(key) is None:
            raise self.error(key, "is missing")
        return self.fields[key]

    def text(self, key: str) -> str:
        value = self._get(key)
        if not isinstance(value, str):
            raise self.error(key, f"must be a text, not {kind(value)}")
        return value

    def choice(self, key: str, choices: tuple[str, ...], default: str | None = None) -> str:
        if default is not None and not self.has(key):
            return default
        value = self.text(key)
        if value not in choices:
            raise self.error(key, f"must be one of {', '.join(choices)}, not {value!r}")
        return value

    def integer(self, key: str, minimum: int = 0, default: int | None = None) -> int:
        if default is not None and not self.has(key):
            return default
        value = self._get(key)
        if not is_integer(value) or value < minimum:
            raise self.error(key, f"must be a whole number from {minimum} on, not {kind(value)}")
        return int(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self.fields.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.error(key, f"must be true or false, not {kind(value)}")
        return value

    def numbers(self, key: str, whole: bool = False, empty: bool = False) -> tuple[Any, ...]:
        """A list of numbers, all of them whole if asked."""
        value = self._get(key)
        fits = is_integer if whole else is_number
        if not isinstance(value, list) or not all(fits(item) for item in value) or not (value or empty):
            raise self.error(key, f"must be a list of {'whole ' if whole else ''}numbers, not {kind(value)}")
        return tuple(value)

    def object(self, key: str) -> Reader:
        value = self._get(key)
        if not isinstance(value, dict):
            raise self.error(key, f"must be an object, not {kind(value)}")
        return Reader(value, self.where, f"{self.path}.{key}" if self.path else key)

    def objects(self, key: str) -> Iterator[Reader]:
        value = self._get(key)
        if not isinstance(value, list):
            raise self.error(key, f"must be a list of objects, not {kind(value)}")
        for place, item in enumerate(value):
            path = f"{self.path}.{key}[{place}]" if self.path else f"{key}[{place}]"
            if not isinstance(item, dict):
                raise SupernetError(f"{self.where}: {path} must be an object, not {kind(item)}")
            yield Reader(item, self.where, path)


def is_integer(value: object) -> bool:
    """Whether it is a whole number of a size that something here could have."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST


def is_number(value: object) -> bool:
    return is_integer(value) or (isinstance(value, float) and abs(value) < _LARGEST)  # which neither infinity nor NaN is


def listed(numbers: Iterable[float]) -> str:
    """Such as "0.2, 0.25, 0.35"."""
    return ", ".join(f"{number:g}" for number in numbers)
