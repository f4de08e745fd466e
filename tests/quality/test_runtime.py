from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import parser

import graphopt.ir as ir
from graphopt.errors import RuntimeRefusedError
from graphopt.quality import default_threads, run, runtime, session

AFFINE = """
<ir_version: 10, opset_import: ["" : 18]>
affine (float[n, 2] x) => (float[n, 2] y)
<float[2] scale = {2.0, -1.0}>
{ y = Mul(x, scale) }
"""
X = np.array([[1, 2], [3, 4]], np.float32)
Y = np.array([[2, -2], [6, -4]], np.float32)


@pytest.fixture
def model() -> onnx.ModelProto:
    return parser.parse_model(AFFINE)


def test_runs_a_graph_a_model_and_a_file_alike(model: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    for form in (ir.Graph.from_proto(model), model, path, str(path)):
        outputs = run(session(form), {"x": X})
        assert list(outputs) == ["y"]
        np.testing.assert_array_equal(outputs["y"], Y)


def test_edits_of_a_graph_are_what_runs(model: onnx.ModelProto) -> None:
    graph = ir.Graph.from_proto(model)
    graph.set_tensor(graph.value("scale"), np.array([1, 1], np.float32))
    np.testing.assert_array_equal(run(session(graph), {"x": X})["y"], X)


@pytest.mark.parametrize("as_proto", [False, True])
def test_large_models_go_through_a_file_which_is_gone_afterwards(
    model: onnx.ModelProto, as_proto: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "_LARGEST_IN_MEMORY", 0)
    monkeypatch.setattr(runtime.tempfile, "tempdir", str(tmp_path))
    saved: list[Path] = []
    monkeypatch.setattr(runtime, "save", lambda graph, path: (saved.append(path), ir.save(graph, path)))
    opened = session(model if as_proto else ir.Graph.from_proto(model))
    assert len(saved) == 1
    assert list(tmp_path.iterdir()) == []
    np.testing.assert_array_equal(run(opened, {"x": X})["y"], Y)


def test_threads_and_optimization_are_passed_on(model: onnx.ModelProto) -> None:
    plain = session(model, threads=1, optimize=False).get_session_options()
    assert plain.intra_op_num_threads == 1
    assert plain.graph_optimization_level.name == "ORT_DISABLE_ALL"
    assert session(model).get_session_options().intra_op_num_threads == default_threads() >= 1


def test_a_refused_model_is_one_line(tmp_path: Path) -> None:
    unknown = parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18, "nobody" : 1]> g (float[1] x) => (float[1] y) { y = nobody.Op(x) }'
    )
    text = tmp_path / "text.onnx"
    text.write_text("not a model")
    for form in (unknown, text, tmp_path / "absent.onnx"):
        with pytest.raises(RuntimeRefusedError, match="ONNX Runtime cannot load the model: ") as caught:
            session(form)
        assert "\n" not in str(caught.value)


def test_inputs_that_do_not_fit_are_one_line(model: onnx.ModelProto) -> None:
    opened = session(model)
    for feeds in ({}, {"x": np.zeros((2, 3), np.float32)}, {"x": np.zeros((2, 2), np.int64)}):
        with pytest.raises(RuntimeRefusedError, match="cannot run the model") as caught:
            run(opened, feeds)
        assert "\n" not in str(caught.value)


def test_elements_of_a_sequence_come_one_by_one() -> None:
    model = parser.parse_model("""
        <ir_version: 10, opset_import: ["" : 18]>
        g (float[2, 2] x) => (seq(float[1, 2]) rows) { rows = SplitToSequence <axis = 0> (x) }
    """)
    model.graph.output[0].type.sequence_type.elem_type.tensor_type.ClearField("shape")
    outputs = run(session(model), {"x": X})
    assert {name: array.tolist() for name, array in outputs.items()} == {"rows[0]": [[1, 2]], "rows[1]": [[3, 4]]}
