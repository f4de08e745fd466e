"""TOML as target files need it: Python reads the format but does not write it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def to_toml(document: Mapping[str, Any], path: str = "") -> str:
    """The document as text: plain values first, then a section for each mapping. Raises TypeError for what TOML cannot say."""
    plain = [f"{_key(key)} = {_value(value)}\n" for key, value in document.items() if not isinstance(value, Mapping)]
    sections = []
    for key, value in document.items():
        if isinstance(value, Mapping):
            name = f"{path}.{_key(key)}" if path else _key(key)
            sections.append(f"\n[{name}]\n{to_toml(value, name)}")
    return "".join([*plain, *sections])


def _key(key: str) -> str:
    return key if key and all(letter.isascii() and (letter.isalnum() or letter in "-_") for letter in key) else _text(key)


def _value(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case float():
            return repr(value)
        case str():
            return _text(value)
        case Sequence():
            return f"[{', '.join(_value(item) for item in value)}]"
    raise TypeError(f"{value!r} cannot be written as TOML")


def _text(text: str) -> str:
    # JSON's escapes are TOML's, but for DEL, which TOML wants escaped too.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
