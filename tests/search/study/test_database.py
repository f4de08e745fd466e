"""What goes wrong with databases: a clear error, and nothing that had finished is lost."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
import sqlalchemy

from graphopt.errors import StudyError
from graphopt.search.study import Place, Proposal, Study, run_study

from .toy import IDENTITY, Line, evaluate, place


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "study.db"


@pytest.fixture
def study(path: Path) -> Iterator[Study]:
    """A study on a file, with one trial that has finished."""
    with Study.open(place(path), IDENTITY) as opened:
        run_study(opened, Line(), evaluate, trials=1, seed=0)
        yield opened


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors are not waited for to pass, neither by us nor by Optuna."""
    monkeypatch.setattr("graphopt.search.study.database._PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr("graphopt.search.study.database._LOCK_SECONDS", 0)
    monkeypatch.setattr("optuna.storages._rdb.storage.time", SimpleNamespace(sleep=lambda _: None))


@contextmanager
def _pragma(study: Study, statement: str) -> Iterator[None]:
    """Every connection of the study begins with a statement."""
    engine: Any = study._storage.engine  # type: ignore[attr-defined]

    def connected(connection: Any, _: object) -> None:
        connection.execute(statement)

    engine.dispose()
    sqlalchemy.event.listen(engine, "connect", connected)
    yield
    sqlalchemy.event.remove(engine, "connect", connected)
    engine.dispose()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("statement", "words"),
    [("PRAGMA max_page_count = 1", "no room is left on its disk"), ("PRAGMA query_only = 1", "must not be written .*readonly")],
)
def test_a_disk_that_is_full_or_may_not_be_written(study: Study, statement: str, words: str) -> None:
    with _pragma(study, statement), pytest.raises(StudyError, match=words):
        run_study(study, Line(), evaluate, trials=500, seed=0)  # pages are still free for some
    made = [trial.pipeline for trial in study.trials() if trial.state != "running"]
    assert made == [f"p{number}" for number in range(len(made))]
    assert made
    count = len(study.trials()) + 2
    # The trial that could not be ended is this process's own, and is not waited for.
    assert run_study(study, Line(), evaluate, seed=0, should_stop=lambda trials: len(trials) == count) == "stopped"
    assert [trial.pipeline for trial in study.trials()] == [f"p{number}" for number in range(count)]


@pytest.mark.usefixtures("impatient")
def test_a_file_that_another_process_keeps_locked(study: Study, path: Path) -> None:
    study.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StudyError, match="another process has kept it locked"):
            Study.open(place(path), IDENTITY)
        other.execute("ROLLBACK")
    with Study.open(place(path), IDENTITY) as opened:
        assert [trial.pipeline for trial in opened.trials()] == ["p0"]


def test_a_lock_that_is_let_go_of_is_waited_for(study: Study, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN EXCLUSIVE")
        threading.Timer(0.3, other.execute, ("ROLLBACK",)).start()
        assert study.claim(Proposal("late")) is not None


def test_files_that_are_no_studies(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"no database at all, and long enough to be seen as none" * 100)
    for use in (Study.load, lambda where: Study.open(where, IDENTITY)):
        with pytest.raises(StudyError, match=r"garbage\.db cannot be used: the file is no SQLite database"):
            use(place(garbage))
    with pytest.raises(StudyError, match=r"there is no study at .*none\.db"):
        Study.load(place(tmp_path / "none.db"))
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(StudyError, match="is there such a folder"):
        Study.open(place(tmp_path / "none" / "study.db"), IDENTITY)


def test_a_file_with_a_hole(study: Study, path: Path) -> None:
    study.close()
    contents = path.read_bytes()
    path.write_bytes(contents[:4096] + b"\xff" * (len(contents) - 4096))
    with pytest.raises(StudyError, match=r"the file is corrupt|the file is no SQLite database"), Study.load(place(path)) as opened:
        opened.trials()


def test_a_study_that_is_deleted_while_it_is_used(study: Study, path: Path) -> None:
    optuna.delete_study(study_name="study", storage=f"sqlite:///{path}")
    with pytest.raises(StudyError, match="was deleted while it was in use"):
        study.claim(Proposal("a"))


def test_odd_file_names(tmp_path: Path) -> None:
    where = place(tmp_path / "a {b} %20 ü#.sqlite")
    with Study.open(where, IDENTITY) as study:
        assert study.claim(Proposal("a")) is not None
    assert [file.name for file in tmp_path.iterdir()] == ["a {b} %20 ü#.sqlite"]
    renamed = tmp_path / "renamed.db"
    (tmp_path / "a {b} %20 ü#.sqlite").rename(renamed)
    with Study.load(place(renamed)) as study:
        assert [trial.pipeline for trial in study.trials()] == ["a"]


def test_an_answer_that_is_lost_makes_no_second_trial(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server did what was asked for, but the connection broke before it could say so."""
    storage = study._storage

    def losing(method: Callable[..., Any]) -> Callable[..., Any]:
        calls: list[int] = []

        def call(*arguments: Any) -> Any:
            result = method(*arguments)
            calls.append(1)
            if len(calls) == 1:
                raise optuna.exceptions.StorageInternalError("commit") from ConnectionError("server closed the connection")
            return result

        return call

    for name in ("create_new_trial", "set_trial_user_attr", "set_trial_state_values"):
        monkeypatch.setattr(storage, name, losing(getattr(storage, name)))
    claim = study.claim(Proposal("a"))
    assert claim is not None
    assert claim.complete({"quality": 0.5})
    assert [(trial.pipeline, trial.state) for trial in study.trials()[1:]] == [("a", "complete")]
    assert study.claim(Proposal("a")) is None


def test_a_connection_that_breaks_is_made_anew(postgresql: str) -> None:
    import psycopg

    with Study.open(place(f"{postgresql}?study=broken"), IDENTITY) as study:
        claim = study.claim(Proposal("a"))
        assert claim is not None
        with psycopg.connect(postgresql, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        assert claim.complete({"quality": 0.5})
        assert [trial.state for trial in study.trials()] == ["complete"]


def test_servers_that_cannot_be_used(postgresql: str) -> None:
    with pytest.raises(StudyError, match='database "none" does not exist'):
        Study.open(place(postgresql.replace("/postgres", "/none") + "?study=a"), IDENTITY)
    with pytest.raises(StudyError, match=r"postgresql://graphopt@127.0.0.1:1/postgres cannot be used: .*refused"):
        Study.open(place("postgresql://graphopt@127.0.0.1:1/postgres?study=a"), IDENTITY)
    with pytest.raises(StudyError, match="holds no study 'none'"):
        Study.load(place(f"{postgresql}?study=none"))


def test_passwords_are_not_shown() -> None:
    where = Place.parse("postgresql://me:secret@127.0.0.1:1/db?study=a")
    assert "secret" in where.url
    with pytest.raises(StudyError) as refused:
        Study.open(where, IDENTITY)
    assert "secret" not in str(refused.value)
