"""Two models that should do the same: their latency in turns, and how alike their outputs are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from graphopt.errors import DataError
from graphopt.ir import Graph
from graphopt.quality import Data, Fidelity, load_data, synthetic_inputs

_SYNTHETIC_SAMPLES = 16

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class OutputDifference:
    """How far an output is from the reference's: the largest absolute difference, None where shapes differ or it holds no numbers."""

    name: str
    largest: float | None
    fidelity: float


def inputs_for(source: str | None, preprocess: str | None, graph: Graph, seed: int, batch: int) -> tuple[Data, tuple[str, ...]]:
    """The data of a source, or made-up inputs, and what should be said about them."""
    if source is not None:
        return load_data(source, graph, preprocess), ()
    data = synthetic_inputs(graph, seed, max(_SYNTHETIC_SAMPLES, batch))
    return data, ("no data was given: outputs are compared on made-up inputs, which is only an indication",)


def check_same_inputs(reference: Graph, model: Graph, names: tuple[Path, Path]) -> None:
    """Raise DataError where the models cannot be given the same data."""
    one, other = ({value.name for value in graph.inputs if not value.is_initializer} for graph in (reference, model))
    if one != other:
        raise DataError(f"{names[0]} has the inputs {_listed(one)}, but {names[1]} has {_listed(other)}; no data fits both")


def differences(reference: Arrays, outputs: Arrays) -> list[OutputDifference]:
    """One entry per output of the reference. Raises DataError where one is missing."""
    found = []
    for name, wanted in reference.items():
        fidelity = Fidelity({name: wanted}).of(outputs)
        found.append(OutputDifference(name, _largest(wanted, outputs[name]), fidelity))
    return found


def _largest(wanted: npt.NDArray[Any], got: npt.NDArray[Any]) -> float | None:
    if wanted.shape != got.shape or wanted.dtype.kind not in "fiub" or not wanted.size:
        return None
    return float(np.max(np.abs(wanted.astype(np.float64) - got.astype(np.float64))))


def _listed(names: set[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names)) or "none"
