"""Finding targets: those that are installed, by name or alias, and folders."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from graphopt.cost.target import Target
from graphopt.errors import TargetError

_FILE = "target.toml"


def installed_targets() -> dict[str, Path]:
    """Folder by name of the installed targets, sorted by name."""
    return dict(sorted((folder.name, folder) for folder in _folders()))


def find_target(name: str | os.PathLike[str]) -> Target:
    """The target of that name or alias, or of a folder. Raises TargetError, with the names that come near, where there is none.

    A name with a separator, or a folder that holds a target, is a folder; `./` in front decides where a folder is called like a target.
    """
    text = os.fspath(name)
    if _is_path(text):
        return Target.load(text)
    installed = installed_targets()
    if text in installed:
        return Target.load(installed[text])
    aliases = {alias: folder for folder in installed.values() for alias in _aliases(folder)}
    if text in aliases:
        return Target.load(aliases[text])
    if (Path(text) / _FILE).is_file():
        return Target.load(text)
    near = difflib.get_close_matches(text.lower(), [*installed, *aliases], n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"installed are {', '.join(installed) or 'none'}"
    raise TargetError(f"no target {text!r}: {hint} A folder that holds a {_FILE} can be given, too")


def _is_path(text: str) -> bool:
    return os.sep in text or (os.altsep is not None and os.altsep in text) or text in (os.curdir, os.pardir)


def _folders() -> Iterator[Path]:
    root = resources.files("graphopt.hw_models")
    for entry in root.iterdir():
        folder = Path(str(entry))
        if (folder / _FILE).is_file():
            yield folder


def _aliases(folder: Path) -> list[str]:
    """The aliases of an installed target; none where its file is corrupt, which is said when it is loaded by name."""
    try:
        found = tomllib.loads((folder / _FILE).read_text(encoding="utf-8")).get("aliases", [])
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return []
    return [alias for alias in found if isinstance(alias, str)] if isinstance(found, list) else []
