"""Saving: over itself, elsewhere, beside others, untouched and edited; the data goes along and nobody else's is harmed."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import graphopt.ir as ir
from graphopt.errors import GraphoptError, OutputError
from tests.ir import features, places
from tests.ir.external import (
    COUNT,
    SIZE,
    contents,
    external_model,
    factor_in,
    factor_of,
    in_child,
    litter,
    multiply,
    write_data,
    write_model,
)
from tests.ir.test_external import huggingface
from tests.models import difference, read, serialised, write


def run(path: Path) -> float:
    """What ONNX Runtime, which follows its own rules about data files, computes of the model: the weights' factor."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    result = session.run(None, {"x": np.zeros(SIZE, np.float32)})[0]
    return float(result[-1] / sum(contents(n)[-1] for n in range(COUNT)))


def check(path: Path, factor: float) -> None:
    assert factor_of(path) == factor
    assert run(path) == pytest.approx(factor)
    onnx.checker.check_model(str(path))
    onnx.load(path)


# --- untouched ---


def test_untouched_over_itself(tmp_path: Path) -> None:
    path = write_model(tmp_path)
    before = read(path)
    ir.save(ir.load(path), path)
    assert not difference(before, read(path))
    assert litter(tmp_path) == ["model.onnx", "w.bin"]
    check(path, 1.0)


def test_untouched_into_another_folder(tmp_path: Path) -> None:
    path = write_model(tmp_path / "a")
    (tmp_path / "b").mkdir()
    ir.save(ir.load(path), tmp_path / "b" / "other.onnx")
    assert not difference(read(path), read(tmp_path / "b" / "other.onnx"))
    shutil.rmtree(tmp_path / "a")
    assert litter(tmp_path / "b") == ["other.onnx", "w.bin"]
    check(tmp_path / "b" / "other.onnx", 1.0)


def test_untouched_under_another_name_beside_itself(tmp_path: Path) -> None:
    path = write_model(tmp_path)
    ir.save(ir.load(path), tmp_path / "second.onnx")
    check(path, 1.0)
    check(tmp_path / "second.onnx", 1.0)


def test_two_data_files_one_in_a_subfolder(tmp_path: Path) -> None:
    path = write_model(tmp_path / "a", location="sub/deep/more.bin")
    write_data(tmp_path / "a" / "sub" / "deep" / "more.bin")
    (tmp_path / "b").mkdir()
    ir.save(ir.load(path), tmp_path / "b" / "model.onnx")
    assert litter(tmp_path / "b") == ["model.onnx", "sub/deep/more.bin", "w.bin"]
    check(tmp_path / "b" / "model.onnx", 1.0)


def test_relative_paths_and_strings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b").mkdir()
    graph = ir.load("model.onnx")
    ir.save(graph, "b/model.onnx")
    ir.save(graph, "model.onnx")
    multiply(graph, 2.0)
    ir.save(graph, "b/model.onnx")
    check(tmp_path / "model.onnx", 1.0)
    check(tmp_path / "b" / "model.onnx", 2.0)


@pytest.mark.parametrize("place", places.PLACES)
def test_data_of_every_tensor_goes_along(place: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a" / "model.onnx", places.put(place, "far.bin"))
    (tmp_path / "a" / "far.bin").write_bytes(contents(0).tobytes())
    (tmp_path / "b").mkdir()
    graph = ir.load(path)
    ir.save(graph, tmp_path / "b" / "untouched.onnx")
    graph.add_node("Relu", [graph.value("x")], ["new"])
    ir.save(graph, tmp_path / "b" / "edited.onnx")
    ir.save(graph.copy(), tmp_path / "b" / "copied.onnx")
    shutil.rmtree(tmp_path / "a")
    for name in ("untouched.onnx", "edited.onnx", "copied.onnx"):
        for tensor in places.tensors(read(tmp_path / "b" / name)):
            onnx.external_data_helper.load_external_data_for_tensor(tensor, str(tmp_path / "b"))
            np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor), contents(0))
        ir.save(ir.load(tmp_path / "b" / name), tmp_path / "again.onnx")


