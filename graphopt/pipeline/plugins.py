"""Running a single Python file as a plug-in."""

from __future__ import annotations

import sys
import traceback
import zlib
from pathlib import Path
from types import ModuleType

from graphopt.errors import PluginError


def import_plugin(file: Path, shown: str) -> ModuleType:
    """The module that `file` makes, under a private name, so that it hides nothing and nothing hides it. PluginError names it as `shown`.

    The user's own Python runs here, with the user's rights; only a file that was named on purpose comes this way.
    """
    if not file.is_file():
        raise PluginError(f"plug-in {shown}: there is no such file" if not file.exists() else f"plug-in {shown}: not a file")
    module = ModuleType(f"_graphopt_plugin_{file.stem}_{zlib.crc32(str(file).encode(errors='surrogateescape')):08x}")
    module.__file__ = str(file)
    sys.modules[module.__name__] = module  # dataclasses and type hints look their module up
    try:
        # Not importlib's loader: it would leave a __pycache__ beside the user's file, and could run a stale one.
        exec(compile(file.read_bytes(), str(file), "exec", dont_inherit=True), vars(module))
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        raise PluginError(f"plug-in {shown}{_line(error, file)}: {_one_line(error)}") from error
    return module


def line_in(error: BaseException, file: str) -> int | None:
    """The last line of `file` that was running when `error` was raised."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return lines[-1] if lines else None


def _line(error: BaseException, file: Path) -> str:
    line = error.lineno if isinstance(error, SyntaxError) and error.filename == str(file) else line_in(error, str(file))
    return "" if line is None else f", line {line}"


def _one_line(error: BaseException) -> str:
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {message}".partition("\n")[0].removesuffix(": ")
