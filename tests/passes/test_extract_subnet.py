"""The pass `extract-subnet`; tests/supernet holds what extraction itself promises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphopt
from graphopt.errors import DataError, PassParameterError, SupernetError
from graphopt.pipeline import Registry, parse_pipeline

from ..supernet.families import small


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> graphopt.Graph:
    """A supernet with its files in the current folder."""
    monkeypatch.chdir(tmp_path)
    made = small("ofa_mbv3")
    np.savez("transforms.npz", **made.transforms)  # type: ignore[arg-type]
    Path("s.json").write_text(json.dumps(made.document))
    Path("c.json").write_text(json.dumps({"ks": 5, "e": 3, "d": [2, 3, 4, 2, 2], "image_size": 48}))
    return graphopt.Graph.from_proto(made.model)


TEXT = "extract-subnet{supernet=s.json config=c.json}"


def test_the_text_parses_back() -> None:
    for text in (TEXT, "extract-subnet{supernet=s.json config=c.json transforms=t.npz sort_channels=l1 recalibrate=true}"):
        assert str(parse_pipeline(text, Registry.installed())) == text
    with pytest.raises(PassParameterError, match="supernet"):
        parse_pipeline("extract-subnet", Registry.installed())


def test_it_extracts_and_records(files: graphopt.Graph) -> None:
    done = graphopt.run(files, TEXT)
    graphopt.verify(done.graph)
    (result,), (step,) = done.results, done.steps
    assert result.summary == {"blocks_left_out": 7, "tensors_changed": 171, "image_size": 48, "batch_normalization": "kept"}
    assert step.kept["block0/expand.weight"] == {"0": list(range(24))}
    assert done.after.params < 0.6 * done.before.params
    assert sum(node.op_type == "Conv" for node in done.graph.nodes) < sum(node.op_type == "Conv" for node in files.nodes)


def test_without_a_configuration_the_largest_stays(files: graphopt.Graph) -> None:
    assert not graphopt.run(files, "extract-subnet{supernet=s.json}").changed
    assert graphopt.run(files, "extract-subnet{supernet=s.json sort_channels=l1}").changed


def test_recalibration_takes_images_of_the_new_size(files: graphopt.Graph) -> None:
    images = np.random.default_rng(0).normal(size=(8, 3, 48, 48)).astype(np.float32)
    text = "extract-subnet{supernet=s.json config=c.json recalibrate=true}"
    done = graphopt.run(files, text, data={"input": images})
    assert done.results[0].summary["recalibrated"] == sum(node.op_type == "BatchNormalization" for node in done.graph.nodes)
    graphopt.verify(done.graph)
    with pytest.raises(DataError, match="recalibrate needs data"):
        graphopt.run(files, text)
    with pytest.raises(DataError, match="input"):
        graphopt.run(files, text, data={"input": np.zeros((8, 3, 64, 64), np.float32)})


def test_what_it_reads_may_be_missing(files: graphopt.Graph, tmp_path: Path) -> None:
    def message(text: str) -> Any:
        with pytest.raises(SupernetError) as caught:
            graphopt.run(files, text)
        return str(caught.value)

    assert "cannot read configuration no.json" in message("extract-subnet{supernet=s.json config=no.json}")
    assert "cannot read supernet description no.json" in message("extract-subnet{supernet=no.json}")
    assert "cannot read transforms no.npz" in message("extract-subnet{supernet=s.json transforms=no.npz}")
    Path("transforms.npz").unlink()
    assert "needs the kernel transforms 'transforms.npz' that s.json names; give them with" in message(TEXT)
