from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import onnx
import pytest

import graphopt
from graphopt.cost import count
from graphopt.report import file_record, schema

from ..cost.staircase import target
from ..models import read, serialised
from ..networks import network, write_data, write_network
from .conftest import Invoke

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_an_empty_pipeline_writes_the_same_model(model: Path, invoke: Invoke) -> None:
    invoke("run", model, "-p", "", "-o", "out.onnx", "--report", "r.json")
    assert serialised(read(Path("out.onnx"))) == serialised(network())
    report = json.loads(Path("r.json").read_text())
    assert report["steps"] == []
    assert report["before"] == report["after"]


def test_the_report_says_what_was_done(model: Path, invoke: Invoke) -> None:
    source = file_record(model)
    arguments = ["run", str(model), "-p", "fuse-bn,prune-channels{ratio=0.25}", "-o", "out.onnx", "--report", "r.json", "--seed", "4"]
    result = invoke(*arguments)
    report = json.loads(Path("r.json").read_text())
    jsonschema.validate(report, schema())
    assert report["graphopt"] == {
        "version": graphopt.__version__,
        "command": "graphopt run model.onnx -p 'fuse-bn,prune-channels{ratio=0.25}' -o out.onnx --report r.json --seed 4",
        "seed": 4,
    }
    assert report["input"] == {"path": "model.onnx", "sha256": source.sha256}
    assert report["output"] == {"path": "out.onnx", "sha256": file_record("out.onnx").sha256}
    assert (report["target"], report["budget"]) == ("cpu", {})
    counted = count(graphopt.load("out.onnx"))
    assert report["after"] == {
        "params": counted.params,
        "macs": counted.macs,
        "bytes": Path("out.onnx").stat().st_size,
        "latency_ms": None,
        "quality": None,
        "latency_interval_ms": None,
    }
    assert report["before"]["bytes"] == model.stat().st_size
    assert [step["pass"] for step in report["steps"]] == ["fuse-bn", "prune-channels{ratio=0.25}"]
    assert report["steps"][1]["before"] == report["steps"][0]["after"]
    assert "wrote out.onnx" in result.stdout
    assert "fused 1" in result.stdout


def test_pruning_alone_keeps_the_names_of_the_input(model: Path, invoke: Invoke) -> None:
    invoke("run", model, "-p", "prune-channels{ratio=0.5 criterion=l2}", "-o", "out.onnx", "--report", "r.json")
    (step,) = json.loads(Path("r.json").read_text())["steps"]
    before, after = read(model), read(Path("out.onnx"))
    assert [node.name for node in after.graph.node] == [node.name for node in before.graph.node]
    assert {tensor.name for tensor in after.graph.initializer} == {tensor.name for tensor in before.graph.initializer}
    shapes = {tensor.name: list(tensor.dims) for tensor in after.graph.initializer}
    for tensor in before.graph.initializer:
        expected = [len(step["kept"].get(tensor.name, {}).get(str(axis), range(size))) for axis, size in enumerate(tensor.dims)]
        assert shapes[tensor.name] == expected
    onnx.checker.check_model(after, full_check=True)


def test_the_output_may_be_the_input(model: Path, invoke: Invoke) -> None:
    source = file_record(model)
    invoke("run", model, "-p", "prune-channels", "-o", model, "--report", "r.json")
    report = json.loads(Path("r.json").read_text())
    assert report["input"]["sha256"] == source.sha256
    assert report["output"]["sha256"] == file_record(model).sha256 != source.sha256


def test_json_is_the_report_and_nothing_else(model: Path, invoke_json: Callable[..., Any]) -> None:
    printed = invoke_json("run", model, "-p", "prune-channels", "-o", "out.onnx", "--report", "r.json")
    jsonschema.validate(printed, schema())
    assert printed["changed"] is True
    assert printed["notes"] == ["MACs are counted with dimension 'batch' taken as 1"]
    assert {name: printed[name] for name in printed if name not in ("changed", "notes")} == json.loads(Path("r.json").read_text())


def test_instruments(model: Path, invoke: Invoke) -> None:
    result = invoke("run", model, "-p", "simplify,fuse-bn", "-o", "out.onnx", "--timing", "--dump-ir", "dump", "--verify-each")
    assert [path.name for path in sorted(Path("dump").iterdir())] == ["00-input.onnx", "01-simplify.onnx", "02-fuse-bn.onnx"]
    assert serialised(read(Path("dump/00-input.onnx"))) == serialised(network())
    assert serialised(read(Path("dump/02-fuse-bn.onnx"))) == serialised(read(Path("out.onnx")))
    assert " s  fuse-bn\n" in result.stderr
    assert " s  total\n" in result.stderr


def test_stop_after_the_first_rewrites(model: Path, invoke: Invoke) -> None:
    result = invoke("run", model, "-p", "fuse-bn,prune-channels", "-o", "out.onnx", "--stop-after", "2")
    assert "Note: 2 rewrites were done and 1 were not; the last one: prune-channels: " in result.stderr
    assert "BatchNormalization" not in [node.op_type for node in graphopt.load("out.onnx").nodes]
    invoke("run", model, "-p", "fuse-bn,prune-channels", "-o", "none.onnx", "--stop-after", "0")
    assert serialised(read(Path("none.onnx"))) == serialised(network())


