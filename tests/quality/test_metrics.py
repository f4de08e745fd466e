from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import parser
from sklearn.metrics import top_k_accuracy_score

from graphopt.errors import DataError
from graphopt.quality import Data, Fidelity, find_metric, predict, session, top1


def opened(signature: str, body: str) -> ort.InferenceSession:
    return session(parser.parse_model(f'<ir_version: 10, opset_import: ["" : 18]> g {signature} {{ {body} }}'))


def identity(shape: str = "n, c") -> ort.InferenceSession:
    return opened(f"(float[{shape}] x) => (float[{shape}] y)", "y = Identity(x)")


def data_of(x: np.ndarray, labels: np.ndarray | None = None, rows: int = 3) -> Data:
    return Data({"x": x}, labels, {"x": rows}, free_batch=True)


SCORES = np.random.default_rng(0).standard_normal((20, 5)).astype(np.float32)


def test_outputs_of_several_runs_are_joined() -> None:
    np.testing.assert_array_equal(predict(identity(), data_of(SCORES))["y"], SCORES)


def test_outputs_without_a_batch_axis_are_kept_per_run() -> None:
    total = opened("(float[n, c] x) => (float y)", "y = ReduceSum<keepdims = 0>(x)")
    outputs = predict(total, data_of(SCORES, rows=10))
    np.testing.assert_allclose(outputs["y"], [SCORES[:10].sum(), SCORES[10:].sum()], rtol=1e-5)


def test_outputs_whose_size_differs_per_run_are_flattened() -> None:
    mixed = opened("(float[n, c] x) => (float[c, n] y)", "y = Transpose(x)")
    outputs = predict(mixed, data_of(SCORES[:5], rows=3))
    np.testing.assert_array_equal(outputs["y"], np.concatenate([SCORES[:3].T.ravel(), SCORES[3:5].T.ravel()]))


def test_top1_is_the_share_of_right_labels() -> None:
    labels = SCORES.argmax(axis=1)
    labels[:5] = (labels[:5] + 1) % 5
    assert top1(identity(), data_of(SCORES, labels)) == 0.75
    assert find_metric("top1") is top1


def test_top1_per_pixel_and_per_token() -> None:
    pixels = np.random.default_rng(1).standard_normal((4, 3, 2, 2)).astype(np.float32)
    assert top1(identity("n, c, h, w"), data_of(pixels, pixels.argmax(axis=1))) == 1
    tokens = np.random.default_rng(1).standard_normal((4, 7, 3)).astype(np.float32)
    assert top1(identity("n, t, c"), data_of(tokens, tokens.argmax(axis=2))) == 1


def test_top1_of_a_model_that_gives_classes() -> None:
    classes = opened("(float[n, c] x) => (int64[n] y)", "y = ArgMax<axis = 1, keepdims = 0>(x)")
    assert top1(classes, data_of(SCORES, SCORES.argmax(axis=1))) == 1


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "needs labels"),
        (np.zeros(20), "class indices"),
        (np.zeros((20, 2), np.int64), r"output 'y' has shape \[20, 5\], which does not fit labels of shape \[20, 2\]"),
    ],
)
def test_top1_says_what_is_wrong_with_the_labels(labels: np.ndarray | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        top1(identity(), data_of(SCORES, labels))


def test_fidelity_of_the_original_is_1_and_of_a_scaled_output_what_is_left() -> None:
    metric = find_metric("fidelity", {"y": SCORES})
    assert metric(identity(), data_of(SCORES)) == 1
    half = opened("(float[n, c] x) => (float[n, c] y) <float s = {0.75}>", "y = Mul(x, s)")
    assert metric(half, data_of(SCORES)) == pytest.approx(0.75)


def test_fidelity_is_the_mean_over_samples_and_outputs() -> None:
    r = np.array([[3, 4], [0, 2]], np.float32)
    y = np.array([[3, 4.5], [0, -9]], np.float32)  # errors 0.5 / 5 = 0.1 and 11 / 2, which counts as 1
    assert Fidelity({"a": r}).of({"a": y}) == pytest.approx((0.9 + 0) / 2)
    assert Fidelity({"a": r, "b": r}).of({"a": y, "b": r}) == pytest.approx((0.45 + 1) / 2)


def test_fidelity_of_odd_values() -> None:
    inf, nan = np.inf, np.nan
    for y, r, expected in (
        ([0, 0], [0, 0], 1),
        ([0, 1e-9], [0, 0], 0),
        ([inf, 1], [inf, 1], 1),
        ([-inf, 1], [inf, 1], 0),
        ([nan, 1], [nan, 1], 1),
        ([nan, 1], [0, 1], 0),
        ([0, 1], [nan, 1], 0),
        ([3e38, 1], [-3e38, 1], 0),
    ):
        assert Fidelity({"o": np.array([r], np.float32)}).of({"o": np.array([y], np.float32)}) == expected, (y, r)


def test_fidelity_of_integers_is_the_share_of_equal_elements() -> None:
    assert Fidelity({"o": np.array([1, 2, 3, 4])}).of({"o": np.array([1, 2, 3, 5])}) == 0.75
    assert Fidelity({"o": np.array(["a", "b"])}).of({"o": np.array(["a", "c"])}) == 0.5


def test_fidelity_of_another_shape_is_0_and_of_a_missing_output_an_error() -> None:
    metric = Fidelity({"o": np.zeros((3, 6))})
    assert metric.of({"o": np.zeros((2, 6))}) == 0
    with pytest.raises(DataError, match="'o'"):
        metric.of({"p": np.zeros((3, 6))})


FINITE = arrays(np.float32, (4, 3), elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False))


