"""Optuna's storage, with errors in our words and patience with what passes: a lock, a lost connection."""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from graphopt.errors import StudyError
from graphopt.search.study.place import Place

if TYPE_CHECKING:  # imported when a study is opened: it takes a third of a second
    from optuna.storages import BaseStorage

_Result = TypeVar("_Result")

_LOCK_SECONDS = 20  # how long SQLite waits for another process
_CONNECT_SECONDS = 10  # and a server may take to answer
_PATIENCE_SECONDS = 60.0  # how long what passes is tried again, once a study is open
_OPENING_TRIES = 8  # two workers may be creating the tables at once

# What databases say, and what it means to people. The first that fits.
_MEANINGS = (
    ("database or disk is full", "no room is left on its disk; free some and run the same command again"),
    ("no space left", "no room is left on its disk; free some and run the same command again"),
    ("could not extend file", "no room is left on its disk; free some and run the same command again"),
    ("disk i/o error", "its disk cannot be read or written"),
    ("database is locked", f"another process has kept it locked for {_LOCK_SECONDS} seconds"),
    ("readonly database", "the file, or the folder that it lies in, must not be written"),
    ("file is not a database", "the file is no SQLite database"),
    ("malformed", "the file is corrupt"),
    ("unable to open database file", "the file cannot be opened: is there such a folder, and may you write in it?"),
)
_PASSING = ("database is locked", "connection", "server closed", "terminating", "deadlock", "could not serialize")


def connect(place: Place | None) -> BaseStorage:
    """The storage at `place`, made where it does not exist yet; None: in memory. Raises StudyError where it cannot be used."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    if place is None:
        return optuna.storages.InMemoryStorage()
    url = place.url if place.file is None else _file_url(place.file)
    if place.file is not None:
        engine: dict[str, Any] = {"connect_args": {"timeout": _LOCK_SECONDS}}
    else:
        # A connection that was lost while a trial ran is replaced before it is used.
        engine = {"connect_args": {"connect_timeout": _CONNECT_SECONDS}, "pool_pre_ping": True}
    for tries_left in reversed(range(_OPENING_TRIES)):
        try:
            with quiet():
                return optuna.storages.RDBStorage(url.replace("{", "{{").replace("}", "}}"), engine_kwargs=engine)  # Optuna fills templates
        except ImportError as error:
            raise StudyError(f"{place.shown}: studies on PostgreSQL need psycopg: pip install 'graphopt[postgresql]'") from error
        except RuntimeError as error:  # tables of another version of Optuna
            raise StudyError(f"{place.shown}: {error}") from error
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError, AssertionError) as error:
            if not tries_left or not _is_clash(error):
                raise _in_our_words(place.shown, error) from error
            time.sleep(0.02 + random.random() * 0.2)
    raise AssertionError("unreachable")


def disconnect(storage: BaseStorage) -> None:
    """Close its connections; a storage in memory is left as it is."""
    engine = getattr(storage, "engine", None)
    if engine is not None:
        storage.remove_session()
        engine.dispose()


@contextmanager
def translated(shown: str) -> Iterator[None]:
    """Turns what Optuna and SQLAlchemy raise into StudyErrors about `shown`."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise _in_our_words(shown, error) from error
    except KeyError as error:  # Optuna's word for a study or trial that is not there
        raise StudyError(f"{shown}: the study, or a trial of it, was deleted while it was in use") from error


def patiently(shown: str, action: Callable[[], _Result]) -> _Result:
    """What `action` returns; it is repeated for a while where the database is locked or the connection lost.

    Raises StudyError. `action` must be such that doing it twice does no harm.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    pause = 0.1
    while True:
        try:
            with translated(shown):
                return action()
        except StudyError as error:
            if not _passes(error.__cause__) or time.monotonic() > deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, 2.0)


@contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's remarks on what it creates, and on what it calls experimental."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def _file_url(path: Path) -> str:
    from sqlalchemy.engine import URL, make_url

    url = URL.create("sqlite", database=str(path)).render_as_string()
    if make_url(url).database != str(path):  # SQLAlchemy 2.0 does not escape what means something in a URL
        raise StudyError(f"{path}: the path of a study must not hold a question mark")
    return url


def _original(error: BaseException | None) -> str:
    """What the database itself said."""
    while isinstance(error, BaseException):
        below = getattr(error, "orig", None) or error.__cause__
        if below is None:
            break
        error = below
    return " ".join(str(error).split())


def _in_our_words(shown: str, error: BaseException) -> StudyError:
    said = _original(error)
    meaning = next((meaning for words, meaning in _MEANINGS if words in said.lower()), None)
    text = f"{meaning} ({said})" if meaning else said or type(error).__name__
    return StudyError(f"the study at {shown} cannot be used: {text}; trials that have finished stay in it")


def _passes(error: BaseException | None) -> bool:
    said = _original(error).lower()
    return any(words in said for words in _PASSING)


def _is_clash(error: BaseException) -> bool:
    """Whether another process was just creating the same tables."""
    said = _original(error).lower()
    return any(words in said for words in ("already exists", "unique constraint", "duplicate key", "database is locked")) or not said
