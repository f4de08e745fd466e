"""External data is hostile: it may not leave the model's folder, whatever the model says; the Hugging Face cache loads all the same."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest

import graphopt.ir as ir
from graphopt.errors import ExternalDataError, GraphoptError
from tests.ir.external import SIZE, contents, external_model, factor_in, factor_of, in_child, litter, write_data, write_model
from tests.models import write

LENGTH = SIZE * 4


def refused(path: Path, tensor: str = "w1") -> str:
    """The one-line message with which reading the model's weights fails; it names the tensor."""
    with pytest.raises(ExternalDataError, match=tensor) as caught:
        factor_of(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_weights_are_read_from_beside_the_model(tmp_path: Path) -> None:
    assert factor_of(write_model(tmp_path)) == 1.0


def test_loading_reads_no_weights(tmp_path: Path) -> None:
    graph = ir.load(write_model(tmp_path))
    with (tmp_path / "w.bin").open("r+b") as file:
        file.write(contents(0, 3.0).tobytes())
    array = graph.constant(graph.value("w0"))
    assert array is not None
    np.testing.assert_array_equal(array, contents(0, 3.0))
    assert not array.flags.writeable


def test_whatever_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path / "deep")
    monkeypatch.chdir(tmp_path / "deep")
    graph = ir.load("model.onnx")
    monkeypatch.chdir(tmp_path)
    assert factor_in(graph) == 1.0
    assert factor_of(Path("deep/model.onnx")) == 1.0
    assert factor_of(Path("deep/../deep/model.onnx")) == 1.0


def test_subfolders_and_links_inside_the_folder(tmp_path: Path) -> None:
    write_data(tmp_path / "sub" / "deep" / "w.bin")
    assert factor_of(write(tmp_path / "a.onnx", every(location="sub/deep/w.bin"))) == 1.0
    assert factor_of(write(tmp_path / "b.onnx", every(location="./sub/deep/w.bin"))) == 1.0
    (tmp_path / "link.bin").symlink_to("sub/deep/w.bin")
    assert factor_of(write(tmp_path / "c.onnx", every(location="link.bin"))) == 1.0


def every(**entries: str) -> onnx.ModelProto:
    model = external_model()
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = entries.get(entry.key, entry.value)
    return model


def test_defaults_of_offset_and_length(tmp_path: Path) -> None:
    (tmp_path / "one.bin").write_bytes(contents(1).tobytes())
    model = external_model()
    del model.graph.initializer[1].external_data[:]
    model.graph.initializer[1].external_data.add(key="location", value="one.bin")
    write_data(tmp_path / "w.bin")
    assert factor_of(write(tmp_path / "model.onnx", model)) == 1.0


def test_known_keys_that_say_nothing_about_the_place_are_fine(tmp_path: Path) -> None:
    assert factor_of(write_model(tmp_path, checksum="0" * 40, basepath="/somewhere/else")) == 1.0


