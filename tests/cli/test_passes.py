from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from graphopt.pipeline import Registry

from .conftest import Invoke

PLUGIN = Path(__file__).parents[2] / "examples" / "single_file_pass.py"


def test_every_pass_is_listed_with_its_parameters(invoke: Invoke) -> None:
    text = invoke("passes").stdout
    for info in Registry.installed().describe():
        assert f"{info.name}: {info.summary}" in text
        assert f"  from {info.source}" in text
        for parameter in info.parameters:
            assert all(word in text for word in parameter.help.split())  # long lines are broken
    assert "one of l1, l2" in text


def test_json(invoke_json: Callable[..., Any]) -> None:
    found = {info["name"]: info for info in invoke_json("passes")["passes"]}
    assert set(found) == set(Registry.installed().names())
    ratio = next(parameter for parameter in found["prune-channels"]["parameters"] if parameter["name"] == "ratio")
    assert (ratio["type"], ratio["default"], ratio["required"], ratio["range"]) == ("float", "0.5", False, "at least 0 and below 1")
    assert found["simplify"]["problem"] is None


def test_some_of_them(invoke_json: Callable[..., Any], invoke: Invoke) -> None:
    assert [info["name"] for info in invoke_json("passes", "fuse-bn")["passes"]] == ["fuse-bn"]
    assert "did you mean 'fuse-bn'?" in invoke("passes", "fuse-bm", status=2).stderr


def test_plug_ins_are_listed_and_required_parameters_marked(invoke: Invoke, invoke_json: Callable[..., Any]) -> None:
    text = invoke("passes", "--plugin", PLUGIN).stdout
    assert "swap-activation: Replace every activation" in text
    assert "(required)" in text
    old = invoke_json("passes", "swap-activation", "--plugin", PLUGIN)["passes"][0]["parameters"][0]
    assert (old["required"], old["default"]) == (True, None)


def test_a_pass_that_does_not_load_does_not_hide_the_others(tmp_path: Path, invoke: Invoke, monkeypatch: Any) -> None:
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[graphopt.passes]\nbroken = no_such_module:Pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    text = invoke("passes").stdout
    assert "broken: " in text
    assert "No module named 'no_such_module'" in text
    assert "fuse-bn: " in text
