"""The model that ships in examples/digits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from sklearn.datasets import load_digits

from graphopt.ir import load
from graphopt.quality import load_data, session, top1

FOLDER = Path(__file__).parents[2] / "examples" / "digits"


def test_it_is_a_valid_standard_model_with_something_to_fuse_and_to_prune() -> None:
    model = onnx.load(FOLDER / "digits.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version <= 20
    assert model.ir_version <= 10
    operators = [node.op_type for node in model.graph.node]
    assert operators.count("BatchNormalization") == operators.count("Conv") == 8
    assert operators.count("Add") == 2
    assert any(a.name == "group" and a.i > 1 for node in model.graph.node for a in node.attribute)
    assert (FOLDER / "digits.onnx").stat().st_size < 1_500_000


@pytest.mark.parametrize("name", ["calibration", "validation"])
def test_it_classifies_the_data_beside_it(name: str) -> None:
    graph = load(FOLDER / "digits.onnx")
    data = load_data(FOLDER / f"{name}.npz", graph)
    assert top1(session(graph), data) >= 0.99


def test_no_image_is_in_both_sets_and_all_are_digits_of_scikit_learn() -> None:
    digits = {(image / 16).astype(np.float32).tobytes(): int(label) for image, label in zip(*load_digits(return_X_y=True), strict=True)}
    seen: set[bytes] = set()
    for name in ("calibration", "validation"):
        with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
            for image, label in zip(file["image"], file["labels"], strict=True):
                assert digits[image.tobytes()] == label
                assert image.tobytes() not in seen
                seen.add(image.tobytes())
    assert len(seen) == 700


@pytest.mark.slow
def test_the_script_makes_it(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training needs the extra `torch`")
    made = subprocess.run(
        [sys.executable, str(FOLDER / "make_digits.py"), "--out", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    graph = load(tmp_path / "digits.onnx")
    assert [node.op_type for node in graph.nodes] == [node.op_type for node in load(FOLDER / "digits.onnx").nodes]
    assert top1(session(graph), load_data(tmp_path / "validation.npz", graph)) >= 0.98
    for name in ("calibration", "validation"):
        with np.load(FOLDER / f"{name}.npz") as shipped, np.load(tmp_path / f"{name}.npz") as new:
            np.testing.assert_array_equal(shipped["image"], new["image"])
