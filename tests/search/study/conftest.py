"""Where studies are kept in tests."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from .postgres import Unavailable, server

_COUNT = itertools.count()


@pytest.fixture(scope="package", autouse=True)
def _quick() -> Iterator[None]:
    """SQLite files of this process are not forced onto the disk; that is for power cuts."""

    def connected(connection: Any, _: object) -> None:
        if type(connection).__module__ == "sqlite3":
            connection.execute("PRAGMA synchronous = OFF")

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", connected)
    yield
    sqlalchemy.event.remove(sqlalchemy.Engine, "connect", connected)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a database on a PostgreSQL server."""
    pytest.importorskip("psycopg")
    try:
        started = server()
        url = started.__enter__()
    except Unavailable as error:
        pytest.skip(str(error))
    yield url
    started.__exit__(None, None, None)


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Gives texts for `--study` that name studies which do not exist yet."""
    if request.param == "sqlite":
        return lambda: str(tmp_path / f"study{next(_COUNT)}.db")
    url = request.getfixturevalue("postgresql")
    return lambda: f"{url}?study=study{next(_COUNT)}"
