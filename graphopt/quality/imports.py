"""A user's function, named as `module:function`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from graphopt.errors import DataError


def is_function_name(text: str) -> bool:
    """Whether `text` has the form `module:function`; a drive letter (`C:\\data`) is none."""
    module, _, function = text.partition(":")
    return all(part.isidentifier() for part in (*module.split("."), *function.split("."))) and len(module) > 1


def imported(what: str, name: str) -> Callable[..., Any]:
    """The function `module:function`, its module looked for in the current folder too. Raises DataError, which begins with `what`."""
    module, _, function = name.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module)
        for part in function.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise DataError(f"{what} {name!r} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        if here in sys.path:
            sys.path.remove(here)
    if not callable(found):
        raise DataError(f"{what} {name!r} is not a function but {type(found).__name__}")
    return found  # type: ignore[no-any-return]
