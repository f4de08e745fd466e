from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import graphopt
from graphopt.cost import count
from graphopt.quality import load_data, session, top1
from graphopt.search import Effort

from ..search.fakes import FakeBench
from .conftest import Invoke

Json = Callable[..., Any]


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure shortly: no test looks at how long anything took."""
    for effort in ("SURE", "FINAL"):
        monkeypatch.setattr(f"graphopt.cli.check.{effort}", Effort(2, 0.01, 1.0))


@pytest.fixture
def smaller(model: Path, invoke: Invoke) -> Path:
    invoke("run", model, "-p", "prune-channels", "-o", "smaller.onnx")
    return Path("smaller.onnx")


@pytest.mark.parametrize(("option", "name"), [("--max-params", "params"), ("--max-macs", "macs"), ("--max-size", "bytes")])
def test_counted_gates_hold_up_to_their_limit(model: Path, invoke: Invoke, option: str, name: str) -> None:
    exactly = getattr(count(graphopt.load(model)), name)
    assert " ok" in invoke("check", model, option, exactly).stdout
    result = invoke("check", model, option, exactly - 1, status=1)
    assert "MISSED" in result.stdout
    assert "1 of 1 gates missed" in result.stderr


def test_all_gates_are_shown_and_one_that_is_missed_fails(model: Path, smaller: Path, data: Path, invoke_json: Json) -> None:
    found = invoke_json(
        *("check", smaller, "--reference", model, "--data", data, "--max-latency", "10s", "--max-params", "1G", "--max-macs", "1"),
        *("--min-fidelity", "0%", "--min-quality", "0"),
        status=1,
    )
    gates = {gate["gate"]: gate for gate in found["gates"]}
    assert [name for name, gate in gates.items() if not gate["ok"]] == ["MACs"]
    assert set(gates) == {"parameters", "MACs", "latency", "fidelity", "top1"}
    assert found["ok"] is False
    assert gates["latency"]["limit"] == 10_000
    assert (gates["MACs"]["bound"], gates["top1"]["bound"]) == ("max", "min")
    assert gates["top1"]["value"] == top1(session(graphopt.load(smaller)), load_data(data, graphopt.load(smaller)))


def test_fidelity_to_a_reference(model: Path, smaller: Path, invoke: Invoke) -> None:
    invoke("check", model, "--min-fidelity", "100%", "--reference", model)
    result = invoke("check", smaller, "--min-fidelity", "99.9%", "--reference", model, status=1)
    assert "Note: no data was given" in result.stderr


@pytest.mark.parametrize(("limit", "status"), [("1.9x", 0), ("4", 1)])
def test_speed_beside_a_reference(
    model: Path, smaller: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch, limit: str, status: int
) -> None:
    def bench(*_: object, **__: object) -> FakeBench:
        return FakeBench(graphopt.load(model), lambda macs: 2.0 if macs == count(graphopt.load(model)).macs else 1.0)

    monkeypatch.setattr("graphopt.cli.check.CpuBench", bench)
    result = invoke("check", smaller, "--min-speedup", limit, "--reference", model, status=status)
    assert "2.00x" in result.stdout
    assert "Note" not in result.stderr


@pytest.mark.parametrize(("limit", "efforts"), [("1ms", 1), ("2.05ms", 2), ("10ms", 1)])
def test_a_latency_near_its_limit_is_measured_longer(
    model: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch, limit: str, efforts: int
) -> None:
    bench = FakeBench(graphopt.load(model), lambda macs: 2.0)
    monkeypatch.setattr("graphopt.cli.check.CpuBench", lambda *_, **__: bench)
    invoke("check", model, "--max-latency", limit, status=1 if limit == "1ms" else 0)
    assert len(bench.timed) == efforts


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Give at least one limit"),
        (("--min-fidelity", "0.9"), "--min-fidelity needs --reference"),
        (("--min-speedup", "2"), "--min-speedup needs --reference"),
        (("--min-quality", "0.9"), "--min-quality needs --data"),
        (("--max-latency", "soon"), "'soon' is no time"),
    ],
)
def test_wrong_usage(model: Path, invoke: Invoke, arguments: tuple[str, ...], message: str) -> None:
    assert message in invoke("check", model, *arguments, status=2).stderr


def test_a_missing_reference(model: Path, invoke: Invoke) -> None:
    result = invoke("check", model, "--min-fidelity", "0.9", "--reference", "absent.onnx", status=2)
    assert result.stderr == "Error: cannot read absent.onnx: No such file or directory\n"
