"""Instruments: timing, numbered dumps, verify-each, stop-after-n."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import onnx
import pytest

import graphopt.ir as ir
from graphopt.errors import VerifyError
from graphopt.pipeline import Context, DumpGraphs, PassResult, Pipeline, StopAfter, Timing, VerifyEach, run_pipeline

from .passes import DropIdentity, Prune, identities


@dataclass(frozen=True)
class Sleep(Prune):
    name: ClassVar[str] = "sleep"
    seconds: float = 0.0

    def apply(self, graph: ir.Graph, context: Context) -> PassResult:
        time.sleep(self.seconds)
        return PassResult(changed=False)


@dataclass(frozen=True)
class Break(Prune):
    """Makes the model one that ONNX refuses, and may keep that to itself."""

    name: ClassVar[str] = "break"
    says_so: bool = True

    def apply(self, graph: ir.Graph, context: Context) -> PassResult:
        graph.set_attribute(graph.nodes[0], "no_such_attribute", 1)
        return PassResult(changed=self.says_so)


def test_timing_lists_each_pass_and_the_total(tmp_path: Path) -> None:
    timing = Timing()
    run_pipeline(identities(tmp_path / "m.onnx"), Pipeline((Sleep(seconds=0.05), DropIdentity())), None, [timing])
    (slept, slow), (dropped, fast) = timing.seconds
    assert (slept, dropped) == ("sleep{seconds=0.05}", "drop-identity")
    assert 0.05 <= slow < 1
    assert fast > 0
    lines = str(timing).splitlines()
    assert [line.split(" s  ")[1] for line in lines] == ["sleep{seconds=0.05}", "drop-identity", "total"]
    assert float(lines[2].split()[0]) == pytest.approx(slow + fast, abs=0.001)


def test_dumps_are_numbered_and_hold_the_graph_of_that_moment(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "dumps"
    graph = identities(tmp_path / "m.onnx")
    run_pipeline(graph, Pipeline((Sleep(), DropIdentity(), Prune())), None, [DumpGraphs(folder)])
    sizes = {path.name: len(onnx.load(path).graph.node) for path in sorted(folder.iterdir())}
    assert sizes == {"00-input.onnx": 5, "01-sleep.onnx": 5, "02-drop-identity.onnx": 2, "03-prune-channels.onnx": 2}
    assert (folder / "00-input.onnx").read_bytes() == (tmp_path / "m.onnx").read_bytes()


def test_verify_each_names_the_pass_that_broke_the_graph(tmp_path: Path) -> None:
    graph = identities(tmp_path / "m.onnx")
    with pytest.raises(VerifyError, match=r"^after break: .*no_such_attribute") as caught:
        run_pipeline(graph, Pipeline((DropIdentity(), Break(), Prune())), None, [VerifyEach()])
    assert isinstance(caught.value.__cause__, VerifyError)


def test_verify_each_does_not_believe_a_pass_that_says_nothing_changed(tmp_path: Path) -> None:
    with pytest.raises(VerifyError, match=r"^after break\{says_so=false\}: "):
        run_pipeline(identities(tmp_path / "m.onnx"), Pipeline((Break(says_so=False),)), None, [VerifyEach()])


def test_verify_each_runs_once_for_each_pass_that_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(ir, "verify", lambda graph, runtime: calls.append((len(graph.nodes), runtime)))
    passes = (Prune(), DropIdentity(), DropIdentity())
    run_pipeline(identities(tmp_path / "m.onnx"), Pipeline(passes), None, [VerifyEach(runtime=False)])
    assert calls == [(2, False)]


@pytest.mark.parametrize("rewrites", range(5))
def test_stop_after_permits_the_first_rewrites_of_the_whole_pipeline(tmp_path: Path, rewrites: int) -> None:
    graph = identities(tmp_path / "m.onnx")
    stop = StopAfter(rewrites)
    records = run_pipeline(graph, Pipeline((DropIdentity(), DropIdentity())), None, [stop])
    names = ["one", "two", "three"]
    assert [node.name for node in graph.nodes] == ["first", *names[rewrites:], "last"]
    assert stop.permitted == [f"drop-identity: bypass '{name}' (Identity)" for name in names[:rewrites]]
    assert stop.refused == 2 * max(0, 3 - rewrites)
    assert [record.result.changed for record in records] == [rewrites > 0, False]


def test_bisection_finds_the_rewrite_that_goes_wrong(tmp_path: Path) -> None:
    """The use that stop-after-n is for: the first n whose result is bad names the culprit."""
    path = tmp_path / "m.onnx"

    def bad(rewrites: int) -> tuple[bool, StopAfter]:
        graph, stop = identities(path), StopAfter(rewrites)
        run_pipeline(graph, Pipeline((DropIdentity(),)), None, [stop])
        return "two" not in [node.name for node in graph.nodes], stop

    low, high = 0, 3
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if bad(middle)[0] else (middle, high)
    assert bad(high)[1].permitted[-1] == "drop-identity: bypass 'two' (Identity)"
