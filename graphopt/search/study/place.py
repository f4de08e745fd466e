"""Where a study is kept: what people write after `--study`, and the database and name that it means."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from graphopt.errors import StudyError

_ENDINGS = (".db", ".sqlite", ".sqlite3")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")
_HOW = "write a name, a file ending in .db or .sqlite, or postgresql://USER@HOST/DATABASE?study=NAME"


@dataclass(frozen=True)
class Place:
    """The database, an SQLite `file` or the server at `url` as SQLAlchemy reads it, and the `name` of a study in it.

    The name is empty for a database as a whole. `shown` is for messages: without a password.
    """

    name: str
    shown: str
    file: Path | None = None
    url: str = ""

    @classmethod
    def parse(cls, text: str, *, whole: bool = False) -> Place:
        """What was written after `--study`.

        NAME is the file NAME.db in `study_folder()`; a text with a separator or one of the endings .db, .sqlite, .sqlite3 is a file, whose
        study is called like the file; a URL names its study in its query, `?study=NAME`. `whole`: the database is meant, not one study.

        Raises StudyError for anything else.
        """
        if "://" in text:
            return _server(text, whole)
        if text.endswith(_ENDINGS) or os.sep in text or (os.altsep is not None and os.altsep in text):
            return _file(Path(text).expanduser())
        if not _NAME.fullmatch(text):
            raise StudyError(f"{text!r} is no name for a study: {_HOW}")
        return _file(study_folder() / f"{text}.db")

    def study(self, name: str) -> Place:
        """The study of that name in the same database."""
        return replace(self, name=name)


def study_folder() -> Path:
    """Where studies are kept that are only named: the user's folder for data, as the platform has it (XDG_DATA_HOME on Linux)."""
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    elif os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "graphopt" / "studies"


def named_studies() -> list[Place]:
    """The files in `study_folder()`, by name."""
    folder = study_folder()
    return [_file(path) for path in sorted(folder.iterdir()) if path.suffix in _ENDINGS] if folder.is_dir() else []


def _file(path: Path) -> Place:
    if not path.stem or path.suffix not in _ENDINGS:
        raise StudyError(f"{str(path)!r} is no file of a study: it must end in {', '.join(_ENDINGS)}")
    path = path.absolute()
    return Place(path.stem, str(path), path)


def _server(text: str, whole: bool) -> Place:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise StudyError(f"{text.split('@')[-1]!r} is no address of a database: {_HOW}") from error
    kind = url.drivername.split("+")[0]
    if kind not in ("postgresql", "postgres"):
        raise StudyError(f"studies cannot be kept in {url.drivername!r}: {_HOW}")
    if url.database is None:
        raise StudyError(f"the address names no database: {_HOW}")
    name = url.query.get("study", "")
    url = url.difference_update_query(["study"]).set(drivername="postgresql+psycopg")
    shown = url.set(drivername="postgresql").render_as_string(hide_password=True)
    if not whole and not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise StudyError(f"{shown} names no study: add ?study=NAME")
    return Place(name if isinstance(name, str) else "", shown, url=url.render_as_string(hide_password=False))