@given(FINITE, FINITE, st.floats(0.01, 100))
def test_fidelity_is_between_0_and_1_and_does_not_depend_on_scale(y: np.ndarray, r: np.ndarray, scale: float) -> None:
    plain = Fidelity({"o": r.astype(np.float64)}).of({"o": y.astype(np.float64)})
    assert 0 <= plain <= 1
    assert Fidelity({"o": r * scale}).of({"o": y * scale}) == pytest.approx(plain, abs=1e-3)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_metric.py").write_text(
        "import numpy as np\n"
        "def mean(session, data): return np.float32(np.mean(session.run(None, {'x': data.feeds['x']})[0]))\n"
        "def fails(session, data): return {}['key']\n"
        "def text(session, data): return 'good'\n"
        "def nan(session, data): return float('nan')\n"
        "number = 3\n"
    )
    (tmp_path / "broken_metric.py").write_text("import no_such_module_anywhere\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_metric", raising=False)


@pytest.mark.usefixtures("own")
def test_a_function_of_the_users_is_found_in_the_current_folder() -> None:
    path = list(sys.path)
    metric = find_metric("own_metric:mean")
    assert metric(identity(), data_of(SCORES)) == pytest.approx(float(SCORES.mean()), abs=1e-6)
    assert sys.path == path


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("accuracy", "give top1, top5, fidelity, cosine, mse or module:function"),
        (":f", "give top1, top5, fidelity, cosine, mse or module:function"),
        ("fidelity", "original"),
        ("no_such_module_anywhere:f", "cannot be imported: ModuleNotFoundError"),
        ("broken_metric:f", "cannot be imported: ModuleNotFoundError"),
        ("own_metric:absent", "cannot be imported: AttributeError"),
        ("own_metric:number", "is not a function but int"),
    ],
)
def test_a_metric_that_cannot_be_found_is_said(name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        find_metric(name)


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("name", "message"), [("fails", "failed: KeyError: 'key'"), ("text", "failed: ValueError"), ("nan", "returned nan")]
)
def test_a_metric_that_fails_is_said(name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        find_metric(f"own_metric:{name}")(identity(), data_of(SCORES))


def test_top5_counts_labels_among_the_five_best_and_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    scores, labels = rng.standard_normal((40, 9)).astype(np.float32), rng.integers(0, 9, 40)
    found = find_metric("top5")(identity(), data_of(scores, labels))
    assert found == pytest.approx(top_k_accuracy_score(labels, scores, k=5, labels=range(9)))
    with pytest.raises(DataError, match="top5 needs labels"):
        find_metric("top5")(identity(), data_of(scores))


def test_cosine_is_blind_to_scale_and_0_where_at_right_angles() -> None:
    reference = {"y": SCORES}
    assert find_metric("cosine", reference)(identity(), data_of(3 * SCORES)) == pytest.approx(1)
    assert find_metric("cosine", reference)(identity(), data_of(-SCORES)) == pytest.approx(-1)
    flat = np.array([[1, 0], [0, 0]], np.float32)
    turned = np.array([[0, 1], [0, 0]], np.float32)
    assert find_metric("cosine", {"y": flat})(identity(), data_of(turned)) == pytest.approx(0.5)  # nothing in common, and both 0


def test_mse_is_against_float_labels_or_else_the_original() -> None:
    off = SCORES + 2
    assert find_metric("mse", {"y": SCORES})(identity(), data_of(off)) == pytest.approx(-4, rel=1e-4)
    assert find_metric("mse")(identity(), data_of(off, labels=SCORES)) == pytest.approx(-4, rel=1e-4)
    with pytest.raises(DataError, match="mse needs labels that are floating-point numbers"):
        find_metric("mse")(identity(), data_of(off))
    with pytest.raises(DataError, match="not finite"):
        find_metric("mse", {"y": SCORES})(identity(), data_of(np.full_like(SCORES, np.nan)))


@pytest.mark.parametrize("name", ["fidelity", "cosine"])
def test_a_metric_against_the_original_needs_its_outputs(name: str) -> None:
    with pytest.raises(DataError, match=f"{name} needs the original"):
        find_metric(name)
