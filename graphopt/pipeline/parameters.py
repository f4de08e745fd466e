"""What a pass's parameters are: declared as dataclass fields, `ratio: float = parameter(0.5, minimum=0, maximum=1, help="...")`."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass
from typing import Any

from graphopt.pipeline.kinds import FrozenMap, Kind, MisfitError, Scalar, kind_of
from graphopt.pipeline.limits import Limits

_LIMITS, _HELP = "graphopt limits", "graphopt help"  # keys in a dataclass field's metadata
_LONGEST = 60  # characters of a value that a message shows


def parameter(
    default: Any = MISSING,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: Collection[object] = (),
    help: str = "",
) -> Any:
    """Declare a field of a pass. Without `default` it must be given; `minimum` and `maximum` are allowed, `above` and `below` are not.

    In lists and maps the limits hold for each value. A plain default (`ratio: float = 0.5`) declares a parameter without limits.
    """
    if isinstance(default, Mapping):
        default = FrozenMap(default)  # a dataclass refuses defaults that can change
    elif isinstance(default, list):
        default = tuple(default)
    limits = Limits(minimum, maximum, above, below, tuple(choices))
    return dataclasses.field(default=default, metadata={_LIMITS: limits, _HELP: help})


@dataclass(frozen=True)
class Parameter:
    """One parameter of a pass class; `default` is dataclasses.MISSING where it must be given."""

    name: str
    kind: Kind
    default: object
    limits: Limits
    help: str

    @property
    def required(self) -> bool:
        return self.default is MISSING

    @property
    def default_text(self) -> str | None:
        """The default as it stands in a pipeline text; None if the parameter must be given."""
        return None if self.required else self.kind.text(self.default)


@functools.cache
def parameters_of(pass_class: type) -> tuple[Parameter, ...]:
    """The parameters of a pass class, in the order of its fields; TypeError if the class declares them wrongly."""
    where = pass_class.__qualname__
    if "__dataclass_fields__" not in vars(pass_class):
        raise TypeError(f"{where} must be decorated with @dataclass(frozen=True)")
    if any(field.name == "name" for field in dataclasses.fields(pass_class)):
        raise TypeError(f"{where}.name must be declared as `name: ClassVar[str] = ...`: it is no parameter")
    hints = typing.get_type_hints(pass_class)
    return tuple(_parameter(where, field, hints[field.name]) for field in dataclasses.fields(pass_class) if field.init)


def _parameter(where: str, field: dataclasses.Field[Any], hint: object) -> Parameter:
    limits: Limits = field.metadata.get(_LIMITS, Limits())
    default = field.default if field.default_factory is MISSING else field.default_factory()
    try:
        kind = kind_of(hint, limits)
        _check_limits(kind, limits)
        if default is not MISSING:
            default = kind.check(default)
    except MisfitError as misfit:
        raise TypeError(f"{where}.{field.name}: the default {misfit.got!r} is not {misfit.needed}") from None
    except TypeError as error:
        raise TypeError(f"{where}.{field.name}: {error}") from None
    return Parameter(field.name, kind, default, limits, field.metadata.get(_HELP, ""))


def _check_limits(kind: Kind, limits: Limits) -> None:
    """TypeError for limits that no value of the kind could be held against."""
    while not isinstance(kind, Scalar):
        kind = kind.item  # type: ignore[attr-defined]
    ranged = any(bound is not None for bound in (limits.minimum, limits.maximum, limits.above, limits.below))
    if ranged and kind.type not in (int, float):
        raise TypeError(f"a range needs numbers, not {kind.type.__name__}")
    for choice in limits.choices:
        Scalar(kind.type, Limits()).check(choice)


def misfit_message(pass_name: str, parameter_name: str, needed: str, got: str) -> str:
    """The one line for a value that does not fit: pass, parameter, what is allowed, the value."""
    shown = got if len(got) <= _LONGEST else got[: _LONGEST - 3] + "..."
    return f"pass '{pass_name}', parameter '{parameter_name}': expected {needed}; got {shown}"
