"""The data of a search in parts that have no sample in common."""

from __future__ import annotations

from dataclasses import dataclass

from graphopt.ir import Graph
from graphopt.quality import Data, load_data, split, synthetic_inputs
from graphopt.search.request import Request

_SYNTHETIC_SAMPLES = 16
_HALVES = (0.5, 0.5)


@dataclass(frozen=True)
class Parts:
    """Criteria, repair and estimates of harm see `calibration` (None: there is no data), the search chooses by `validation`, and what is
    reported in the end is found on `test`. `whole` is what they were cut from; `notes` say where they are not apart.
    """

    whole: Data
    calibration: Data | None
    validation: Data
    test: Data
    notes: tuple[str, ...] = ()


def parts_of(request: Request, graph: Graph) -> Parts:
    """The data of a request, cut into parts by its seed. Raises DataError."""
    if request.data is None:
        return _made_up(request, graph)
    data = request.data if isinstance(request.data, Data) else load_data(request.data, graph, request.preprocess)
    if request.calibration is None:
        divided = split(data, seed=request.seed)
        if divided is not None:
            calibration, validation, test = divided
            return Parts(data, calibration, validation, test)
        return Parts(data, data, data, data, (_too_few(data, 3),))
    calibration = _calibration(request, graph)
    halves = split(data, _HALVES, request.seed)
    if halves is not None:
        return Parts(data, calibration, halves[0], halves[1])
    return Parts(data, calibration, data, data, (_too_few(data, 2),))


def _made_up(request: Request, graph: Graph) -> Parts:
    samples = max(_SYNTHETIC_SAMPLES, request.batch)
    data = synthetic_inputs(graph, request.seed, 2 * samples)
    halves = split(data, _HALVES, request.seed) or (data, data)
    calibration = None if request.calibration is None else _calibration(request, graph)
    return Parts(data, calibration, halves[0], halves[1])


def _calibration(request: Request, graph: Graph) -> Data:
    assert request.calibration is not None
    return request.calibration if isinstance(request.calibration, Data) else load_data(request.calibration, graph, request.preprocess)


def _too_few(data: Data, parts: int) -> str:
    samples = f"{data.samples} sample{'s' if data.samples != 1 else ''}"
    return f"the data has only {samples}, too few to divide into {parts} parts: the final figure is of what the search chose by"
