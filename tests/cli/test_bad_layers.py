"""What passes that rebuild or repair layers cannot do is one line on stderr and exit status 2, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from .conftest import Invoke


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        ("factorize{rank=999}", "rank 999 is above the full rank of every layer; the largest is 64"),
        ("factorize{rank=2 layers=[relu1]}", "layer 'relu1' (Relu) was asked for, but it is no Conv, Gemm or MatMul"),
        ("factorize{rank=60 layers=[conv2,head]}", "layer 'head' (Gemm) was asked for, but rank 60 is above its full rank 4"),
        ("factorize{rank=2 layers=[nobody]}", "'nobody' names no node, output or weight"),
        ("group-convs{groups=3 layers=[conv2]}", "its 64 and 64 channels in 1 groups do not divide into 3"),
        ("group-convs{pairs=10 layers=[conv2]}", "10 pairs are more than the 9 that make it exact"),
        ("prune-blocks{layers=[conv1]}", "prune-blocks: 'conv1'"),
        ("fuse-bn,reconstruct", "reconstruct needs calibration data (--data"),
        ("fuse-bn,reconstruct{layers=[relu1]}", "reconstruct needs calibration data (--data"),
    ],
)
def test_what_cannot_be_done(model: Path, invoke: Invoke, pipeline: str, message: str) -> None:
    result = invoke("run", model, "-p", pipeline, "-o", "out.onnx", status=2)
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not Path("out.onnx").exists()


@pytest.mark.parametrize(
    "pipeline", ["factorize{rank=2}", "group-convs{groups=2}", "prune-channels{criterion=obs}", "prune-channels,reconstruct"]
)
@pytest.mark.parametrize("bad", ["NaN", "size"])
def test_data_that_does_not_fit(model: Path, invoke: Invoke, pipeline: str, bad: str) -> None:
    array = np.zeros((4, 3, 8, 8) if bad == "NaN" else (4, 3, 9, 9), np.float32)
    array[2, 0, 0, 0] = np.nan
    np.savez("bad.npz", image=array)
    result = invoke("run", model, "-p", pipeline, "-o", "out.onnx", "--data", "bad.npz", status=2)
    assert ("holds NaN or infinity" if bad == "NaN" else "'image' must have shape") in result.stderr
    assert result.stderr.count("\n") == 1
    assert not Path("out.onnx").exists()