def test_basepath_is_not_believed(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    path = write_model(folder, basepath=str(tmp_path))
    write_data(tmp_path / "w.bin", 9.0)
    assert factor_of(path) == 1.0


# --- locations that leave the folder ---


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file outside of the model's folder that would fit."""
    write_data(tmp_path / "secret" / "w.bin", 66.0)
    return tmp_path / "secret" / "w.bin"


@pytest.mark.parametrize(
    "location",
    [
        "../secret/w.bin",
        "a/../../secret/w.bin",
        "./../secret/w.bin",
        "sub/../../secret/w.bin",
        "..\\secret\\w.bin",
        "a\\..\\..\\secret\\w.bin",
        "ABSOLUTE",
        "//ABSOLUTE",
        "file://ABSOLUTE",
        "C:\\secret\\w.bin",
        "C:w.bin",
        "\\\\server\\share\\w.bin",
        "~/w.bin",
        "$HOME/w.bin",
        "..",
        ".",
        "/",
        "",
        "sub",
        "sub/",
        "w.bin\0",
        "w.bin\0/../../secret/w.bin",
        "missing.bin",
        "x" * 5000,
        "/".join(["x"] * 3000),
        "\ud7ff\n\r\x1b[31m",
    ],
)
def test_locations_are_contained(location: str, tmp_path: Path, secret: Path) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    refused(write_model(folder, location=location.replace("ABSOLUTE", str(secret))))


def test_no_location_at_all(tmp_path: Path) -> None:
    model = external_model()
    del model.graph.initializer[1].external_data[:]
    write_data(tmp_path / "w.bin")
    refused(write(tmp_path / "model.onnx", model))


@pytest.mark.parametrize(
    "how", ["link", "link to link", "linked folder", "hard link", "relative link", "link to missing", "link to itself"]
)
def test_links_that_leave_the_folder(how: str, tmp_path: Path, secret: Path) -> None:
    folder = tmp_path / "model"
    location = "w.bin/w.bin" if how == "linked folder" else "other.bin"
    path = write_model(folder, location=location)
    link = folder / "other.bin"
    match how:
        case "link":
            link.symlink_to(secret)
        case "relative link":
            link.symlink_to("../secret/w.bin")
        case "link to link":
            (folder / "middle").symlink_to(secret)
            link.symlink_to("middle")
        case "linked folder":
            model = external_model(location="inner/w.bin")
            (folder / "inner").symlink_to(secret.parent, target_is_directory=True)
            path = write(folder / "model.onnx", model)
        case "hard link":
            link.hardlink_to(secret)
        case "link to missing":
            link.symlink_to(folder / "nothing")
        case "link to itself":
            link.symlink_to("other.bin")
    refused(path)


@pytest.mark.parametrize("kind", ["fifo", "device", "directory"])
def test_what_is_no_file_is_refused_without_waiting(kind: str, tmp_path: Path) -> None:
    path = write_model(tmp_path, location="odd")
    if kind == "fifo":
        os.mkfifo(tmp_path / "odd")
    elif kind == "device":
        (tmp_path / "odd").symlink_to("/dev/zero")
    else:
        (tmp_path / "odd").mkdir()
    refused(path)


# --- numbers ---


@pytest.mark.parametrize("key", ["offset", "length"])
@pytest.mark.parametrize(
    "number",
    [
        "-1",
        "-0",
        "999999999999",
        str(2**63 - 1),
        str(2**63),
        str(2**64),
        str(2**64 + 16),
        "1e3",
        "0x10",
        "abc",
        "",
        " 8",
        "8 ",
        "1_000",
        "1.0",
        "٣",
        "nan",
        "9" * 6000,
    ],
)
def test_numbers_are_bounded_by_the_file(key: str, number: str, tmp_path: Path) -> None:
    refused(write_model(tmp_path, **{key: number}))


def test_numbers_that_overflow_together(tmp_path: Path) -> None:
    refused(write_model(tmp_path, offset=str(2**63 - 8), length=str(LENGTH)))
    refused(write_model(tmp_path, offset=str(3 * LENGTH - 1), length=str(LENGTH)))


@pytest.mark.parametrize("length", [0, 4, LENGTH - 4, LENGTH - 1, LENGTH + 4])
def test_length_must_be_that_of_the_shape(length: int, tmp_path: Path) -> None:
    with pytest.raises(GraphoptError, match="w1"):
        factor_of(write_model(tmp_path, length=str(length)))


@pytest.mark.parametrize("dims", [[-1], [2**62, 2**62], [2**31, 2**31, 4], [-5000, -1]])
def test_dims_that_lie(dims: list[int], tmp_path: Path) -> None:
    model = external_model()
    del model.graph.initializer[1].dims[:]
    model.graph.initializer[1].dims.extend(dims)
    write_data(tmp_path / "w.bin")
    with pytest.raises(GraphoptError, match="w1"):
        factor_of(write(tmp_path / "model.onnx", model))


def test_unknown_keys(tmp_path: Path) -> None:
    assert "evil" in refused(write_model(tmp_path, evil="1"))
    refused(write_model(tmp_path, __class__="x"))


def test_missing_and_truncated_data(tmp_path: Path) -> None:
    path = write_model(tmp_path)
    data = (tmp_path / "w.bin").read_bytes()
    (tmp_path / "w.bin").write_bytes(data[: LENGTH + 100])
    assert "w.bin" in refused(path)
    (tmp_path / "w.bin").write_bytes(b"")
    assert "w.bin" in refused(path, "w0")
    (tmp_path / "w.bin").unlink()
    assert "w.bin" in refused(path, "w0")


def test_data_that_shrinks_after_loading_is_no_crash(tmp_path: Path) -> None:
    def shrink_and_read() -> None:
        graph = ir.load(write_model(tmp_path))
        os.truncate(tmp_path / "w.bin", 100)
        with pytest.raises(ExternalDataError):
            factor_in(graph)

    assert in_child(shrink_and_read) == 0


def test_data_that_is_replaced_after_loading_is_read_as_it_was(tmp_path: Path) -> None:
    graph = ir.load(write_model(tmp_path))
    write_data(tmp_path / "new.bin", 5.0)
    (tmp_path / "new.bin").replace(tmp_path / "w.bin")
    assert factor_in(graph) == 1.0


def test_a_model_that_came_from_no_file_has_no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ExternalDataError, match="w0"):
        factor_in(ir.Graph.from_proto(external_model()))


