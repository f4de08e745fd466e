from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from graphopt.cost.fitting import fit_target
from graphopt.cost.installed import find_target, installed_targets
from graphopt.cost.target import Target

from ..cost.kernels_by_law import measured_target, without_kernels
from .conftest import Invoke


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Two targets, of which one was not fitted."""
    target = fit_target(measured_target(networks=10))
    folders = {"board": tmp_path / "board", "raw": tmp_path / "raw"}
    target.save(folders["board"])
    replace(without_kernels(measured_target(networks=2)), name="raw", aliases=()).save(folders["raw"])
    monkeypatch.setattr("graphopt.cost.installed._folders", lambda: list(folders.values()))
    return folders


def test_the_list(installed: dict[str, Path], invoke: Invoke) -> None:
    lines = invoke("targets").stdout.splitlines()
    board = next(line for line in lines if line.startswith("board, plank"))
    assert "a board" in board
    assert "onnxruntime" in board
    assert "float32" in board
    assert " %" in board


def test_the_list_for_machines(installed: dict[str, Path], invoke_json: Callable[..., Any]) -> None:
    found = {target["name"]: target for target in invoke_json("targets")["targets"]}
    assert found["board"]["aliases"] == ["plank"]
    assert found["board"]["error"]["networks"] == 10
    assert found["board"]["error"]["mape"] < 0.1


def test_one_target(installed: dict[str, Path], invoke: Invoke) -> None:
    text = invoke("targets", "show", "plank").stdout
    for words in ("a board", "source  tests", "error of held-out networks", "nchwc.dense", "GMAC/s", "us per MB", "90 % interval at 10 ms"):
        assert words in text
    dense = next(line for line in text.splitlines() if line.startswith("nchwc.dense"))
    rate = float(dense.split()[3])
    assert rate == pytest.approx(1e-6 / 1.2e-8, rel=0.5)  # the law that the kernels follow


def test_one_target_for_machines(installed: dict[str, Path], invoke_json: Callable[..., Any]) -> None:
    record = invoke_json("targets", "show", "board")
    assert record["provenance"] == {"source": "tests"}
    assert record["measured"]["kernels"] == len(Target.load(installed["board"]).kernels)
    assert record["coefficients"]["linear"]["families"]["nchwc.dense"]["macs"] > 0


def test_figures_of_error_are_shares_and_those_of_provenance_are_not(invoke: Invoke) -> None:
    lines = [line.split() for line in invoke("targets", "show", "cpu").stdout.splitlines()]
    target = find_target("cpu")
    assert ["seconds", str(target.provenance["seconds"])] in lines
    assert ["mape", f"{target.error['mape'] * 100:.1f}", "%"] in lines


def test_a_folder_and_one_that_was_not_fitted(installed: dict[str, Path], invoke: Invoke) -> None:
    result = invoke("targets", "show", installed["raw"])
    assert "none: only whole networks were measured" in result.stdout
    assert "not fitted yet" in result.stderr


def test_an_unknown_target(installed: dict[str, Path], invoke: Invoke) -> None:
    assert "no target 'boards': did you mean board" in invoke("targets", "show", "boards", status=2).stderr


def test_the_targets_that_come_with_graphopt(invoke_json: Callable[..., Any]) -> None:
    assert [target["name"] for target in invoke_json("targets")["targets"]] == list(installed_targets())
