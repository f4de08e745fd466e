"""How many threads are used, and that it is as before afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from graphopt.ir import Graph
from graphopt.pipeline import Context, Pass, PassResult, Pipeline, run_pipeline
from graphopt.quality import at_most, default_threads, one_blas_thread, session

from ..networks import network


def blas_threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_a_process_that_shares_the_machine() -> None:
    before = default_threads()
    with threadpool_limits(3, user_api="blas"):
        with at_most(1):
            assert default_threads() == 1
            assert session(network()).get_session_options().intra_op_num_threads == 1
            assert blas_threads() == {1}
        with at_most(10_000):
            assert default_threads() == before
        assert blas_threads() == {3}
    assert default_threads() == before


def test_what_is_set_is_taken_back_after_an_error() -> None:
    before = default_threads()
    with threadpool_limits(3, user_api="blas"):
        for limited in (at_most(1), one_blas_thread()):
            with pytest.raises(ZeroDivisionError), limited:
                raise ZeroDivisionError
            assert (default_threads(), blas_threads()) == (before, {3})


@dataclass(frozen=True)
class Looks(Pass):
    """Says how many threads BLAS has."""

    name: ClassVar[str] = "looks"

    def apply(self, graph: Graph, context: Context) -> PassResult:
        return PassResult(False, {"threads": max(blas_threads())})


@pytest.mark.parametrize(("largest", "threads"), [(2**20, 1), (100, 3)])
def test_passes_solve_for_small_weights_with_one_thread(monkeypatch: pytest.MonkeyPatch, largest: int, threads: int) -> None:
    monkeypatch.setattr("graphopt.pipeline.manager._SMALL", largest)
    with threadpool_limits(3, user_api="blas"):
        (step,) = run_pipeline(Graph.from_proto(network()), Pipeline((Looks(),)))
        assert blas_threads() == {3}
    assert step.result.summary == {"threads": threads}
