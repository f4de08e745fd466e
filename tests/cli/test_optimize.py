"""The command; what it searches is tested in tests/search. Only the last test measures."""

from __future__ import annotations

import json
import shlex
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import graphopt
from graphopt.cost import count
from graphopt.report import file_record, schema

from ..cost.staircase import target
from .conftest import Invoke

DIGITS = Path(__file__).parents[2] / "examples" / "digits"

Json = Callable[..., Any]
FEW = ("--trials", "1")


@pytest.fixture(autouse=True)
def one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is searched is not the matter here."""
    monkeypatch.setattr("graphopt.search.job.compressing_passes", lambda registry: ("prune-channels",))


@pytest.mark.usefixtures("computed")
def test_a_budget_is_met(model: Path, data: Path, invoke: Invoke) -> None:
    source = file_record(model)
    result = invoke("optimize", model, *FEW, "-o", "out.onnx", "--speedup", "1.5x", "--data", data, "--report", "r.json")
    report = json.loads(Path("r.json").read_text())
    jsonschema.validate(report, schema())
    assert (
        report["graphopt"]["command"]
        == "graphopt optimize model.onnx --trials 1 -o out.onnx --speedup 1.5x --data data.npz --report r.json"
    )
    assert report["input"] == {"path": "model.onnx", "sha256": source.sha256}
    assert report["output"] == {"path": "out.onnx", "sha256": file_record("out.onnx").sha256}
    assert report["budget"] == {"speedup": 1.5}
    assert report["before"]["latency_ms"] / report["after"]["latency_ms"] >= 1.5
    assert report["after"]["macs"] == count(graphopt.load("out.onnx")).macs
    assert "wrote out.onnx" in result.stdout
    assert "pipeline: simplify,fuse-bn,prune-channels{to=" in result.stdout
    assert "2 threads" in result.stdout


@pytest.mark.usefixtures("computed")
@pytest.mark.parametrize(
    ("given", "budget"),
    [
        (("--latency", "0.4ms"), {"latency_ms": 0.4}),
        (("--latency", "0.0004s", "--max-drop", "95%"), {"latency_ms": 0.4, "max_drop": 0.95}),
        (("--speedup", "1.2", "--latency", "9"), {"latency_ms": 9, "speedup": 1.2}),
        (("--max-drop", "0.3"), {"max_drop": 0.3}),
        ((), {"max_drop": 0.01}),
    ],
)
def test_budgets(model: Path, invoke_json: Json, given: tuple[str, ...], budget: dict[str, float]) -> None:
    printed = invoke_json("optimize", model, *FEW, "-o", "out.onnx", *given)
    assert printed["budget"] == pytest.approx(budget)
    assert printed["missed"] is None


@pytest.mark.usefixtures("computed")
def test_json_is_the_report_and_more(model: Path, data: Path, invoke_json: Json) -> None:
    printed = invoke_json("optimize", model, *FEW, "-o", "out.onnx", "--speedup", "2", "--data", data, "--report", "r.json")
    jsonschema.validate(printed, schema())
    written = json.loads(Path("r.json").read_text())
    assert {name: printed[name] for name in written} == written
    assert (printed["metric"], printed["samples"], printed["changed"]) == ("top1", 4, True)
    assert printed["measured"] == {"threads": 2, "repeats": 100}
    assert any(trial["speedup"] >= 2 for trial in printed["trials"])
    assert all(trial["pipeline"].startswith("simplify,fuse-bn") for trial in printed["trials"])


@pytest.mark.usefixtures("computed")
def test_a_missed_budget_writes_the_report_but_no_model(model: Path, invoke: Invoke) -> None:
    result = invoke("optimize", model, *FEW, "-o", "out.onnx", "--speedup", "1000", "--report", "r.json", status=1)
    report = json.loads(Path("r.json").read_text())
    jsonschema.validate(report, schema())
    assert report["output"] is None
    assert report["after"]["macs"] < report["before"]["macs"]
    assert not Path("out.onnx").exists()
    assert "Error: the budget is missed: no model was found that takes 1/1000 of the original's time" in result.stderr
    assert "no model was written; --best-effort writes the best one" in result.stderr
    assert "the budget is missed; the best that was found:" in result.stdout


@pytest.mark.usefixtures("computed")
def test_the_best_model_is_written_on_demand(model: Path, invoke: Invoke) -> None:
    result = invoke("optimize", model, *FEW, "-o", "out.onnx", "--speedup", "1000", "--best-effort", "--report", "r.json", status=1)
    assert json.loads(Path("r.json").read_text())["output"]["sha256"] == file_record("out.onnx").sha256
    assert "out.onnx holds the best model all the same" in result.stderr


@pytest.mark.usefixtures("computed")
def test_json_of_a_missed_budget_is_still_json(model: Path, invoke_json: Json) -> None:
    printed = invoke_json("optimize", model, *FEW, "-o", "out.onnx", "--speedup", "1000", status=1)
    assert "no model was found" in printed["missed"]
    assert printed["output"] is None


@pytest.mark.usefixtures("computed")
def test_without_data_quality_is_called_an_indication(model: Path, invoke: Invoke) -> None:
    result = invoke("optimize", model, *FEW, "-o", "out.onnx", "--speedup", "1.2")
    assert "Note: no data was given: fidelity on made-up inputs is only an indication of quality" in result.stderr


@pytest.mark.usefixtures("computed")
def test_a_change_may_be_required(model: Path, invoke: Invoke) -> None:
    arguments = ("optimize", model, "-o", "out.onnx", "--latency", "1000ms", "--first", "simplify", "--require-change")
    assert "no pass changed the model" in invoke(*arguments, status=1).stderr
    assert not Path("out.onnx").exists()


def test_another_device_is_predicted(model: Path, invoke: Invoke, invoke_json: Json) -> None:
    target().save("stairs")
    result = invoke("optimize", model, *FEW, "-o", "out.onnx", "--target", "./stairs", "--speedup", "1.5", "--report", "r.json")
    report = json.loads(Path("r.json").read_text())
    jsonschema.validate(report, schema())
    assert (report["predicted"], report["target"]) == (True, "./stairs")
    assert report["before"]["latency_ms"] / report["after"]["latency_ms"] >= 1.5
    assert "predicted for ./stairs: " in result.stdout
    assert "with 90 % certainty" in result.stdout
    assert "measured" not in result.stdout
    printed = invoke_json("optimize", model, *FEW, "-o", "out.onnx", "--target", "./stairs", "--speedup", "1.5")
    assert printed["measured"] is None
    assert printed["predicted"] is True
    invoke("optimize", model, *FEW, "-o", "o.onnx", "--target", "./stairs", "--speedup", "1000", status=1)


@pytest.mark.usefixtures("computed")
def test_the_line_to_paste_makes_the_same_bytes(model: Path, data: Path, invoke: Invoke, invoke_json: Json) -> None:
    for given in (("--data", data, "--seed", "3"), ("--calibration", data), ()):
        printed = invoke_json("optimize", model, *FEW, "-o", "out.onnx", "--speedup", "1.5", *given)
        made = file_record("out.onnx").sha256
        program, *again = shlex.split(printed["again"])
        assert program == "graphopt"
        Path("out.onnx").unlink()
        invoke(*again)
        assert file_record("out.onnx").sha256 == made


@pytest.mark.usefixtures("computed")
def test_the_front_is_shown_and_drawn(model: Path, data: Path, invoke: Invoke) -> None:
    result = invoke(
        "optimize", model, "--strategy", "grid", "--trials", "2", "-o", "out.onnx", "--speedup", "1.5", "--data", data, "--plot", "p.svg"
    )
    assert "the best of 2 trials" in result.stdout
    assert "predicted" in result.stdout
    assert len(ElementTree.parse("p.svg").getroot().findall("{http://www.w3.org/2000/svg}circle")) >= 3
    assert "cannot write absent/p.svg" in invoke("optimize", model, "-o", "o.onnx", "--plot", "absent/p.svg", status=2).stderr


@pytest.mark.usefixtures("computed")
def test_a_study_may_be_kept(model: Path, invoke: Invoke, invoke_json: Json) -> None:
    kept = ("--study", "./kept.db", "--strategy", "random", "--speedup", "1.5")
    first = invoke_json("optimize", model, *FEW, "-o", "out.onnx", *kept)
    again = invoke_json("optimize", model, *FEW, "-o", "out.onnx", *kept)
    assert [trial["pipeline"] for trial in again["trials"]] == [trial["pipeline"] for trial in first["trials"]]
    best = invoke_json("study", "best", "./kept.db")  # judged as the search judged: the speedup is a limit
    trials = [trial for trial in first["trials"] if trial["state"] == "complete"]
    assert best["values"]["quality"] == max(trial["quality"] for trial in trials)
    assert set(invoke_json("study", "show", "./kept.db")["objective"]["limits"]) == {"latency_ms"}
    result = invoke("optimize", model, "-o", "out.onnx", "--study", "./kept.db", "--speedup", "1.7", status=2)
    assert "is of another search" in result.stderr


@pytest.mark.parametrize(
    "given", [("--strategy", "guess"), ("--time", "soon"), ("--trials", "0"), ("--solver", "magic", "--speedup", "1.5")]
)
def test_what_makes_no_sense(model: Path, invoke: Invoke, given: tuple[str, ...]) -> None:
    invoke("optimize", model, "-o", "out.onnx", *given, status=2)
    assert not Path("out.onnx").exists()


def test_a_target_that_is_not_there(model: Path, invoke: Invoke) -> None:
    result = invoke("optimize", model, *FEW, "-o", "out.onnx", "--target", "jetsen-nano", status=2)
    assert "no target 'jetsen-nano': did you mean" in result.stderr


def test_the_example_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ("--data", DIGITS / "calibration.npz", "--latency", "1000", "--max-drop", "1%", "--threads", "1")
    invoke("optimize", DIGITS / "digits.onnx", *FEW, "-o", "digits.onnx", *arguments, "--report", "r.json")
    report = json.loads(Path("r.json").read_text())
    jsonschema.validate(report, schema())
    original, result = count(graphopt.load(DIGITS / "digits.onnx")), count(graphopt.load("digits.onnx"))
    for name, counted in (("before", original), ("after", result)):
        assert (report[name]["params"], report[name]["macs"], report[name]["bytes"]) == (counted.params, counted.macs, counted.bytes)
        assert report[name]["latency_ms"] > 0
    assert report["before"]["quality"] - report["after"]["quality"] <= 0.01
    assert report["before"]["quality"] > 0.98  # 89 of the 90 pictures of the test part
    graphopt.verify(graphopt.load("digits.onnx"))
