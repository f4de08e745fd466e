from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from graphopt.cost import Cost, operator_cost
from graphopt.cost.macs import _RULES
from graphopt.cost.operators import COUNTED, operators
from graphopt.cost.table import costs_table, row

PAGE = Path(__file__).parents[2] / "docs" / "costs.md"


def test_the_table_of_costs_is_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert all(row(*operator) in page for operator in operators()), "python -m graphopt.cost.table > docs/costs.md"
    if f"onnx {onnx.__version__}" in page:
        assert page == costs_table(), "python -m graphopt.cost.table > docs/costs.md"


def test_every_operator_that_multiplies_has_a_rule() -> None:
    assert set(COUNTED) == set(_RULES)


@pytest.mark.parametrize(
    ("domain", "name", "cost"),
    [
        ("", "Conv", Cost.COUNTED),
        ("", "Relu", Cost.MOVED),
        ("", "Reshape", Cost.FREE),
        ("", "Loop", Cost.UNKNOWN),
        ("", "STFT", Cost.UNKNOWN),
        ("", "SequenceAt", Cost.UNKNOWN),
        ("ai.onnx.ml", "Scaler", Cost.MOVED),
        ("ai.onnx.ml", "TreeEnsemble", Cost.UNKNOWN),
        ("com.example", "Conv", Cost.UNKNOWN),
        ("", "Mystery", Cost.UNKNOWN),
    ],
)
def test_how_the_cost_is_found(domain: str, name: str, cost: Cost) -> None:
    assert operator_cost(domain, name)[0] is cost


def test_no_operator_is_unknown_without_a_reason() -> None:
    assert all(remark for cost, remark in (operator_cost(*operator) for operator in operators()) if cost is Cost.UNKNOWN)