def test_a_change_may_be_required(model: Path, invoke: Invoke) -> None:
    result = invoke("run", model, "-p", "prune-channels{ratio=0}", "-o", "out.onnx", "--require-change", status=1)
    assert "no pass changed the model" in result.stderr
    assert not Path("out.onnx").exists()
    invoke("run", model, "-p", "prune-channels", "-o", "out.onnx", "--require-change")


def test_what_a_pass_left_alone_is_told(model: Path, invoke: Invoke) -> None:
    text = invoke("run", model, "-p", "prune-channels", "-o", "out.onnx").stdout
    assert "prune-channels left alone:\n" in text
    assert "graph output" in text


def test_a_pass_of_a_single_file(model: Path, invoke: Invoke) -> None:
    plugin = EXAMPLES / "single_file_pass.py"
    invoke("run", model, "-p", "swap-activation{old=Relu new=Elu},name-nodes", "-o", "out.onnx", "--plugin", plugin)
    assert [node.op_type for node in graphopt.load("out.onnx").nodes].count("Elu") == 2


def test_data_reaches_the_passes(model: Path, invoke: Invoke) -> None:
    Path("look.py").write_text(
        "from dataclasses import dataclass\nfrom typing import ClassVar\nfrom graphopt import Context, Graph, Pass, PassResult\n\n"
        "@dataclass(frozen=True)\nclass Look(Pass):\n    name: ClassVar[str] = 'look'\n\n"
        "    def apply(self, graph: Graph, context: Context) -> PassResult:\n"
        "        return PassResult(False, {'rows': len(context.data['image']), 'seed': context.seed})\n"
    )
    write_data(Path("d.npz"), samples=5)
    result = invoke("run", model, "-p", "look", "-o", "out.onnx", "--plugin", "look.py", "--data", "d.npz", "--seed", "9")
    assert "rows 5, seed 9" in result.stdout


def test_a_model_that_never_verified_is_not_our_defect(model: Path, invoke: Invoke) -> None:
    strange = network()
    strange.graph.node.add(op_type="Mystery", domain="com.example", input=["r1"], output=["s"])
    strange.opset_import.add(domain="com.example", version=1)
    Path("strange.onnx").write_bytes(strange.SerializeToString())
    result = invoke("run", "strange.onnx", "-p", "fuse-bn", "-o", "out.onnx")
    assert "Note: the result could not be verified, because the input already fails: " in result.stderr
    result = invoke("run", "strange.onnx", "-p", "fuse-bn", "-o", "out.onnx", "--verify-each", status=2)
    assert "--verify-each cannot tell anything" in result.stderr


def test_a_broken_pass_is_caught_before_anything_is_written(model: Path, invoke: Invoke) -> None:
    Path("wreck.py").write_text(
        "from dataclasses import dataclass\nfrom typing import ClassVar\nimport numpy as np\n"
        "from graphopt import Context, Graph, Pass, PassResult\n\n"
        "@dataclass(frozen=True)\nclass Wreck(Pass):\n    name: ClassVar[str] = 'wreck'\n\n"
        "    def apply(self, graph: Graph, context: Context) -> PassResult:\n"
        "        graph.set_tensor(graph.value('head.weight'), np.zeros((5, 64), np.float32))\n"
        "        return PassResult(True)\n"
    )
    result = invoke("run", model, "-p", "wreck", "-o", "out.onnx", "--plugin", "wreck.py", status=3)
    assert result.stderr.startswith("Error: ")
    assert not Path("out.onnx").exists()


def test_external_data_goes_along(model: Path, invoke: Invoke) -> None:
    onnx.save(network(), "big.onnx", save_as_external_data=True, location="big.data", size_threshold=100)
    Path("out").mkdir()
    invoke("run", "big.onnx", "-p", "prune-channels", "-o", "out/big.onnx")
    onnx.checker.check_model("out/big.onnx", full_check=True)


@pytest.mark.parametrize("pipeline", ["", "fuse-bn"])
def test_a_second_file_is_written_the_same(model: Path, invoke: Invoke, pipeline: str) -> None:
    write_network(Path("again.onnx"))
    for source, output in ((model, "one.onnx"), ("again.onnx", "two.onnx")):
        invoke("run", source, "-p", pipeline, "-o", output)
    assert Path("one.onnx").read_bytes() == Path("two.onnx").read_bytes()


def test_widths_of_a_target(model: Path, invoke: Invoke) -> None:
    target().save("stairs")
    invoke("run", model, "-p", "prune-channels{ratio=0.3 align=target}", "-o", "out.onnx", "--target", "./stairs", "--report", "r.json")
    assert json.loads(Path("r.json").read_text())["target"] == "./stairs"
    assert graphopt.load("out.onnx").value("conv2.weight").tensor.shape == (48, 48, 3, 3)  # type: ignore[union-attr]
    error = invoke("run", model, "-p", "prune-channels{align=target}", "-o", "out.onnx", status=2).stderr
    assert "align=target needs to know the target; name it with --target" in error