@pytest.mark.parametrize("place", places.PLACES)
def test_to_proto_has_every_weight_inside(place: str, tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx", places.put(place, "far.bin"))
    (tmp_path / "far.bin").write_bytes(contents(0).tobytes())
    graph = ir.load(path)
    assert places.tensors(graph.to_proto()) == []
    assert places.tensors(graph.copy().to_proto()) == []


# --- edited ---


@pytest.mark.parametrize("times", [1, 4])
def test_every_weight_edited_lazily_and_saved_over_itself(times: int, tmp_path: Path) -> None:
    path = write_model(tmp_path)
    for n in range(times):
        graph = ir.load(path)
        multiply(graph, 0.5)
        ir.save(graph, path)
        check(path, 0.5 ** (n + 1))
    assert len(litter(tmp_path)) <= 3, "model, its data, and the first data file, which may be another's"


def test_saved_again_and_again_from_one_graph(tmp_path: Path) -> None:
    """The graph keeps reading what it loaded, whatever was saved over it since."""
    path = write_model(tmp_path)
    graph = ir.load(path)
    for n in range(4):
        multiply(graph, 2.0)
        ir.save(graph, path)
        check(path, 2.0 ** (n + 1))
    assert len(litter(tmp_path)) <= 3


def test_a_graph_loaded_before_is_not_disturbed(tmp_path: Path) -> None:
    path = write_model(tmp_path)
    for _ in range(3):
        earlier, graph = ir.load(path), ir.load(path)
        old = factor_in(earlier)
        multiply(graph, 3.0)
        ir.save(graph, path)
        assert factor_in(earlier) == old
        ir.save(earlier, tmp_path / "earlier.onnx")
        check(tmp_path / "earlier.onnx", old)
        check(path, old * 3.0)


def test_one_weight_of_three(tmp_path: Path) -> None:
    path = write_model(tmp_path)
    graph = ir.load(path)
    graph.set_tensor(graph.value("w1"), contents(1) * 7)
    ir.save(graph, path)
    again = ir.load(path)
    for n, factor in enumerate((1.0, 7.0, 1.0)):
        array = again.constant(again.value(f"w{n}"))
        assert array is not None
        np.testing.assert_array_equal(array, contents(n, factor))
    run(path)


def test_other_shapes_and_types(tmp_path: Path) -> None:
    path = write_model(tmp_path)
    graph = ir.load(path)
    for name, array in {
        "half": np.ones((3000,), np.float16),
        "ints": np.arange(4000),
        "empty": np.zeros((0, 5), np.float32),
        "one": np.float64(2.5),
    }.items():
        graph.add_initializer(name, array)
    graph.set_tensor(graph.value("w0"), ir.LazyTensor(1, (2 * SIZE,), lambda: np.zeros(2 * SIZE, np.float32)))
    ir.save(graph, path)
    again = ir.load(path)
    for name, array in {
        "half": np.ones((3000,), np.float16),
        "ints": np.arange(4000),
        "empty": np.zeros((0, 5), np.float32),
        "one": np.float64(2.5),
    }.items():
        got = again.constant(again.value(name))
        assert got is not None
        assert got.dtype == np.asarray(array).dtype
        np.testing.assert_array_equal(got, array)


def test_deleting_weights_deletes_their_bytes(tmp_path: Path) -> None:
    path = write_model(tmp_path)
    graph = ir.load(path)
    small = np.float32([1.0])
    for n in range(COUNT):
        graph.set_tensor(graph.value(f"w{n}"), small)
    (tmp_path / "out").mkdir()
    ir.save(graph, tmp_path / "out" / "model.onnx")
    assert sum(f.stat().st_size for f in (tmp_path / "out").iterdir()) < 2000
    onnx.checker.check_model(str(tmp_path / "out" / "model.onnx"))


def test_a_lazy_weight_that_fails_leaves_the_old_model(tmp_path: Path) -> None:
    path = write_model(tmp_path)
    for compute in (lambda: 1 / 0, lambda: np.zeros(3, np.float32)):
        graph = ir.load(path)
        graph.set_tensor(graph.value("w2"), ir.LazyTensor(1, (SIZE,), compute))
        with pytest.raises((ZeroDivisionError, GraphoptError)):
            ir.save(graph, path)
        assert litter(tmp_path) == ["model.onnx", "w.bin"]
        check(path, 1.0)


def test_a_lazy_weight_in_a_plain_model(tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx", features.base())
    graph = ir.load(path)
    graph.set_tensor(graph.value("w"), ir.LazyTensor(1, (2,), lambda: np.float32([5, 6])))
    ir.save(graph, path)
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(read(path).graph.initializer[0]), [5, 6])
    graph.set_tensor(graph.value("w"), ir.LazyTensor(1, (2,), lambda: np.float32([5, 6, 7])))
    with pytest.raises(GraphoptError):
        ir.save(graph, path)
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(read(path).graph.initializer[0]), [5, 6])


