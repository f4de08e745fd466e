from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from graphopt.errors import InvalidModelError, OutputError
from graphopt.pipeline import Skip
from graphopt.report import Figures, FileRecord, Origin, Report, Step, file_record, schema, write_report

FOLDER = Path(__file__).parents[2]
BEFORE, AFTER = Figures(60, 2304, 421, 0.5, 0.98), Figures(30, 1152, 301, 0.25, 0.97)
STEP = Step(
    "prune-channels{ratio=0.5 criterion=l2}",
    0.25,
    Figures(60, 2304, 421),
    Figures(30, 1152, 301),
    {"conv.weight": {"0": [0, 3]}, "naïve/ß": {"1": [1], "0": []}},
    (Skip("'head' (Gemm)", "its outputs are the model's outputs"),),
)
REPORT = Report(
    Origin("0.1.0", "graphopt optimize in.onnx", 7),
    FileRecord("in.onnx", "0" * 64),
    FileRecord("out.onnx", "f" * 64),
    "cpu",
    {"speedup": 1.5},
    BEFORE,
    AFTER,
    (STEP,),
)


def valid(document: Any) -> bool:
    validator = jsonschema.Draft202012Validator(schema())
    return not list(validator.iter_errors(document))


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


def test_the_report_has_the_members_that_other_tools_read() -> None:
    document = json.loads(REPORT.to_json())
    figures = {"params": 60, "macs": 2304, "bytes": 421, "latency_ms": 0.5, "quality": 0.98, "latency_interval_ms": None}
    assert list(document) == ["graphopt", "input", "output", "target", "budget", "before", "after", "steps", "predicted"]
    assert document["graphopt"] == {"version": "0.1.0", "command": "graphopt optimize in.onnx", "seed": 7}
    assert document["input"] == {"path": "in.onnx", "sha256": "0" * 64}
    assert document["before"] == figures
    (step,) = document["steps"]
    assert list(step) == ["pass", "seconds", "before", "after", "kept", "skipped"]
    assert step["pass"] == "prune-channels{ratio=0.5 criterion=l2}"
    assert step["before"] == {**figures, "latency_ms": None, "quality": None}
    assert step["kept"] == {"conv.weight": {"0": [0, 3]}, "naïve/ß": {"1": [1], "0": []}}
    assert step["skipped"] == [{"where": "'head' (Gemm)", "why": "its outputs are the model's outputs"}]


def test_a_report_is_valid_and_so_is_one_without_output_budget_and_steps() -> None:
    assert valid(json.loads(REPORT.to_json()))
    bare = Report(REPORT.graphopt, REPORT.input, None, "cpu", {}, Figures(0, 0, 0), Figures(0, 0, 0))
    assert valid(json.loads(bare.to_json()))
    assert json.loads(bare.to_json())["output"] is None


def test_numbers_of_numpy_are_written_and_what_json_cannot_hold_is_null() -> None:
    odd: Any = Figures(np.int64(3), np.int64(4), 5, np.float32(0.5), float("nan"))
    report = Report(REPORT.graphopt, REPORT.input, None, "cpu", {"latency_ms": np.float64(2)}, odd, odd)
    document = json.loads(report.to_json())
    assert document["before"] == {"params": 3, "macs": 4, "bytes": 5, "latency_ms": 0.5, "quality": None, "latency_interval_ms": None}
    assert document["budget"] == {"latency_ms": 2}
    assert valid(document)


@pytest.mark.parametrize(
    "change",
    [
        {"input": {"path": "in.onnx"}},
        {"input": {"path": "in.onnx", "sha256": "abc"}},
        {"before": {"params": 1}},
        {"before": {"params": -1, "macs": 1, "bytes": 1, "latency_ms": None, "quality": None}},
        {"steps": [{"pass": "simplify"}]},
        {"graphopt": {"version": "", "command": "", "seed": 0}},
    ],
)
def test_the_schema_refuses(change: dict[str, Any]) -> None:
    assert not valid({**json.loads(REPORT.to_json()), **change})


@pytest.mark.parametrize(
    "kept", [{"w": {"axis": [0]}}, {"w": {"-1": [0]}}, {"w": {"0": [-1]}}, {"w": {"0": [1, 1]}}, {"w": {"0": ["1"]}}, {"w": [0]}]
)
def test_the_schema_refuses_a_malformed_record_of_what_was_kept(kept: Any) -> None:
    document = json.loads(REPORT.to_json())
    document["steps"][0]["kept"] = kept
    assert not valid(document)


def test_writing_is_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_report(REPORT, path)
    assert path.read_text(encoding="utf-8") == REPORT.to_json()
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]
    with pytest.raises(OutputError, match="cannot write"):
        write_report(REPORT, tmp_path / "absent" / "report.json")


def test_a_name_that_is_no_utf_8_is_written_escaped(tmp_path: Path) -> None:
    report = Report(REPORT.graphopt, FileRecord("in\udcff.onnx", "0" * 64), None, "cpu", {}, BEFORE, AFTER)
    write_report(report, tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["input"]["path"] == "in\udcff.onnx"


def test_a_file_is_recorded_by_its_contents(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"contents")
    assert file_record(path) == FileRecord(str(path), hashlib.sha256(b"contents").hexdigest())
    with pytest.raises(InvalidModelError, match="cannot read"):
        file_record(tmp_path / "absent.onnx")


def test_the_example_of_the_documentation_is_valid() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", (FOLDER / "docs" / "report.md").read_text(encoding="utf-8"), re.DOTALL)
    assert valid(json.loads(example))


def test_the_documentation_describes_every_member() -> None:
    text = (FOLDER / "docs" / "report.md").read_text(encoding="utf-8")
    rules = schema()
    parts = [rules, *rules["$defs"].values(), *rules["properties"].values()]
    for name in {name for part in parts for name in part.get("properties", {})} - {"where", "why"}:
        assert re.search(rf"`[^`]*\b{name}\b[^`]*`", text), name
