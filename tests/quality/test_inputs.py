from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import parser

from graphopt.errors import DataError, UnsupportedError
from graphopt.ir import Graph
from graphopt.quality import Data, load_data, run, session, synthetic_inputs


def graph_of(signature: str, body: str) -> Graph:
    return Graph.from_proto(parser.parse_model(f'<ir_version: 10, opset_import: ["" : 18]> g {signature} {{ {body} }}'))


FREE = ("(float[batch, 3] x) => (float[batch, 3] y)", "y = Relu(x)")
FIXED = ("(float[2, 3] x) => (float[2, 3] y)", "y = Relu(x)")
TWO = ("(float[batch, 3] x, int64[batch, 1] i) => (float[batch, 3] y)", "f = Cast<to = 1>(i) y = Add(x, f)")


def arrays(path: Path, **content: Any) -> Path:
    np.savez(path / "data.npz", **content)
    return path / "data.npz"


def rows(count: int, width: int = 3) -> np.ndarray:
    return np.arange(count * width, dtype=np.float32).reshape(count, width)


def test_a_free_batch_takes_any_number_of_samples(tmp_path: Path) -> None:
    data = load_data(arrays(tmp_path, x=rows(150), labels=np.arange(150), other=np.zeros(7)), graph_of(*FREE))
    assert data.samples == 150
    assert list(data.feeds) == ["x"]
    parts = [feeds["x"] for feeds in data.runs()]
    assert len(parts) > 1
    np.testing.assert_array_equal(np.concatenate(parts), rows(150))
    assert data.labels is not None
    assert data.labels.tolist() == list(range(150))
    assert data.one_run()["x"].tolist() == rows(1).tolist()
    assert data.one_run(4)["x"].tolist() == rows(4).tolist()


def test_large_samples_make_smaller_runs(tmp_path: Path) -> None:
    graph = graph_of("(float[batch, 500000] x) => (float[batch, 500000] y)", "y = Relu(x)")
    data = load_data(arrays(tmp_path, x=np.zeros((5, 500_000), np.float32)), graph)
    assert [len(feeds["x"]) for feeds in data.runs()] == [2, 2, 1]


def test_a_fixed_batch_is_run_several_times(tmp_path: Path) -> None:
    data = load_data(arrays(tmp_path, x=rows(6), labels=np.zeros(6)), graph_of(*FIXED))
    assert [feeds["x"].tolist() for feeds in data.runs()] == [rows(6)[i : i + 2].tolist() for i in (0, 2, 4)]
    assert data.one_run(1)["x"].tolist() == rows(2).tolist()


def test_an_input_that_is_given_once_goes_to_every_run(tmp_path: Path) -> None:
    graph = graph_of("(float[1, 3] x, float[1, 3] bias) => (float[1, 3] y)", "y = Add(x, bias)")
    data = load_data(arrays(tmp_path, x=rows(4), bias=rows(1)), graph)
    assert data.samples == 4
    assert [feeds["bias"].shape for feeds in data.runs()] == [(1, 3)] * 4


def test_a_fixed_input_beside_a_free_batch_goes_to_every_run(tmp_path: Path) -> None:
    graph = graph_of("(float[batch, 3] x, float[3] bias) => (float[batch, 3] y)", "y = Add(x, bias)")
    data = load_data(arrays(tmp_path, x=rows(100), bias=rows(1)[0]), graph)
    assert {feeds["bias"].shape for feeds in data.runs()} == {(3,)}
    assert data.samples == 100


def test_axis_0_is_no_batch_where_an_output_does_not_have_it(tmp_path: Path) -> None:
    graph = graph_of("(float[time, 3] x) => (float[1, 3] y)", "y = ReduceMean<keepdims = 1>(x)")
    data = load_data(arrays(tmp_path, x=rows(100)), graph)
    assert [feeds["x"].shape for feeds in data.runs()] == [(100, 3)]
    assert data.samples == 1


def test_first_cuts_samples_and_labels(tmp_path: Path) -> None:
    free = load_data(arrays(tmp_path, x=rows(10), labels=np.arange(10)), graph_of(*FREE)).first(3)
    assert free.samples == 3
    assert free.labels is not None
    assert free.labels.tolist() == [0, 1, 2]
    fixed = load_data(arrays(tmp_path, x=rows(10), labels=np.arange(10)), graph_of(*FIXED)).first(5)
    assert (fixed.samples, len(fixed.labels if fixed.labels is not None else ())) == (4, 4)


def test_an_input_with_a_default_may_be_left_out(tmp_path: Path) -> None:
    graph = graph_of("(float[batch, 3] x, float[1] b) => (float[batch, 3] y) <float[1] b = {1.0}>", "y = Add(x, b)")
    assert list(load_data(arrays(tmp_path, x=rows(2)), graph).feeds) == ["x"]
    assert list(synthetic_inputs(graph).feeds) == ["x"]


def test_an_input_called_labels_is_an_input(tmp_path: Path) -> None:
    graph = graph_of("(float[batch, 3] labels) => (float[batch, 3] y)", "y = Relu(labels)")
    data = load_data(arrays(tmp_path, labels=rows(2)), graph)
    assert list(data.feeds) == ["labels"]
    assert data.labels is None


