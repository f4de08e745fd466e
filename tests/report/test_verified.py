from __future__ import annotations

from pathlib import Path

import pytest

import graphopt
from graphopt.errors import VerifyError
from graphopt.report import verified

from ..networks import write_network


@pytest.fixture
def graph(tmp_path: Path) -> graphopt.Graph:
    return graphopt.load(write_network(tmp_path / "m.onnx"))


def broken(graph: graphopt.Graph) -> graphopt.Graph:
    """With an operator that ONNX Runtime does not have."""
    copy = graph.copy()
    copy.add_node("Mystery", [copy.value("r1")], ["strange"], domain="com.example")
    return copy


def test_a_good_result_needs_no_words(graph: graphopt.Graph) -> None:
    assert verified(graph.copy(), graph) == ()


def test_a_result_that_became_bad_is_a_defect(graph: graphopt.Graph) -> None:
    with pytest.raises(VerifyError):
        verified(broken(graph), graph)


def test_an_input_that_was_bad_is_not(graph: graphopt.Graph) -> None:
    (note,) = verified(broken(graph), broken(graph))
    assert note.startswith("the result could not be verified, because the input already fails: ")
