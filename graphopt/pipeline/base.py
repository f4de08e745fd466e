"""What a pass is: a frozen dataclass that changes a graph, what it is told (Context), and what it answers (PassResult)."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from graphopt.errors import PassParameterError
from graphopt.pipeline.kinds import MisfitError
from graphopt.pipeline.parameters import misfit_message, parameters_of

if TYPE_CHECKING:
    from graphopt.cost.predictor import Predictor
    from graphopt.ir import Graph
    from graphopt.pipeline.instruments import Instrument

_KEBAB = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Skip:
    """A place that a pass left alone, and why."""

    where: str
    why: str


@dataclass(frozen=True)
class PassResult:
    """What a pass did.

    `summary` holds its figures; `kept` says which indices of an initializer's axis are left, {initializer: {axis: [indices]}}, by the names
    and indices that the initializers had before the pass.
    """

    changed: bool
    summary: dict[str, int | float | str] = field(default_factory=dict)
    kept: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    skipped: tuple[Skip, ...] = ()


@dataclass(frozen=True)
class Context:
    """What a pass may know beside the graph: `data` are calibration arrays by input name, `seed` decides all that is random.

    `original` is the model as it was before any pass, not to be changed, and `history` what the passes since then answered, in order.
    `predictor` predicts latencies on the target that the model is made for, None where none was named.
    """

    seed: int = 0
    data: Mapping[str, np.ndarray[Any, Any]] | None = None
    instruments: tuple[Instrument, ...] = ()
    original: Graph | None = None
    history: tuple[PassResult, ...] = ()
    predictor: Predictor | None = None

    def rng(self) -> np.random.Generator:
        """A fresh generator: what a pass draws does not depend on the passes before it."""
        return np.random.default_rng(self.seed)

    def permit(self, where: str) -> bool:
        """Whether the rewrite that `where` describes may be done; a pass asks right before each one."""
        return all(instrument.permit(where) for instrument in self.instruments)


@dataclass(frozen=True)
class Pass(ABC):
    """One step of a pipeline.

        @dataclass(frozen=True)
        class ClipWeights(Pass):
            '''Clip the weights of convolutions.'''
            name: ClassVar[str] = "clip-weights"
            limit: float = parameter(6.0, above=0, help="in standard deviations")
            def apply(self, graph, context): ...

    Fields are the parameters: checked when an instance is made (PassParameterError), immutable, hashable. `str()` gives the pipeline text,
    `clip-weights{limit=3.0}`, with the parameters that differ from their defaults; it parses back to an equal pass. A class with a
    `__post_init__` of its own calls this one first.
    """

    name: ClassVar[str]

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        name = getattr(cls, "name", None)
        if isinstance(name, str) and not _KEBAB.fullmatch(name):
            raise TypeError(f"the name of {cls.__qualname__} must be kebab-case (like 'fuse-bn'), not {name!r}")

    @abstractmethod
    def apply(self, graph: Graph, context: Context) -> PassResult:
        """Change `graph` in place and say what was done."""

    def __post_init__(self) -> None:
        for parameter in parameters_of(type(self)):
            try:
                value = parameter.kind.check(getattr(self, parameter.name))
            except MisfitError as misfit:
                message = misfit_message(self.name, parameter.name, misfit.needed, repr(misfit.got))
                raise PassParameterError(message) from None
            object.__setattr__(self, parameter.name, value)  # in its normal form: a list became a tuple, a dict became frozen

    def __str__(self) -> str:
        given = [(parameter, getattr(self, parameter.name)) for parameter in parameters_of(type(self))]
        settings = [f"{parameter.name}={parameter.kind.text(value)}" for parameter, value in given if value != parameter.default]
        return f"{self.name}{{{' '.join(settings)}}}" if settings else self.name
