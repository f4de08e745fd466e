"""`graphopt study`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from graphopt.search.objective import Objective
from graphopt.search.study import Identity, Place, Proposal, Study

from .conftest import Invoke

IDENTITY = Identity(
    model="a" * 64, data="b" * 64, target="board 12ab", budget={"latency_ms": 8.0}, metric="top1", seed=3, first="simplify", version="0"
)
FIGURES = {"prune{ratio=0.1}": (9.0, 0.95), "prune{ratio=0.3}": (7.0, 0.9), "prune{ratio=0.4}": (6.5, 0.8), "prune{ratio=0.5}": (6.6, 0.7)}


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A study that is only named, with trials of all kinds."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr("sys.platform", "linux")
    objective = asdict(Objective(quality=0.99, limits={"latency_ms": 8.0}))
    with Study.open(Place.parse("mobile"), IDENTITY, about={"model": "net.onnx"}, objective=objective) as opened:
        for pipeline, (latency, quality) in FIGURES.items():
            claim = opened.claim(Proposal(pipeline, {"ratio": float(pipeline[-4:-1])}))
            assert claim is not None
            claim.complete({"latency_ms": latency, "quality": quality, "macs": 2e6, "bytes": 12_000}, "c" * 64, 0.25)
        failing, running = opened.claim(Proposal("factorize")), opened.claim(Proposal("reconstruct"))
        assert failing is not None
        assert running is not None
        failing.fail("no, nothing to factorize")
    return "mobile"


def test_the_list(study: str, invoke: Invoke, invoke_json: Callable[..., Any]) -> None:
    head, line = invoke("study", "list").stdout.splitlines()
    assert head.split() == ["study", "model", "target", "complete", "failed", "running"]
    assert line.split() == ["mobile", "net.onnx", "board", "4", "1", "1"]
    [record] = invoke_json("study", "list")["studies"]
    assert record["name"] == "mobile"
    assert invoke_json("study", "list", record["where"])["studies"] == [record]


def test_an_empty_list_and_one_with_a_broken_file(study: str, tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data" / "graphopt" / "studies" / "broken.db").write_bytes(b"nothing" * 1000)
    result = invoke("study", "list")
    assert "mobile" in result.stdout
    assert "broken.db cannot be used" in result.stderr
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "empty"))
    assert "there is no study" in invoke("study", "list").stderr


def test_all_trials(study: str, invoke: Invoke, invoke_json: Callable[..., Any]) -> None:
    text = invoke("study", "show", study).stdout
    for words in (
        "net.onnx",
        "board 12ab",
        "latency_ms=8",
        "4 complete, 1 failed, 1 running",
        "factorize: no, nothing to factorize",
        "9.00 ms",
    ):
        assert words in text
    document = invoke_json("study", "show", study)
    assert [trial["pipeline"] for trial in document["trials"]] == [*FIGURES, "factorize", "reconstruct"]
    assert document["trials"][0]["values"]["latency_ms"] == 9.0
    assert document["identity"] == IDENTITY.to_json()


def test_the_best_within_the_budget(study: str, invoke: Invoke, invoke_json: Callable[..., Any]) -> None:
    assert "pipeline: prune{ratio=0.3}" in invoke("study", "best", study).stdout
    assert invoke_json("study", "best", study)["settings"] == {"ratio": 0.3}


def test_nothing_is_best_where_nothing_is_within_the_budget(study: str, tmp_path: Path, invoke: Invoke) -> None:
    objective = asdict(Objective(quality=1.0, limits={"latency_ms": 1.0}))
    with Study.open(Place.parse(str(tmp_path / "slow.db")), IDENTITY, objective=objective) as opened:
        claim = opened.claim(Proposal("simplify"))
        assert claim is not None
        claim.complete({"latency_ms": 2.0, "quality": 1.0})
    said = invoke("study", "best", tmp_path / "slow.db", status=1).stderr
    assert "is within the budget; simplify comes nearest and takes 2.00 times what is allowed" in said


def test_the_best_must_be_good_enough(study: str, tmp_path: Path, invoke: Invoke) -> None:
    """Of those within 8 ms the best drops quality by 0.09."""
    for drop, status in ((0.09, 0), (0.05, 1)):
        objective = asdict(Objective(quality=0.99, limits={"latency_ms": 8.0}, max_drop=drop))
        file = tmp_path / f"{drop}.db"
        with Study.open(Place.parse(str(file)), IDENTITY, objective=objective) as opened:
            for pipeline, (latency, quality) in FIGURES.items():
                claim = opened.claim(Proposal(pipeline))
                assert claim is not None
                claim.complete({"latency_ms": latency, "quality": quality})
        result = invoke("study", "best", file, status=status)
        if status:
            assert "prune{ratio=0.3} is the best and drops the quality from 0.99 to 0.9, where 0.05 less is allowed" in result.stderr
        else:
            assert "pipeline: prune{ratio=0.3}" in result.stdout


def test_a_study_that_does_not_say_what_is_best(tmp_path: Path, invoke: Invoke) -> None:
    for name, objective, status in (("plain", {}, 0), ("odd", {"beauty": 1.0}, 2)):
        with Study.open(Place.parse(str(tmp_path / f"{name}.db")), IDENTITY, objective=objective) as opened:
            for quality in (0.5, 0.9, 0.7):
                claim = opened.claim(Proposal(f"p{quality}"))
                assert claim is not None
                claim.complete({"quality": quality})
        result = invoke("study", "best", tmp_path / f"{name}.db", status=status)
        assert "pipeline: p0.9" in result.stdout if status == 0 else "another version" in result.stderr


def test_the_front(study: str, invoke: Invoke, invoke_json: Callable[..., Any]) -> None:
    rows = invoke("study", "pareto", study).stdout.splitlines()[1:]
    assert [row.split()[-1] for row in rows] == ["prune{ratio=0.4}", "prune{ratio=0.3}", "prune{ratio=0.1}"]
    assert [trial["number"] for trial in invoke_json("study", "pareto", study)["pareto"]] == [2, 1, 0]


def test_export(study: str, tmp_path: Path, invoke: Invoke) -> None:
    text = invoke("study", "export", study).stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["pipeline"] for row in rows] == [*FIGURES, "factorize", "reconstruct"]
    assert (rows[1]["latency_ms"], rows[1]["setting ratio"], rows[1]["state"]) == ("7.0", "0.3", "complete")
    assert (rows[4]["latency_ms"], rows[4]["reason"]) == ("", "no, nothing to factorize")
    document = json.loads(invoke("study", "export", study, "--json").stdout)
    assert document == json.loads(invoke("study", "show", study, "--json").stdout)
    for name, kind in (("trials.csv", "csv"), ("trials.json", "json"), ("other.txt", "csv")):
        invoke("study", "export", study, "-o", tmp_path / name)
        written = (tmp_path / name).read_bytes().decode()
        assert written.replace("\r\n", "\n") == text.replace("\r\n", "\n") if kind == "csv" else json.loads(written) == document
    assert "there is no folder" in invoke("study", "export", study, "-o", tmp_path / "none" / "x.csv", status=2).stderr


def test_a_study_that_is_not_there(study: str, invoke: Invoke) -> None:
    for command in ("show", "best", "pareto", "export"):
        assert "there is no study at" in invoke("study", command, "other", status=2).stderr
    assert "is no name for a study" in invoke("study", "show", "two words", status=2).stderr
