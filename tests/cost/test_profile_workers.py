from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from graphopt.cost.profile import random_network
from graphopt.cost.profile.workers import kernel_results, network_results
from graphopt.errors import DefectError

SETTINGS = {"threads": 1, "provider": "CPUExecutionProvider", "block": 16, "processor": None}
RELU = "Relu(float[1,64]) -> float[1,64]"


def test_each_kernel_has_a_result_with_the_canary_beside_it() -> None:
    texts = [RELU, "Softmax(float[4,10]) -> float[4,10] {axis=1}", "MadeUp(float[4]) -> float[4]", "Loop() -> float[1]"]
    results = list(kernel_results(texts, SETTINGS))
    by_text = {result["signature"]: result for result in results if "signature" in result}
    assert sorted(by_text) == sorted(texts)
    assert all(by_text[text]["ms"] > 0 for text in texts[:2])
    assert all("error" in by_text[text] for text in texts[2:])
    assert all(ms > 0 for text in texts[:2] for ms in by_text[text]["canary"])


def test_a_network_has_runs_and_a_broken_one_an_error(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.onnx", tmp_path / "bad.onnx"
    onnx.save(random_network("squeezenet", 0), good)
    bad.write_bytes(b"no model")
    results = {r["path"]: r for r in network_results([str(good), str(bad)], SETTINGS | {"seconds": 0.05}) if "path" in r}
    assert len(results[str(good)]["runs"]) >= 3  # of at least one undisturbed visit
    assert "error" in results[str(bad)]


def test_a_kernel_that_ends_the_process_does_not_end_the_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = tmp_path / "python"
    # Stands in for the interpreter: dies at the second kernel that it is given, measures the others.
    worker.write_text(
        "#!/usr/bin/env python3\n"
        "import json, os, sys\n"
        "for text in json.load(sys.stdin)['signatures']:\n"
        "    print(json.dumps({'signature': text, 'start': True}), flush=True)\n"
        "    if text == 'second':\n"
        "        os._exit(139)\n"
        "    print(json.dumps({'signature': text, 'ms': 1.0, 'runs': 1}), flush=True)\n"
    )
    worker.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(worker))
    results = {result["signature"]: result for result in kernel_results(["first", "second", "third"], SETTINGS)}
    assert results["first"]["ms"] == results["third"]["ms"] == 1.0
    assert "ended the process" in results["second"]["error"]


def test_a_worker_that_never_begins_is_a_defect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = tmp_path / "python"
    worker.write_text("#!/bin/sh\nexit 1\n")
    worker.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(worker))
    with pytest.raises(DefectError, match="before it began"):
        list(kernel_results([RELU], SETTINGS))
