from __future__ import annotations

from pathlib import Path

import pytest

from graphopt.errors import StudyError
from graphopt.search.study import Place, Study, named_studies, study_folder

from .toy import IDENTITY


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


def test_names_files_and_servers(folder: Path) -> None:
    assert Place.parse("mobile-1").file == study_folder() / "mobile-1.db"
    for text in ("a.db", "./a.sqlite", "sub/a.sqlite3", str(folder / "a.db")):
        found = Place.parse(text)
        assert found.file == (folder / text).absolute()
        assert found.name == "a"
    assert Place.parse("~/a.db").file == folder / "home" / "a.db"
    server = Place.parse("postgresql://me@host:5433/db?sslmode=require&study=mobile")
    assert (server.name, server.file) == ("mobile", None)
    assert server.url == "postgresql+psycopg://me@host:5433/db?sslmode=require"
    assert server.shown == "postgresql://me@host:5433/db?sslmode=require"
    assert Place.parse("postgresql://me@host/db", whole=True).study("other").name == "other"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no name for a study"),
        ("two words", "is no name for a study"),
        ("-x", "is no name for a study"),
        ("folder/", "must end in .db"),
        ("model.onnx/study", "must end in .db"),
        ("mysql://me@host/db?study=a", "cannot be kept in 'mysql'"),
        ("postgresql://me@host?study=a", "names no database"),
        ("postgresql://me@host/db", r"names no study: add \?study=NAME"),
        ("postgresql://me@host/db?study=a&study=b", "names no study"),
        ("postgresql://me@host:port/db?study=a", "is no address of a database"),
    ],
)
def test_what_names_no_study(text: str, words: str) -> None:
    with pytest.raises(StudyError, match=words):
        Place.parse(text)


def test_studies_that_are_only_named_are_found_again() -> None:
    assert named_studies() == []
    Study.open(Place.parse("one"), IDENTITY).close()
    Study.open(Place.parse("two"), IDENTITY).close()
    assert [place.name for place in named_studies()] == ["one", "two"]


def test_a_folder_that_cannot_be_made(folder: Path) -> None:
    (folder / "data").write_text("a file")
    with pytest.raises(StudyError, match=r"name a file ending in \.db"):
        Study.open(Place.parse("one"), IDENTITY)