# --- neighbours ---


@pytest.mark.parametrize("edited", [False, True])
def test_another_model_with_a_data_file_of_the_same_name(edited: bool, tmp_path: Path) -> None:
    ours, theirs = write_model(tmp_path / "a"), write_model(tmp_path / "b", 9.0)
    theirs = theirs.rename(theirs.with_name("theirs.onnx"))
    graph = ir.load(ours)
    if edited:
        multiply(graph, 2.0)
    ir.save(graph, tmp_path / "b" / "ours.onnx")
    check(theirs, 9.0)
    check(tmp_path / "b" / "ours.onnx", 2.0 if edited else 1.0)
    check(ours, 1.0)


@pytest.mark.parametrize("edited", [False, True])
def test_over_another_model(edited: bool, tmp_path: Path) -> None:
    ours, theirs = write_model(tmp_path / "a"), write_model(tmp_path / "b", 9.0)
    graph, before = ir.load(ours), ir.load(theirs)
    if edited:
        multiply(graph, 2.0)
    ir.save(graph, theirs)
    check(theirs, 2.0 if edited else 1.0)
    assert factor_in(before) == 9.0


def test_a_file_that_has_the_name_our_data_would_get(tmp_path: Path) -> None:
    path = write_model(tmp_path)
    names = ["model.onnx.data", "model.onnx.1.data", "model.onnx_data", "model.bin"]
    for name in names:
        (tmp_path / name).write_bytes(b"somebody's")
    graph = ir.load(path)
    for _ in range(2):
        multiply(graph, 2.0)
        ir.save(graph, path)
    check(path, 4.0)
    assert all((tmp_path / name).read_bytes() == b"somebody's" for name in names)


