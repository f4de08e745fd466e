from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import graphopt
from graphopt.report import schema
from graphopt.supernet import schema as supernet_schema

from ..supernet.families import small
from .conftest import Invoke

ARGUMENTS = ("extract", "super.onnx", "--supernet", "s.json", "--config", "c.json", "-o", "sub.onnx")


@pytest.fixture
def supernet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """super.onnx, s.json, c.json and t.npz in the current folder."""
    monkeypatch.chdir(tmp_path)
    made = small("ofa_mbv3")
    np.savez("t.npz", **made.transforms)  # type: ignore[arg-type]
    Path("s.json").write_text(json.dumps(made.document | {"transforms": "t.npz"}))
    Path("c.json").write_text(json.dumps({"ks": 3, "e": 4, "d": 2, "r": [48]}))
    path = Path("super.onnx")
    path.write_bytes(made.model.SerializeToString())
    return path


def test_a_subnet(supernet: Path, invoke: Invoke) -> None:
    result = invoke(*ARGUMENTS, "--report", "r.json")
    assert "blocks left out 10" in result.stdout
    assert "image size 48" in result.stdout
    assert "wrote sub.onnx" in result.stdout
    report = json.loads(Path("r.json").read_text())
    jsonschema.validate(report, schema())
    assert [step["pass"] for step in report["steps"]] == ["extract-subnet{supernet=s.json config=c.json}"]
    assert report["after"]["params"] < report["before"]["params"]
    graph = graphopt.load("sub.onnx")
    assert graph.shape(graph.inputs[0]) == ("batch", 3, 48, 48)
    again = invoke("run", supernet, "-p", report["steps"][0]["pass"], "-o", "again.onnx")
    assert "blocks left out 10" in again.stdout
    assert Path("again.onnx").read_bytes() == Path("sub.onnx").read_bytes()


def test_json(supernet: Path, invoke_json: Callable[..., Any]) -> None:
    printed = invoke_json(*ARGUMENTS)
    assert printed["changed"] is True
    assert printed["summary"]["blocks_left_out"] == 10
    assert {name: printed[name] for name in printed if name not in ("changed", "summary", "notes")}.keys() == schema()["properties"].keys()


def test_recalibration(supernet: Path, invoke: Invoke) -> None:
    invoke(*ARGUMENTS)
    plain = graphopt.load("sub.onnx")
    np.savez("images.npz", input=np.random.default_rng(0).normal(size=(4, 3, 48, 48)).astype(np.float32))
    assert "recalibrated" in invoke(*ARGUMENTS, "--recalibrate", "--data", "images.npz").stdout
    fresh = graphopt.load("sub.onnx")
    old, new = (graph.value("first.bn.running_mean").tensor for graph in (plain, fresh))
    assert old is not None
    assert new is not None
    assert not np.array_equal(old.numpy(), new.numpy())
    assert "--recalibrate needs --data" in invoke(*ARGUMENTS, "--recalibrate", status=2).stderr


@pytest.mark.parametrize(
    ("config", "more", "message"),
    [
        ({"ks": 4}, (), "Error: c.json: ks[0] is 4, and the block of slot 0 has the kernel sizes 3, 5, 7"),
        ({"wid": 0}, (), "Error: c.json: wid is not supported"),
        ({}, ("--transforms", "no.npz"), "Error: cannot read transforms no.npz"),
        ({}, ("--supernet", "no.json"), "Error: cannot read supernet description no.json"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    supernet: Path, invoke: Invoke, config: dict[str, Any], more: tuple[str, ...], message: str
) -> None:
    Path("c.json").write_text(json.dumps(config))
    result = invoke(*ARGUMENTS, *more, status=2)
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1
    assert not Path("sub.onnx").exists()


def test_a_side_file_that_forgets_an_edit(supernet: Path, invoke: Invoke) -> None:
    examples = Path(__file__).parents[2] / "examples" / "supernets"
    document = json.loads((examples / "hat_encoder.supernet.json").read_text())
    document["edits"] = [edit for edit in document["edits"] if edit["node"] != "layer0/ffn1/bias"]
    Path("s.json").write_text(json.dumps(document))
    Path("c.json").write_text('{"ffn": 16}')
    result = invoke("extract", examples / "hat_encoder.onnx", *ARGUMENTS[2:], status=2)
    assert "the subnet is no valid model, so s.json does not describe" in result.stderr
    assert not Path("sub.onnx").exists()


def test_notes(supernet: Path, invoke: Invoke) -> None:
    Path("c.json").write_text(json.dumps({"e": 5}))
    assert "Note: e = 5 is not among the trained ratios 3, 4, 6" in invoke(*ARGUMENTS).stderr


def test_inspect_drafts_a_side_file(supernet: Path, invoke: Invoke, invoke_json: Callable[..., Any]) -> None:
    text = invoke("inspect", supernet, "--supernet").stdout
    assert "20 inverted bottleneck blocks in 5 stages: 4 + 4 + 4 + 4 + 4" in text
    assert "cannot be seen, to be filled in:" in text
    assert "wrote supernet.json" in text
    document = json.loads(Path("supernet.json").read_text())
    jsonschema.validate(document, supernet_schema("supernet"))
    invoke(*ARGUMENTS, "--supernet", "supernet.json", "--transforms", "t.npz")
    printed = invoke_json("inspect", supernet, "--supernet", "other.json")["supernet"]
    assert printed["family"] == "ofa_mbv3"
    assert printed["path"] == "other.json"
    assert json.loads(Path("other.json").read_text()) == document


def test_a_side_file_is_never_overwritten(supernet: Path, invoke: Invoke) -> None:
    before = Path("s.json").read_text()
    assert "s.json is there already" in invoke("inspect", supernet, "--supernet", "s.json", status=2).stderr
    assert Path("s.json").read_text() == before


def test_a_model_without_blocks(model: Path, invoke: Invoke) -> None:
    assert "no inverted bottlenecks or bottlenecks were found" in invoke("inspect", model, "--supernet", "s.json", status=2).stderr
    assert not Path("s.json").exists()
