"""Running a pipeline: order, records, and whose fault an exception is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

import graphopt.ir as ir
from graphopt.errors import DefectError, EditError, PluginError
from graphopt.pipeline import Context, Instrument, Pass, PassResult, Pipeline, Registry, run_pipeline

from .passes import DropIdentity, Prune, identities


class Log(Instrument):
    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def before_pass(self, pass_: Pass, graph: ir.Graph) -> None:
        self.log.append(f"{self.name} before {pass_.name}, {len(graph.nodes)} nodes")

    def after_pass(self, pass_: Pass, graph: ir.Graph, result: PassResult) -> None:
        self.log.append(f"{self.name} after {pass_.name}, {len(graph.nodes)} nodes, {result.changed}")


def test_passes_run_in_order_in_place_and_are_recorded(tmp_path: Path) -> None:
    graph = identities(tmp_path / "m.onnx")
    first, second = run_pipeline(graph, Pipeline((DropIdentity(), Prune(ratio=0.25))))
    assert [node.op_type for node in graph.nodes] == ["Relu", "Sigmoid"]
    assert (first.text, first.result) == ("drop-identity", PassResult(changed=True, summary={"bypassed": 3}))
    assert (second.text, second.result) == ("prune-channels{ratio=0.25}", PassResult(changed=False))
    assert first.seconds > 0


def test_an_empty_pipeline_changes_nothing(tmp_path: Path) -> None:
    graph = identities(tmp_path / "m.onnx")
    version = graph.version
    assert run_pipeline(graph, Pipeline()) == []
    assert graph.version == version


def test_instruments_nest_around_each_pass(tmp_path: Path) -> None:
    log: list[str] = []
    context = Context(instruments=(Log("outer", log),))
    run_pipeline(identities(tmp_path / "m.onnx"), Pipeline((DropIdentity(),)), context, [Log("middle", log), Log("inner", log)])
    assert log == [
        "outer before drop-identity, 5 nodes",
        "middle before drop-identity, 5 nodes",
        "inner before drop-identity, 5 nodes",
        "inner after drop-identity, 2 nodes, True",
        "middle after drop-identity, 2 nodes, True",
        "outer after drop-identity, 2 nodes, True",
    ]


def test_a_pass_sees_seed_and_data_of_the_context_and_asks_the_instruments(tmp_path: Path) -> None:
    seen: list[Any] = []

    @dataclass(frozen=True)
    class Look(Prune):
        name: ClassVar[str] = "look"

        def apply(self, graph: ir.Graph, context: Context) -> PassResult:
            seen.extend([context.seed, context.data, context.permit("here")])
            return PassResult(changed=False)

    class Refuse(Instrument):
        def permit(self, where: str) -> bool:
            return False

    run_pipeline(identities(tmp_path / "m.onnx"), Pipeline((Look(),)), Context(seed=5, data={}), [Refuse()])
    assert seen == [5, {}, False]


def test_the_time_of_a_step_is_the_pass_alone(tmp_path: Path) -> None:
    class Slow(Instrument):
        def before_pass(self, pass_: Pass, graph: ir.Graph) -> None:
            time.sleep(0.2)

        def after_pass(self, pass_: Pass, graph: ir.Graph, result: PassResult) -> None:
            time.sleep(0.2)

    (record,) = run_pipeline(identities(tmp_path / "m.onnx"), Pipeline((Prune(),)), None, [Slow()])
    assert record.seconds < 0.1


FAILING = """from __future__ import annotations
import json
from dataclasses import dataclass
from typing import ClassVar
from graphopt import errors
from graphopt.pipeline import Pass

@dataclass(frozen=True)
class Fail(Pass):
    name: ClassVar[str] = "fail"
    how: str
    def apply(self, graph, context):
        if self.how == "user":
            raise errors.EditError("as it is")
        if self.how == "memory":
            raise MemoryError
        if self.how == "library":
            return [].index(3)
        if self.how == "deep":
            return json.loads("]")
        return None
"""


@pytest.fixture
def fail(tmp_path: Path) -> tuple[type[Pass], ir.Graph, Path]:
    file = tmp_path / "my_pass.py"
    file.write_text(FAILING)
    registry = Registry()
    registry.load_plugin(file)
    return registry.get("fail"), identities(tmp_path / "m.onnx"), file


def test_an_error_of_the_family_passes_through(fail: tuple[Any, ir.Graph, Path]) -> None:
    make, graph, _ = fail
    with pytest.raises(EditError) as caught:
        run_pipeline(graph, Pipeline((make(how="user"),)))
    assert type(caught.value) is EditError
    assert str(caught.value) == "as it is"


def test_running_out_of_memory_is_nobodys_defect(fail: tuple[Any, ir.Graph, Path]) -> None:
    make, graph, _ = fail
    with pytest.raises(MemoryError):
        run_pipeline(graph, Pipeline((make(how="memory"),)))


@pytest.mark.parametrize(
    ("how", "line", "message", "cause"),
    [
        ("library", 18, "ValueError: 3 is not in list", ValueError),
        ("deep", 20, "JSONDecodeError: Expecting value: line 1 column 1 (char 0)", ValueError),
    ],
)
def test_another_exception_is_the_plugins_fault_and_names_the_line(
    fail: tuple[Any, ir.Graph, Path], how: str, line: int, message: str, cause: type[Exception]
) -> None:
    make, graph, file = fail
    with pytest.raises(PluginError) as caught:
        run_pipeline(graph, Pipeline((make(how=how),)))
    assert str(caught.value).startswith(f"pass 'fail{{how={how}}}' failed in {file}, line {line}: {message};")
    assert isinstance(caught.value.__cause__, cause)


def test_a_pass_that_returns_no_result_is_the_plugins_fault(fail: tuple[Any, ir.Graph, Path]) -> None:
    make, graph, _ = fail
    with pytest.raises(PluginError, match="returned NoneType, not a PassResult"):
        run_pipeline(graph, Pipeline((make(how="nothing"),)))


def test_an_exception_of_a_built_in_pass_is_our_defect(fail: tuple[Any, ir.Graph, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    make, graph, _ = fail
    monkeypatch.setattr(make, "__module__", "graphopt.passes.fail")
    with pytest.raises(
        DefectError, match=r"pass 'fail\{how=library\}' failed: ValueError: 3 is not in list; .* defect of graphopt"
    ) as caught:
        run_pipeline(graph, Pipeline((make(how="library"),)))
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(DefectError, match="returned NoneType"):
        run_pipeline(graph, Pipeline((make(how="nothing"),)))
