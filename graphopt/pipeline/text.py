"""Pipelines and their text form."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from graphopt.errors import PassParameterError, UnknownPassError
from graphopt.pipeline.base import Pass
from graphopt.pipeline.kinds import MisfitError
from graphopt.pipeline.parameters import misfit_message, parameters_of
from graphopt.pipeline.syntax import Setting, Step, parse, point

if TYPE_CHECKING:
    from graphopt.pipeline.registry import Registry


@dataclass(frozen=True)
class Pipeline:
    """A sequence of passes; `str()` gives the text that parses back to it. An empty one changes nothing."""

    passes: tuple[Pass, ...] = ()

    def __str__(self) -> str:
        return ",".join(map(str, self.passes))


def parse_pipeline(text: str, registry: Registry) -> Pipeline:
    """The pipeline that `text` describes (see graphopt.pipeline.syntax for the grammar).

    PipelineSyntaxError, UnknownPassError and PassParameterError say in their first line what is wrong; the next two show the place in
    the text with a caret.
    """
    return Pipeline(tuple(_instantiate(text, step, registry) for step in parse(text)))


def suggestion(word: str, known: Iterable[str]) -> str:
    """A clause such as "; did you mean 'x'?" if a known word is near, else empty."""
    near = get_close_matches(word.lower().replace("_", "-"), known, n=1) or get_close_matches(word, known, n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def _instantiate(text: str, step: Step, registry: Registry) -> Pass:
    try:
        pass_class = registry.get(step.name)
    except UnknownPassError as error:
        raise UnknownPassError(point(text, step.start, str(error))) from None
    parameters = {parameter.name: parameter for parameter in parameters_of(pass_class)}
    values: dict[str, object] = {}
    for setting in step.settings:
        if setting.name not in parameters:
            raise PassParameterError(point(text, setting.start, _unknown_parameter(step, setting, list(parameters))))
        try:
            values[setting.name] = parameters[setting.name].kind.read(setting.value)
        except MisfitError as misfit:
            place = misfit.tree or setting.value
            message = misfit_message(step.name, setting.name, misfit.needed, text[place.start : place.end])
            raise PassParameterError(point(text, place.start, message)) from None
    missing = [parameter.name for parameter in parameters.values() if parameter.required and parameter.name not in values]
    if missing:
        raise PassParameterError(point(text, step.start, f"pass '{step.name}' needs parameter '{missing[0]}'"))
    try:
        return pass_class(**values)
    except (PassParameterError, ValueError) as error:  # a check of the pass's own, over several parameters: it has no place of its own
        raise PassParameterError(point(text, step.start, str(error))) from error


def _unknown_parameter(step: Step, setting: Setting, known: list[str]) -> str:
    near = suggestion(setting.name, known)
    listing = near or (f"; it has {', '.join(known)}" if known else "; it has none")
    return f"pass '{step.name}' has no parameter '{setting.name}'{listing}"
