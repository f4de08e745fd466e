"""Every mistake of a user is one line on stderr and exit status 2, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ..networks import network, write_data, write_network
from .conftest import Invoke

PIPELINE = ("-p", "fuse-bn", "-o", "out.onnx")


def bad_models() -> dict[str, tuple[bytes, str]]:
    good = network()
    unsorted, unknown, cyclic = network(), network(), network()
    del unsorted.graph.node[0].output[:]
    unknown.graph.node[3].op_type = "NoSuchOperator"
    cyclic.graph.node[0].input[0] = "r2"
    return {
        "truncated": (good.SerializeToString()[:-100], "is not an ONNX model, or is cut off"),
        "text": (b"This is no model, but a text.\n", "is not an ONNX model"),
        "empty": (b"", "is empty"),
        "unchecked": (unknown.SerializeToString(), "breaks ONNX's rules: "),
        "dangling": (unsorted.SerializeToString(), ""),
        "cyclic": (cyclic.SerializeToString(), ""),
    }


@pytest.mark.parametrize("name", bad_models())
@pytest.mark.parametrize(
    "command", [("run", *PIPELINE), ("optimize", "-o", "out.onnx", "--speedup", "1.5"), ("inspect",), ("check", "--max-params", "1M")]
)
def test_a_file_that_is_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke, name: str, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    contents, message = bad_models()[name]
    Path("bad.onnx").write_bytes(contents)
    result = invoke(command[0], "bad.onnx", *command[1:], status=2)
    assert result.stdout == ""
    assert message in result.stderr
    assert "bad.onnx" in result.stderr
    assert result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["bad.onnx"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("absent.onnx", *PIPELINE), "cannot read absent.onnx: No such file or directory"),
        ((".", *PIPELINE), "cannot read .: Is a directory"),
        (("model.onnx", *PIPELINE, "--data", "absent.npz"), "there is no data file absent.npz"),
        (("model.onnx", *PIPELINE, "--data", "model.onnx"), "cannot read model.onnx as an .npz file"),
        (("model.onnx", *PIPELINE, "--data", "other.npz"), "other.npz has no array for input 'image'"),
        (("model.onnx", *PIPELINE, "--plugin", "absent.py"), "plug-in absent.py: there is no such file"),
        (("model.onnx", "-p", "fuse-bn", "-o", "absent/out.onnx"), "cannot write absent/out.onnx: there is no folder absent"),
        (("model.onnx", "-p", "fuse-bn", "-o", "folder"), "cannot write folder: it is a folder"),
        (("model.onnx", *PIPELINE, "--report", "absent/r.json"), "there is no folder absent"),
        (("model.onnx", *PIPELINE, "--report", "./out.onnx"), "model and report cannot both be written to out.onnx"),
    ],
)
def test_one_line_says_what_is_wrong(model: Path, invoke: Invoke, arguments: tuple[str, ...], message: str) -> None:
    Path("folder").mkdir()
    np.savez("other.npz", other=np.zeros(3))
    result = invoke("run", *arguments, status=2)
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not Path("out.onnx").exists()


@pytest.mark.parametrize(
    ("pipeline", "message", "at"),
    [
        ("fuse-bm", "there is no pass 'fuse-bm'; did you mean 'fuse-bn'?", "fuse-bm"),
        ("fuse-bn,prune-channels{rati=0.5}", "pass 'prune-channels' has no parameter 'rati'; did you mean 'ratio'?", "rati="),
        ("prune-channels{ratio=2}", "parameter 'ratio': expected a number, at least 0 and below 1; got 2", "2}"),
        ("prune-channels{criterion=best}", "parameter 'criterion': expected one of l1, l2", "best"),
        ("fuse-bn simplify", "expected ',' between two passes, found 's'", "simplify"),
    ],
)
def test_a_pipeline_that_does_not_parse_is_shown_with_a_caret(model: Path, invoke: Invoke, pipeline: str, message: str, at: str) -> None:
    result = invoke("run", model, "-p", pipeline, "-o", "out.onnx", status=2)
    said, shown, caret = result.stderr.splitlines()
    assert said.startswith("Error: ")
    assert message in said
    assert shown.strip() == pipeline
    assert caret.index("^") == shown.index(at)
    assert not Path("out.onnx").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--metric", "top1"), "top1 needs labels"),
        (("--metric", "accuracy"), "there is no metric 'accuracy'; give top1, top5, fidelity, cosine, mse or module:function"),
        (("--metric", "no_such_module:f"), "metric 'no_such_module:f' cannot be imported"),
        (("--target", "jetsen-nano"), "no target 'jetsen-nano': did you mean"),
        (("--data", "absent.npz"), "there is no data file absent.npz"),
        (("--first", "simplfy"), "there is no pass 'simplfy'"),
    ],
)
def test_optimize_says_so_before_it_measures(model: Path, invoke: Invoke, arguments: tuple[str, ...], message: str) -> None:
    result = invoke("optimize", model, "-o", "out.onnx", "--speedup", "1.5", *arguments, status=2)
    assert message in result.stderr.splitlines()[0]
    assert not Path("out.onnx").exists()


def test_two_models_of_other_inputs_cannot_be_compared(model: Path, invoke: Invoke) -> None:
    other = network()
    other.graph.input[0].name = other.graph.node[0].input[0] = "picture"
    Path("other.onnx").write_bytes(other.SerializeToString())
    result = invoke("compare", model, "other.onnx", status=2)
    assert "model.onnx has the inputs 'image', but other.onnx has 'picture'; no data fits both" in result.stderr


def test_data_of_the_wrong_shape(model: Path, invoke: Invoke) -> None:
    np.savez("data.npz", image=np.zeros((4, 3, 9, 8), np.float32))
    result = invoke("compare", model, model, "--data", "data.npz", status=2)
    assert "data.npz: input 'image' must have shape [any, 3, 8, 8]" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_result_is_whole_or_not_there(model: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass that fails leaves the old output as it was."""
    write_network(Path("out.onnx"), seed=7)
    before = Path("out.onnx").read_bytes()
    Path("bad.py").write_text(
        "import onnx_graphsurgeon as gs\nfrom graphopt import surgeon_pass\n\n"
        "@surgeon_pass\ndef bad(graph: gs.Graph) -> None:\n    raise ValueError('no')\n"
    )
    result = invoke("run", model, "-p", "fuse-bn,bad", "-o", "out.onnx", "--plugin", "bad.py", status=2)
    assert "pass 'bad' failed in" in result.stderr
    assert Path("out.onnx").read_bytes() == before


def test_a_missing_label_array(model: Path, invoke: Invoke) -> None:
    write_data(Path("d.npz"), labels=False)
    result = invoke("check", model, "--min-quality", "0.5", "--data", "d.npz", status=2)
    assert "top1 needs labels" in result.stderr
