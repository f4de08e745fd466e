"""Whether a change is worth having on a target."""

from __future__ import annotations

from graphopt.cost import Predictor
from graphopt.ir import Graph


def slower(before: Graph, after: Graph, predictor: Predictor) -> str | None:
    """A clause that says so where `after` is not predicted to be faster than `before`, otherwise None."""
    old, new = predictor.predict(before).ms, predictor.predict(after).ms
    return None if new < old else f"the model is predicted to take {new:.4g} ms on {predictor.target.name} instead of {old:.4g} ms"
