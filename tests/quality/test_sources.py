from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import parser
from PIL import Image

from graphopt.errors import DataError
from graphopt.ir import Graph
from graphopt.quality import load_data
from graphopt.quality import sources as sources_module
from graphopt.quality.images import Preprocess
from graphopt.quality.sources import read_arrays


def model(signature: str, body: str) -> Graph:
    return Graph.from_proto(parser.parse_model(f'<ir_version: 10, opset_import: ["" : 18]> g {signature} {{ {body} }}'))


ONE = ("(float[batch, 3] x) => (float[batch, 3] y)", "y = Relu(x)")


def rows(count: int, start: int = 0) -> np.ndarray:
    return np.arange(start * 3, (start + count) * 3, dtype=np.float32).reshape(count, 3)


def test_a_mapping_of_arrays_is_data() -> None:
    data = load_data({"x": rows(4), "labels": np.arange(4)}, model(*ONE))
    assert data.samples == 4
    assert data.labels is not None
    with pytest.raises(DataError, match=r"the data has no array for input 'x' .* it holds 'z'"):
        load_data({"z": rows(4)}, model(*ONE))


def test_a_folder_of_npz_batches_is_joined_in_the_order_of_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "b1.npz", x=rows(2, 5), labels=np.array([5, 6]))
    np.savez(tmp_path / "b0.npz", x=rows(5), labels=np.arange(5))
    (tmp_path / "notes.txt").write_text("other files do not matter")
    data = load_data(tmp_path, model(*ONE))
    np.testing.assert_array_equal(data.feeds["x"], rows(7))
    assert data.labels is not None
    assert data.labels.tolist() == list(range(7))


def test_a_folder_of_npy_files_is_by_input_name_or_batches_of_the_only_input(tmp_path: Path) -> None:
    named, batches = tmp_path / "named", tmp_path / "batches"
    for folder in (named, batches):
        folder.mkdir()
        np.save(folder / "labels.npy", np.arange(4))
    np.save(named / "x.npy", rows(4))
    np.save(batches / "part-0.npy", rows(1))
    np.save(batches / "part-1.npy", rows(3, 1))
    for folder in (named, batches):
        data = load_data(folder, model(*ONE))
        np.testing.assert_array_equal(data.feeds["x"], rows(4))
        assert data.labels is not None
        assert data.labels.tolist() == [0, 1, 2, 3]
    two = model("(float[batch, 3] a, float[batch, 3] b) => (float[batch, 3] y)", "y = Add(a, b)")
    with pytest.raises(DataError, match=r"batches are for a model with one input, but this one has 'a', 'b'"):
        load_data(batches, two)


def test_large_batches_go_through_a_file_and_stay_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in range(3):
        np.savez(tmp_path / f"{place}.npz", x=rows(4, 4 * place))
    monkeypatch.setattr(sources_module, "_LARGEST_IN_MEMORY", 64)
    array = read_arrays(tmp_path, ["x"])["x"]
    assert isinstance(array, np.memmap)
    np.testing.assert_array_equal(array, rows(12))


def test_a_function_gives_arrays_or_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_data.py").write_text(
        "import numpy as np\n"
        "def whole():\n    return {'x': np.zeros((2, 3), np.float32)}\n"
        "def batches():\n    for i in range(3):\n        yield {'x': np.full((2, 3), i, np.float32), 'labels': np.array([i, i])}\n"
        "def wrong():\n    return 7\n"
        "def none():\n    return []\n"
        "def broken():\n    raise RuntimeError('no disk')\n"
    )
    monkeypatch.chdir(tmp_path)
    graph = model(*ONE)
    assert load_data("own_data:whole", graph).samples == 2
    data = load_data("own_data:batches", graph)
    assert data.feeds["x"][:, 0].tolist() == [0, 0, 1, 1, 2, 2]
    for name, message in (
        ("wrong", "failed: TypeError.*must return a mapping"),
        ("none", "own_data:none gives no batch"),
        ("broken", "RuntimeError: no disk"),
        ("absent", "cannot be imported: AttributeError"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            load_data(f"own_data:{name}", graph)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda folder: None, r"holds no \.npz or \.npy file and no picture"),
        (lambda folder: (folder / "a.npz").write_bytes(b"hello"), r"a\.npz as an \.npz file"),
        (lambda folder: (folder / "a.npy").write_bytes(b"hello"), r"a\.npy as an \.npy file"),
        (
            lambda folder: (np.savez(folder / "a.npz", x=rows(1)), np.savez(folder / "b.npz", z=rows(1))),
            r"b\.npz holds 'z', but .*a\.npz holds 'x'",
        ),
        (
            lambda folder: (np.savez(folder / "a.npz", x=rows(1)), np.savez(folder / "b.npz", x=rows(1)[:, :2])),
            r"b\.npz: 'x' is float32 \[1, 2\], but float32 \[1, 3\] in .*axis 0 alone",
        ),
    ],
)
def test_what_is_wrong_in_a_folder_is_named(tmp_path: Path, write: Callable[[Path], Any], message: str) -> None:
    write(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        load_data(tmp_path, model(*ONE))
    assert "\n" not in str(caught.value)


PICTURES = ("(float[batch, 3, 4, 4] x) => (float[batch, 3, 4, 4] y)", "y = Relu(x)")


def picture(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_pictures_become_rows_and_sub_folders_labels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    for place, folder in enumerate(("cat", "dog", "dog")):
        picture(tmp_path / folder / f"{place}.png", pixels[place])
    data = load_data(tmp_path, model(*PICTURES), "mean=0.5:0.25:0,std=2")
    expected = (pixels / 255 - np.array([0.5, 0.25, 0])) / 2
    np.testing.assert_allclose(data.feeds["x"], expected.transpose(0, 3, 1, 2), atol=1e-6)
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, 1]


def test_pictures_are_scaled_and_cut(tmp_path: Path) -> None:
    picture(tmp_path / "wide.png", np.full((8, 16, 3), 51, np.uint8))
    row = Preprocess.parse("resize=6,crop=4,layout=nhwc,scale=255,dtype=uint8")(tmp_path / "wide.png")
    assert row.shape == (4, 4, 3)
    assert row.dtype == np.uint8
    assert (row == 51).all()
    assert Preprocess.parse("resize=5x3,gray=1")(tmp_path / "wide.png").shape == (1, 3, 5)
    assert Preprocess.parse("imagenet")(tmp_path / "wide.png").shape == (3, 224, 224)


def test_pictures_of_different_sizes_need_a_preprocessing(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
    picture(tmp_path / "b.png", np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(DataError, match=r"b\.png becomes \[3, 4, 5\], but .*a\.png \[3, 4, 4\]; give --preprocess resize"):
        load_data(tmp_path, model(*PICTURES))
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"cannot make an input of .*b\.png"):
        load_data(tmp_path, model(*PICTURES))


@pytest.mark.parametrize("text", ["resize", "blur=3", "crop=0", "resize=1x2x3", "layout=hw", "mean=a", "dtype=words", "no_such_module:f"])
def test_a_preprocessing_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(DataError, match=r"preprocess") as caught:
        Preprocess.parse(text)
    assert "\n" not in str(caught.value)


def test_preprocessing_is_for_pictures_alone(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=rows(2))
    for source in (tmp_path, tmp_path / "d.npz"):
        with pytest.raises(DataError, match="--preprocess is for a folder of pictures"):
            load_data(source, model(*ONE), "imagenet")
