"""The pass of examples/plugin_package, installed as a user would and found by a fresh process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugin_package"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the package was installed, from a copy, so that nothing is built in the source."""
    pytest.importorskip("setuptools", reason="installing without build isolation needs setuptools")
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(EXAMPLE, folder / "source", ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", str(folder / "site"), str(folder / "source")],
        check=True,
        capture_output=True,
    )
    return folder / "site"


def call(site: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from graphopt.cli import main; main(prog_name='graphopt')", *map(str, arguments)]
    paths = [str(site), str(Path(__file__).parents[2])]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)})


def test_it_is_listed_with_its_distribution(installed: Path) -> None:
    listed = call(installed, "passes", "clip-weights")
    assert listed.returncode == 0, listed.stderr
    assert "from graphopt-clip-weights 0.1.0 (graphopt_clip_weights:ClipWeights)" in listed.stdout


def test_it_runs(installed: Path, model: Path) -> None:
    done = call(installed, "run", model, "-p", "clip-weights{limit=1},fuse-bn", "-o", "out.onnx")
    assert done.returncode == 0, done.stderr
    assert Path("out.onnx").exists()
    assert "clip-weights{limit=1.0}" in done.stdout
    wrong = call(installed, "run", model, "-p", "clip-weights{limit=0}", "-o", "out.onnx")
    assert wrong.returncode == 2
    assert "expected a number, above 0" in wrong.stderr
