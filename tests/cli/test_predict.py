from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import onnx
import pytest

from graphopt.cost.fitting import fit_target
from graphopt.cost.target import Target

from ..cost.kernels_by_law import measured_target
from ..networks import network
from .conftest import Invoke


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("targets") / "board"
    fit_target(measured_target(networks=12)).save(folder)
    return folder


def test_a_table_of_kernels_and_of_families(model: Path, board: Path, invoke: Invoke) -> None:
    result = invoke("predict", model, "--target", board)
    lines = result.stdout.splitlines()
    assert lines[0].startswith("model.onnx on board: ")
    assert "(90 %), predicted (fused)" in lines[0]
    conv = next(line for line in lines if line.startswith("conv2 "))
    assert "nchwc.dense" in conv
    assert "near the table" in conv
    assert any(line.startswith("nchwc.image ") for line in lines)
    assert "Note: dimension 'batch' taken as 1" in result.stderr


def test_json(model: Path, board: Path, invoke_json: Callable[..., Any]) -> None:
    record = invoke_json("predict", model, "--target", board)
    assert record["low_ms"] < record["ms"] < record["high_ms"]
    assert (record["target"], record["model"], record["measured"]) == ("board", "fused", False)
    assert record["kernels"][0]["nodes"][0] == "conv1"
    assert sum(kernel["share"] for kernel in record["kernels"]) == pytest.approx(1)
    assert sum(kernel["ms"] for kernel in record["kernels"]) == pytest.approx(record["kernels_ms"])
    assert record["assumptions"] == ["dimension 'batch' taken as 1"]


def test_models_to_compare(model: Path, board: Path, invoke_json: Callable[..., Any]) -> None:
    found = {name: invoke_json("predict", model, "--target", board, "--model", name) for name in ("fused", "lut", "linear")}
    assert len({record["ms"] for record in found.values()}) == 3
    assert {kernel["source"] for kernel in found["linear"]["kernels"]} <= {"linear", "free"}


def test_the_slowest_kernels(model: Path, board: Path, invoke: Invoke, invoke_json: Callable[..., Any]) -> None:
    lines = invoke("predict", model, "--target", board, "--top", 1).stdout.splitlines()
    slowest = max(invoke_json("predict", model, "--target", board)["kernels"], key=lambda kernel: kernel["ms"])
    assert lines[3].split()[0] == slowest["name"]
    assert lines[4].startswith("and ")


def test_shapes(model: Path, board: Path, invoke: Invoke, invoke_json: Callable[..., Any]) -> None:
    one = invoke_json("predict", model, "--target", board)["ms"]
    by_input = invoke_json("predict", model, "--target", board, "--shape", "image=16x3x8x8")
    by_name = invoke_json("predict", model, "--target", board, "--shape", "batch=16")
    assert by_input["ms"] == by_name["ms"] > one
    for text, words in (
        ("image", "does not read like"),
        ("image=axb", "does not read like"),
        ("image=1x3x9x8", "axis 2 of input 'image' is 8 in the model, and not 9"),
        ("picture=1x3x8x8", "no input 'picture'; inputs are 'image'"),
        ("width=3", "no input has an open dimension 'width'"),
    ):
        assert words in invoke("predict", model, "--target", board, "--shape", text, status=2).stderr
    twice = ("--shape", "batch=2", "--shape", "batch=3")
    assert "twice" in invoke("predict", model, "--target", board, *twice, status=2).stderr


def test_an_open_size_must_be_given(tmp_path: Path, board: Path, invoke: Invoke) -> None:
    model = network()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    onnx.save(model, tmp_path / "open.onnx")
    message = invoke("predict", tmp_path / "open.onnx", "--target", board, status=2).stderr
    assert "axis 2 of input 'image', 'height', has no fixed size; say which with --shape image=1x3x<height>x8" in message
    invoke("predict", tmp_path / "open.onnx", "--target", board, "--shape", "image=1x3x8x8")
    invoke("predict", tmp_path / "open.onnx", "--target", board, "--shape", "height=8")


class _Page(HTMLParser):
    """Checks that tags close in order, and collects what the page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.bars = 0
        self.loaded: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)
        given = dict(attrs)
        self.bars += "width:" in (given.get("style") or "")
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page(model: Path, board: Path, invoke: Invoke, invoke_json: Callable[..., Any]) -> None:
    invoke("predict", model, "--target", board, "--html", "page.html")
    page = _Page()
    page.feed(Path("page.html").read_text())
    record = invoke_json("predict", model, "--target", board)
    timed = [kernel for kernel in record["kernels"] if kernel["ms"]]
    assert page.open == []
    assert page.loaded == []
    assert page.bars == len(timed) + sum(family["ms"] > 0 for family in record["families"].values())
    assert all(kernel["name"] in page.text for kernel in timed)


def test_names_in_a_page_are_no_markup(tmp_path: Path, board: Path, invoke: Invoke) -> None:
    model = network()
    model.graph.node[0].name = "<script>alert('x')</script>"
    onnx.save(model, tmp_path / "evil.onnx")
    invoke("predict", tmp_path / "evil.onnx", "--target", board, "--html", tmp_path / "page.html")
    assert "<script" not in (tmp_path / "page.html").read_text()


def test_bad_input(model: Path, board: Path, tmp_path: Path, invoke: Invoke) -> None:
    assert "no target 'nonsense'" in invoke("predict", model, "--target", "nonsense", status=2).stderr
    assert "it has no target.toml" in invoke("predict", model, "--target", tmp_path, status=2).stderr
    assert "Missing option '--target'" in invoke("predict", model, status=2).stderr
    missing = invoke("predict", model, "--target", board, "--html", "nowhere/page.html", status=2).stderr
    assert "there is no folder nowhere" in missing


def test_a_truncated_table(model: Path, board: Path, tmp_path: Path, invoke: Invoke) -> None:
    broken = Target.load(board).save(tmp_path / "broken").folder
    assert broken is not None
    lines = (broken / "kernels.csv").read_text().splitlines(keepends=True)
    (broken / "kernels.csv").write_text("".join(lines[:-3]))
    assert "kernels.csv has" in invoke("predict", model, "--target", broken, status=2).stderr
    (broken / "kernels.csv").write_text("".join(lines[:-1]) + lines[-1][:20])
    assert f"kernels.csv, line {len(lines)}" in invoke("predict", model, "--target", broken, status=2).stderr
