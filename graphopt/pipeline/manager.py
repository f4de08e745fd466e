"""Running a pipeline over a graph."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from graphopt.errors import DefectError, GraphoptError, PluginError
from graphopt.pipeline.base import Context, Pass, PassResult
from graphopt.pipeline.plugins import line_in
from graphopt.pipeline.text import Pipeline
from graphopt.quality import fitted_arrays, input_shapes, one_blas_thread

if TYPE_CHECKING:
    from graphopt.ir import Graph
    from graphopt.pipeline.instruments import Instrument

_SMALL = 2**20  # elements of the largest weight, up to which one thread solves for it about as soon as several


@dataclass(frozen=True)
class StepRecord:
    """One pass of a run: its text, how long it took (without the instruments), and its result."""

    text: str
    seconds: float
    result: PassResult


def run_pipeline(
    graph: Graph, pipeline: Pipeline, context: Context | None = None, instruments: Sequence[Instrument] = ()
) -> list[StepRecord]:
    """Apply each pass to `graph`, in place and in order; each finds the results of those before it at the end of `context.history`.

    `context.data` fits the original; where a pass made an input smaller, the passes after it find pictures that were resized.

    A pass that fails leaves the graph half changed. Its GraphoptError passes through; any other exception is a defect and becomes a
    DefectError, or a PluginError if the pass is not one of graphopt's own.
    """
    context = context or Context()
    instruments = (*context.instruments, *instruments)
    context = replace(context, instruments=instruments)
    shapes = input_shapes(graph)
    if context.original is not None and input_shapes(context.original) != shapes:
        context = _with_fitted_data(context, graph)
    records = []
    for pass_ in pipeline.passes:
        for instrument in instruments:
            instrument.before_pass(pass_, graph)
        started = time.perf_counter()
        result = _apply(pass_, graph, context)
        context = replace(context, history=(*context.history, result))
        if input_shapes(graph) != shapes:
            context, shapes = _with_fitted_data(context, graph), input_shapes(graph)
        records.append(StepRecord(str(pass_), time.perf_counter() - started, result))
        for instrument in reversed(instruments):
            instrument.after_pass(pass_, graph, result)
    return records


def _with_fitted_data(context: Context, graph: Graph) -> Context:
    return context if context.data is None else replace(context, data=fitted_arrays(context.data, graph))


def _apply(pass_: Pass, graph: Graph, context: Context) -> PassResult:
    try:
        with one_blas_thread() if _is_small(graph) else nullcontext():
            result: object = pass_.apply(graph, context)
    except (GraphoptError, MemoryError):
        raise
    except Exception as error:
        raise _blame(pass_, f"{_where(pass_, error)}: {type(error).__name__}: {error}") from error
    if not isinstance(result, PassResult):
        raise _blame(pass_, f" returned {type(result).__name__}, not a PassResult")
    return result


def _is_small(graph: Graph) -> bool:
    return all(value.tensor is None or value.tensor.size <= _SMALL for value in graph.initializers)


def _where(pass_: Pass, error: Exception) -> str:
    """Such as " failed in my_pass.py, line 12": the line of the pass's own file, because the command line shows no stack trace."""
    file = getattr(sys.modules.get(type(pass_).__module__), "__file__", None)
    line = line_in(error, file) if file else None
    return " failed" if line is None else f" failed in {file}, line {line}"


def _blame(pass_: Pass, what: str) -> GraphoptError:
    own = type(pass_).__module__.partition(".")[0] == "graphopt"
    if own:
        return DefectError(f"pass '{pass_}'{what}; this is a defect of graphopt, please report it")
    return PluginError(f"pass '{pass_}'{what}; this is a defect of that pass, which is not part of graphopt")