def test_two_models_that_share_our_data_file(tmp_path: Path) -> None:
    """A second model that refers to the data file that the first would replace keeps it."""
    path = write_model(tmp_path)
    graph = ir.load(path)
    multiply(graph, 2.0)
    ir.save(graph, path)
    for name in ("second.onnx", "third.model", "sub/fourth.onnx"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(path.read_bytes())
    graph = ir.load(path)
    multiply(graph, 2.0)
    ir.save(graph, path)
    check(path, 4.0)
    check(tmp_path / "second.onnx", 2.0)
    check(tmp_path / "third.model", 2.0)


def test_over_a_copied_name_that_points_into_the_folder(tmp_path: Path) -> None:
    """The data file in the target is a link to ours: it is as good as gone when ours goes, so it must not be counted on blindly."""
    path = write_model(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "w.bin").symlink_to(tmp_path / "a" / "w.bin")
    ir.save(ir.load(path), tmp_path / "b" / "model.onnx")
    assert factor_of(tmp_path / "b" / "model.onnx") == 1.0


def test_a_dangling_link_in_the_way(tmp_path: Path) -> None:
    path = write_model(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "w.bin").symlink_to(tmp_path / "nowhere")
    ir.save(ir.load(path), tmp_path / "b" / "model.onnx")
    assert factor_of(tmp_path / "b" / "model.onnx") == 1.0
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("edited", [False, True])
def test_the_hugging_face_cache_saves(edited: bool, tmp_path: Path) -> None:
    path = huggingface(tmp_path / "hub")
    blobs = {blob.name: blob.read_bytes() for blob in (tmp_path / "hub" / "blobs").iterdir()}
    graph = ir.load(path)
    if edited:
        multiply(graph, 2.0)
    (tmp_path / "out").mkdir()
    ir.save(graph, tmp_path / "out" / "model.onnx")
    ir.save(graph, path)
    for saved in (path, tmp_path / "out" / "model.onnx"):
        assert factor_of(saved) == (2.0 if edited else 1.0)
        assert run(saved) == pytest.approx(2.0 if edited else 1.0)
    assert blobs == {blob.name: blob.read_bytes() for blob in (tmp_path / "hub" / "blobs").iterdir()}
    shutil.rmtree(tmp_path / "hub")
    check(tmp_path / "out" / "model.onnx", 2.0 if edited else 1.0)


# --- places that cannot be written ---


@pytest.mark.parametrize("target", ["missing/model.onnx", "file/model.onnx", "folder", "x" * 300 + ".onnx", ""])
def test_places_that_cannot_be_written(target: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"f")
    for graph in (ir.load(write_model(tmp_path / "a")), ir.Graph.from_proto(features.base())):
        with pytest.raises(OutputError) as caught:
            ir.save(graph, tmp_path / target)
        assert "\n" not in str(caught.value)
        multiply(graph, 2.0)
        with pytest.raises(OutputError):
            ir.save(graph, tmp_path / target)
    assert litter(tmp_path) == ["a/model.onnx", "a/w.bin", "file"]


def test_a_folder_without_permission(tmp_path: Path) -> None:
    path = write_model(tmp_path / "a")
    (tmp_path / "b").mkdir()
    for folder in (tmp_path, tmp_path / "a", tmp_path / "b"):
        folder.chmod(0o755)

    def work() -> None:
        if os.geteuid() == 0:
            os.setuid(65534)
        else:
            (tmp_path / "b").chmod(0o555)
        graph = ir.Graph.from_proto(features.base())
        with pytest.raises(OutputError):
            ir.save(graph, tmp_path / "b" / "model.onnx")

    assert in_child(work) == 0
    assert litter(tmp_path / "b") == []
    check(path, 1.0)


def test_an_ordinary_files_permissions(tmp_path: Path) -> None:
    """Others can read what is saved as they could read any file that this user writes."""
    ordinary = tmp_path / "ordinary"
    ordinary.write_bytes(b"")
    graph = ir.load(write_model(tmp_path))
    multiply(graph, 2.0)
    ir.save(graph, tmp_path / "saved.onnx")
    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == stat.S_IMODE(ordinary.stat().st_mode), file


def test_equal_files_for_equal_graphs(tmp_path: Path) -> None:
    saved = []
    for n in range(2):
        graph = ir.load(write_model(tmp_path / f"in{n}"))
        multiply(graph, 2.0)
        (tmp_path / f"out{n}").mkdir()
        ir.save(graph, tmp_path / f"out{n}" / "model.onnx")
        saved.append({file.name: file.read_bytes() for file in (tmp_path / f"out{n}").iterdir()})
    assert saved[0] == saved[1]


def test_saving_changes_nothing_in_the_graph(tmp_path: Path) -> None:
    graph = ir.load(write_model(tmp_path / "a"))
    multiply(graph, 2.0)
    version, before = graph.version, serialised(graph.to_proto())
    ir.save(graph, tmp_path / "a" / "new.onnx")
    assert (graph.version, serialised(graph.to_proto())) == (version, before)


def test_external_model_helper_is_what_it_says(tmp_path: Path) -> None:
    check(write(write_model(tmp_path).with_name("m.onnx"), external_model()), 1.0)
