"""Values inside a model while it runs over data, a run at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Generic, TypeVar

import numpy as np
from onnx import helper

from graphopt.errors import DataError
from graphopt.ir import Graph, Value
from graphopt.ir.part import part_model
from graphopt.quality import Data, load_data, run, session
from graphopt.quality.arrays import AnyArray
from graphopt.repair.mapped import let_go, runs

Values = dict[Value, AnyArray]
K = TypeVar("K")


class Stream:
    """The values of a root `graph` on the runs of `data`, always of the graph as it is at the time of the call.

    Runs start from the inputs, or from the values that `advance` has stored in a temporary file: whatever lies before them is not computed
    again, and must not be edited any more.
    """

    def __init__(self, graph: Graph, data: Data) -> None:
        self.graph = graph
        self._data = data
        self._store: Store[Value] | None = None

    def values(self, targets: Sequence[Value]) -> Iterator[Values]:
        """The values of `targets`, run by run. Raises RuntimeRefusedError."""
        inputs_of_runs = self._runs()
        first = next(inputs_of_runs, None)
        if first is None:
            return
        model = part_model(self.graph, targets, {value: _elem_type(array) for value, array in first.items()})
        inputs = {info.name for info in model.graph.input}
        computed = session(model) if model.graph.node else None
        del model
        for known in _chain(first, inputs_of_runs):
            feeds = {value.name: array for value, array in known.items() if value.name in inputs}
            results = run(computed, feeds) if computed is not None else {}
            yield {value: known[value] if value in known else results[value.name] for value in targets}

    def advance(self, values: Sequence[Value]) -> None:
        """Let later runs start from `values`."""
        store = Store[Value]()
        for found in self.values(values):
            store.append(found)
        if self._store is not None:
            self._store.close()
        self._store = store

    def close(self) -> None:
        """Delete what is stored."""
        if self._store is not None:
            self._store.close()
        self._store = None

    def _runs(self) -> Iterator[Values]:
        if self._store is not None:
            return self._store.runs()
        return ({self.graph.value(name): array for name, array in feeds.items()} for feeds in runs(self._data))


def calibration(graph: Graph, arrays: Mapping[str, AnyArray]) -> Data:
    """Calibration arrays by input name as runs of the model. Raises DataError where they do not fit it or hold NaN or infinity."""
    data = load_data(arrays, graph)
    for name, array in data.feeds.items():
        if array.dtype.kind == "f" and not _finite(array):
            raise DataError(f"the calibration data for input {name!r} holds NaN or infinity")
    return data


def _finite(array: AnyArray) -> bool:
    """A sample at a time: it may be large."""
    for sample in np.atleast_1d(array):
        if not np.isfinite(sample).all():
            return False
        let_go([array])
    return True


class Store(Generic[K]):
    """Named arrays of many runs, one after the other in a temporary file that has no name."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="graphopt-")  # noqa: SIM115  closed by close()
        self._index: list[dict[K, tuple[int, np.dtype[np.generic], tuple[int, ...]]]] = []

    def append(self, values: Mapping[K, AnyArray]) -> None:
        entry = {}
        for value, array in values.items():
            entry[value] = (self._file.tell(), array.dtype, array.shape)
            self._file.write(np.ascontiguousarray(array).data)
        self._index.append(entry)

    def runs(self) -> Iterator[dict[K, AnyArray]]:
        for entry in self._index:
            yield {value: self._read(*place) for value, place in entry.items()}

    def _read(self, offset: int, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> AnyArray:
        self._file.seek(offset)
        array = np.empty(shape, dtype)
        self._file.readinto(array.reshape(-1).view(np.uint8).data)  # type: ignore[attr-defined]
        return array

    def close(self) -> None:
        self._file.close()


def _chain(first: Values, rest: Iterator[Values]) -> Iterator[Values]:
    yield first
    yield from rest


def _elem_type(array: AnyArray) -> int:
    return int(helper.np_dtype_to_tensor_dtype(array.dtype))
