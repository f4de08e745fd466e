"""How far a model's outputs are from another's: squared error over squared size, the mean over the floating-point outputs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from graphopt.ir import Graph, save
from graphopt.quality import Data, run, session
from graphopt.quality.arrays import AnyArray
from graphopt.repair.mapped import runs

Outputs = Mapping[str, AnyArray]  # of one run, by name


def outputs(graph: Graph, data: Data) -> Iterator[Outputs]:
    """The outputs run by run.

    By way of a file: a model that is handed over in memory is there three times over until the session has it.
    """
    with tempfile.TemporaryDirectory(prefix="graphopt-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "model.onnx"
        save(graph, path)
        made = session(path)
    for feeds in runs(data):
        yield run(made, feeds)


def output_errors(original: Graph, graphs: Iterable[Graph], data: Data) -> list[float]:
    """How far each graph's outputs are from the original's, which are kept meanwhile."""
    wanted = list(outputs(original, data))
    return [errors_of_runs(zip(wanted, outputs(graph, data), strict=True))[0] for graph in graphs]


def errors_of_runs(runs: Iterable[Sequence[Outputs]]) -> list[float]:
    """How far the outputs of each model are from those of the first, given the outputs of all of them run by run, at least one.

    Outputs that have no counterpart of their shape do not count.
    """
    errors: list[dict[str, float]] = []
    sizes: list[dict[str, float]] = []
    for wanted, *others in runs:
        errors, sizes = errors or [{} for _ in others], sizes or [{} for _ in others]
        for found, error, size in zip(others, errors, sizes, strict=True):
            for name, array in wanted.items():
                if array.dtype.kind == "f" and name in found and found[name].shape == array.shape:
                    error[name] = error.get(name, 0.0) + float(np.square(found[name].astype(np.float64) - array).sum())
                    size[name] = size.get(name, 0.0) + float(np.square(array, dtype=np.float64).sum())
    return [
        float(np.mean([error[name] / max(size[name], 1e-30) for name in error])) if error else 0.0
        for error, size in zip(errors, sizes, strict=True)
    ]