@pytest.mark.parametrize(
    ("graph", "content", "message"),
    [
        (FREE, {"X": rows(2)}, r"no array for input 'x' \(float32 \[batch, 3\]\); it holds 'X'"),
        (FREE, {"x": rows(2).astype(np.float64)}, r"input 'x' must be float32 \[batch, 3\], but the array is float64"),
        (FREE, {"x": rows(2)[0]}, r"input 'x' must be float32 \[batch, 3\], but the array has shape \[3\]"),
        (FREE, {"x": rows(2, 4)}, r"input 'x' must have shape \[any, 3\], but the array has shape \[2, 4\]: axis 1 differs"),
        (FREE, {"x": rows(0)}, r"at least one: 'x' has 0"),
        (FREE, {"x": rows(2), "labels": np.zeros(3)}, r"labels has shape \[3\], but there are 2 samples"),
        (FREE, {"x": rows(2), "labels": np.array(3)}, r"labels has shape \[\], but there are 2 samples"),
        (FIXED, {"x": rows(3)}, r"input 'x' has 3 rows along axis 0, but must have a multiple of 2"),
        (FIXED, {"x": rows(0)}, r"input 'x' has 0 rows along axis 0, but must have a multiple of 2"),
        (TWO, {"x": rows(2), "i": np.zeros((3, 1), np.int64)}, r"same number of samples, at least one: 'x' has 2, 'i' has 3"),
        (TWO, {"x": rows(2), "i": np.zeros((2, 1), np.int32)}, r"input 'i' must be int64 \[batch, 1\], but the array is int32"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, graph: tuple[str, str], content: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load_data(arrays(tmp_path, **content), graph_of(*graph))
    assert "data.npz" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_npz_is_refused(tmp_path: Path) -> None:
    graph = graph_of(*FREE)
    with pytest.raises(DataError, match="there is no data file"):
        load_data(tmp_path / "absent.npz", graph)
    whole = arrays(tmp_path, x=rows(100)).read_bytes()
    np.save(tmp_path / "one.npy", rows(2))
    for name, content in {"empty.npz": b"", "text.npz": b"hello", "cut.npz": whole[:200], "one.npy": None}.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match="npz") as caught:
            load_data(tmp_path / name, graph)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError):
        load_data(tmp_path, graph)


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle was executed",))


def test_pickles_are_not_executed(tmp_path: Path) -> None:
    graph = graph_of(*FREE)
    with pytest.raises(DataError, match="plain arrays"):
        load_data(arrays(tmp_path, x=np.array([_Bomb()], dtype=object)), graph)
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(_Bomb()))
    with pytest.raises(DataError, match="plain arrays"):
        load_data(tmp_path / "pickle.npz", graph)


def test_synthetic_inputs_are_valid_repeatable_and_say_what_they_assume() -> None:
    graph = graph_of(
        "(float[batch, chunk, 3] x, int64[batch, chunk] ids, bool[batch, 1] mask, float16[batch, ?] h) => (float[batch, chunk, 3] y)",
        "y = Relu(x)",
    )
    data = synthetic_inputs(graph, seed=1, samples=4)
    assert {name: (array.shape, str(array.dtype)) for name, array in data.feeds.items()} == {
        "x": ((4, 1, 3), "float32"),
        "ids": ((4, 1), "int64"),
        "mask": ((4, 1), "bool"),
        "h": ((4, 1), "float16"),
    }
    assert set(np.unique(data.feeds["ids"])) <= {0, 1}
    assert data.assumptions == (
        "dimension 'batch' taken as 4",
        "dimension 'chunk' taken as 1",
        "axis 1 of input 'h', which is free, taken as 1",
    )
    again, other = synthetic_inputs(graph, seed=1, samples=4), synthetic_inputs(graph, seed=2, samples=4)
    np.testing.assert_array_equal(data.feeds["x"], again.feeds["x"])
    assert not np.array_equal(data.feeds["x"], other.feeds["x"])
    run(session(graph), data.one_run())


def test_synthetic_inputs_fill_several_runs_of_a_fixed_batch() -> None:
    data = synthetic_inputs(graph_of(*FIXED), samples=5)
    assert [feeds["x"].shape for feeds in data.runs()] == [(2, 3)] * 3
    assert data.assumptions == ()


def test_synthetic_inputs_refuse_what_they_cannot_make_up() -> None:
    for signature, body in (
        ("(float[] x) => (float[] y)", "y = Relu(x)"),
        ("(seq(float[1]) x) => (float[1] y)", "y = ConcatFromSequence<axis = 0>(x)"),
    ):
        graph = graph_of(signature, body)
        if "seq" not in signature:
            proto = graph.to_proto()
            proto.graph.input[0].type.tensor_type.ClearField("shape")
            graph = Graph.from_proto(proto)
        with pytest.raises(UnsupportedError, match="'x'"):
            synthetic_inputs(graph)


def test_data_without_cut_inputs_is_one_run() -> None:
    data = Data({"x": rows(3)})
    assert data.samples == 1
    assert [list(feeds) for feeds in data.runs()] == [["x"]]
