"""The JSON Schemas (2020-12) of the files that extraction reads."""

from __future__ import annotations

import importlib.resources
import json
from typing import Any

SCHEMAS = ("config", "supernet", "elastic")


def schema(name: str) -> dict[str, Any]:
    """The schema of a configuration (`config`), or of a side file: of a family (`supernet`) or generic (`elastic`)."""
    text = importlib.resources.files(__package__).joinpath(f"{name}.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded
