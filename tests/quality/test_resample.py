"""Resampling: as ONNX Runtime's Resize and Pillow do it; which arrays are fitted to a model and which are not."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image

from graphopt.errors import DataError
from graphopt.ir import Graph
from graphopt.quality import fitted, fitted_arrays, load_data, resample, session
from tests.channels.build import Build


def resized_by_onnx(row: np.ndarray, size: int, mode: str) -> np.ndarray:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 1, len(row)])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    sizes = helper.make_tensor("sizes", TensorProto.INT64, [4], [1, 1, 1, size])
    node = helper.make_node(
        "Resize", ["x", "", "", "sizes"], ["y"], mode=mode, coordinate_transformation_mode="half_pixel", cubic_coeff_a=-0.75
    )
    model = helper.make_model(helper.make_graph([node], "g", [x], [y], [sizes]), ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    found = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": row.reshape(1, 1, 1, -1)})
    return np.asarray(found[0]).reshape(-1)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 20), st.integers(1, 25), st.integers(0, 99))
def test_interpolation_is_that_of_onnx(old: int, new: int, seed: int) -> None:
    row = np.random.default_rng(seed).standard_normal(old).astype(np.float32)
    for method, mode in (("bicubic", "cubic"), ("linear", "linear")):
        np.testing.assert_allclose(resample(row, 0, new, method), resized_by_onnx(row, new, mode), atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 99))
def test_area_is_pillows_antialiased_bilinear(old: int, new: int, seed: int) -> None:
    row = np.random.default_rng(seed).standard_normal(old).astype(np.float32)
    expected = np.asarray(Image.fromarray(row[np.newaxis]).resize((new, 1), Image.Resampling.BILINEAR))[0]
    np.testing.assert_allclose(resample(row, 0, new, "area"), expected, atol=1e-5)


def test_whole_numbers_stay_whole_and_in_range() -> None:
    steps = np.array([[0, 0, 255, 255, 0]], np.uint8)
    found = resample(steps, 1, 9, "bicubic")
    assert found.dtype == np.uint8
    assert found.max() == 255  # cubic interpolation goes beyond what it starts from


def model(*shape: int | str) -> Graph:
    made = Build(opset=17)
    made.output(made.node("Relu", made.input(*shape)))
    return made.graph()


def test_pictures_are_fitted_in_space_alone() -> None:
    arrays = {"x1": np.random.default_rng(0).standard_normal((5, 3, 8, 6)).astype(np.float32), "labels": np.arange(5)}
    data = load_data(arrays, model("n", 3, 8, 6))
    small = model("n", 3, 4, 6)
    for taker in (small, session(small)):
        found = fitted(data, taker)
        assert found.feeds["x1"].shape == (5, 3, 4, 6)
        np.testing.assert_array_equal(found.feeds["x1"], resample(arrays["x1"], 2, 4, "area"))
        assert found.labels is data.labels
    assert fitted(data, model("n", 3, 8, 6)) is data
    assert fitted_arrays(data.feeds, model("n", 3, "h", "w")) is data.feeds
    with pytest.raises(DataError, match="cannot be resized to"):
        fitted(data, model("n", 3, 4))