@pytest.mark.parametrize("place", ["attribute", "attribute list", "function", "sparse", "subgraph", "training"])
def test_every_tensor_is_contained_not_only_initializers(place: str, tmp_path: Path, secret: Path) -> None:
    """Refused when loading, when reading, or at the latest when saving: the secret is never copied."""
    from tests.ir.places import put

    folder = tmp_path / "model"
    model = put(place, "../secret/w.bin")
    path = write(folder / "model.onnx", model)
    (tmp_path / "other").mkdir()
    with pytest.raises(ExternalDataError, match="far"):
        ir.save(ir.load(path), tmp_path / "other" / "model.onnx")
    assert litter(tmp_path / "other") == []
    with pytest.raises(ExternalDataError):
        ir.load(path).to_proto()


# --- the Hugging Face cache ---


def huggingface(root: Path, inside: str = "") -> Path:
    """blobs/aa and blobs/bb; snapshots/x/[inside/]model.onnx and w.bin are links to them."""
    write_data(root / "blobs" / "bb")
    (root / "blobs" / "aa").write_bytes(external_model().SerializeToString())
    folder = root / "snapshots" / "x" / inside
    folder.mkdir(parents=True)
    up = "../" * (2 + len(Path(inside).parts))
    (folder / "model.onnx").symlink_to(f"{up}blobs/aa")
    (folder / "w.bin").symlink_to(f"{up}blobs/bb")
    return folder / "model.onnx"


@pytest.mark.parametrize("inside", ["", "onnx"])
def test_the_hugging_face_cache_loads(inside: str, tmp_path: Path) -> None:
    assert factor_of(huggingface(tmp_path, inside)) == 1.0


def test_the_hugging_face_cache_opens_no_other_door(tmp_path: Path, secret: Path) -> None:
    path = huggingface(tmp_path / "hub")
    data = path.with_name("w.bin")
    data.unlink()
    data.symlink_to(secret)
    refused(path, "w0")
    data.unlink()
    data.symlink_to("../../blobs/../../secret/w.bin")
    refused(path, "w0")


def test_a_link_to_a_model_elsewhere(tmp_path: Path) -> None:
    """The data lies beside the real file, under its own name there."""
    write_model(tmp_path / "real")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "model.onnx").symlink_to(tmp_path / "real" / "model.onnx")
    try:
        assert factor_of(tmp_path / "linked" / "model.onnx") == 1.0
    except ExternalDataError as error:
        assert "w.bin" in str(error)  # ONNX Runtime does not look there either
