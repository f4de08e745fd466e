"""Patterns and what replaces them, as text:

    c = Conv(x, *w, *b?)                          # *: a constant; ?: may be absent
    y = BatchNormalization(c, *, *, *, *)         # the last statement is the root; a bare * or _ is not named
  becomes
    y = Conv(x, w, bias(w)) {*c}                  # {*c}: with the attributes of c

A statement may name several operators (`Relu|Clip`), numbers (`Pow(d, 2)`: a constant that holds it) and all inputs (`Concat(...)`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from graphopt.cost.fusion.expression import Expression
from graphopt.cost.fusion.vocabulary import CONDITIONS, SHAPES

MADE_UP = ("bias", "pair", "sizes")  # a bias for a weight; two integers; as many integers as a tensor has axes
COMMUTATIVE = frozenset({"Add", "Mul", "And", "Or", "Xor", "Equal", "Max", "Min", "Sum"})


@dataclass(frozen=True, slots=True)
class Argument:
    """What an input of a pattern's statement must be."""

    name: str = ""  # empty: anything, without a name
    constant: bool = False
    optional: bool = False
    number: float | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """`output = kinds(arguments)`; `rest`: further inputs are allowed."""

    outputs: tuple[str, ...]
    kinds: frozenset[str]
    arguments: tuple[Argument, ...]
    rest: bool
    commutes: bool

    @property
    def output(self) -> str:
        return self.outputs[0]


@dataclass(frozen=True, slots=True)
class Made:
    """A statement of a replacement. An argument is a name, or (function, name) for a constant that fusion makes up."""

    outputs: tuple[str, ...]
    kind: str  # an operator, or "=x": as x is
    members: tuple[str, ...] | None
    arguments: tuple[str | tuple[str, str] | None, ...]
    copied: str | None
    attributes: tuple[tuple[str, Expression], ...]
    shape: tuple[str, tuple[str, ...]] | None


_STATEMENT = re.compile(r"([\w, ]+?)\s*=\s*([\w.|]+)\s*\(([^)]*)\)")
_MADE = re.compile(
    r"([\w, ]+?)\s*=\s*(=?[\w.]+)\s*(?:\[([\w, ]*)\])?\s*\(((?:[^()]|\([^()]*\))*)\)\s*(?:\{(.*)\})?\s*(?::\s*(\w+)\(([\w, ]*)\))?"
)
_ARGUMENT = re.compile(r"(\*?)(\w*)(\??)")


def parse_pattern(text: str) -> tuple[Statement, ...]:
    """Raises ValueError, which quotes the line."""
    statements = tuple(_statement(line) for line in _lines(text))
    if not statements:
        raise ValueError("an empty pattern")
    seen: set[str] = set()
    for statement in statements:
        if seen & set(statement.outputs):
            raise ValueError(f"{statement.output!r} is written twice")
        seen |= set(statement.outputs)
    read = {argument.name for statement in statements for argument in statement.arguments}
    for statement in statements[:-1]:
        if not read & set(statement.outputs):
            raise ValueError(f"{statement.output!r} is not used by a later line")
    return statements


def _statement(line: str) -> Statement:
    found = _STATEMENT.fullmatch(line)
    if found is None:
        raise ValueError(f"not a statement like 'y = Op(x, *w, *b?)': {line!r}")
    outputs, kinds, arguments = found.groups()
    items = [item.strip() for item in arguments.split(",")] if arguments.strip() else []
    rest = bool(items) and items[-1] == "..."
    parsed = tuple(_argument(item, line) for item in (items[:-1] if rest else items))
    operators = frozenset(kinds.split("|"))
    return Statement(
        tuple(name.strip() for name in outputs.split(",")), operators, parsed, rest, len(parsed) == 2 and operators <= COMMUTATIVE
    )


def _argument(text: str, line: str) -> Argument:
    if text in ("_", ""):
        return Argument(optional=True)
    if re.fullmatch(r"-?[0-9.]+(e-?[0-9]+)?", text):
        return Argument(constant=True, number=float(text))
    found = _ARGUMENT.fullmatch(text)
    if found is None:
        raise ValueError(f"not an argument: {text!r} in {line!r}")
    star, name, optional = found.groups()
    return Argument(name, bool(star), bool(optional))


def parse_result(text: str, pattern: tuple[Statement, ...]) -> tuple[Made, ...]:
    """Raises ValueError, which quotes the line."""
    known = {name for s in pattern for name in s.outputs} | {argument.name for s in pattern for argument in s.arguments}
    result = []
    for line in _lines(text):
        made = _made(line)
        for name in (*(a if isinstance(a, str) else a[1] for a in made.arguments if a is not None), *filter(None, [made.copied]),
                     *(made.members or ()), *(made.shape[1] if made.shape else ())):  # fmt: skip
            if name not in known:
                raise ValueError(f"{name!r} is neither in the pattern nor made by an earlier line: {line!r}")
        known |= set(made.outputs)
        result.append(made)
    if not result:
        raise ValueError("an empty result")
    for name in pattern[-1].outputs:
        if not any(name in made.outputs for made in result):
            raise ValueError(f"the result does not make {name!r}, the pattern's last output")
    return tuple(result)


def _made(line: str) -> Made:
    found = _MADE.fullmatch(line)
    if found is None:
        raise ValueError(f"not a statement like 'y = Op(x, w) {{*c, axis=-1}}': {line!r}")
    outputs, kind, members, arguments, attributes, function, of = found.groups()
    if function is not None and function not in SHAPES:
        raise ValueError(f"no shape function {function!r} in {line!r}; there are {', '.join(sorted(SHAPES))}")
    copied, given = _attributes(attributes or "")
    return Made(
        _names(outputs),
        kind,
        None if members is None else _names(members),
        tuple(_made_argument(item.strip(), line) for item in arguments.split(",")) if arguments.strip() else (),
        copied,
        given,
        None if function is None else (function, _names(of)),
    )


def _made_argument(text: str, line: str) -> str | tuple[str, str] | None:
    if text == "_":
        return None
    found = re.fullmatch(r"(\w+)\((\w+)\)", text)
    if found is None:
        return text.rstrip("?")
    if found[1] not in MADE_UP:
        raise ValueError(f"no constant {found[1]!r} in {line!r}; there are {', '.join(MADE_UP)}")
    return found[1], found[2]


def _attributes(text: str) -> tuple[str | None, tuple[tuple[str, Expression], ...]]:
    copied, given = None, []
    for item in filter(None, (part.strip() for part in re.split(r",(?![^(\[]*[)\]])", text))):
        if item.startswith("*"):
            copied = item[1:].strip()
            continue
        name, equals, value = item.partition("=")
        if not equals:
            raise ValueError(f"not an attribute like 'axis=-1': {item!r}")
        given.append((name.strip(), Expression(value, CONDITIONS)))
    return copied, tuple(given)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for item in text.split(",") if (name := item.strip()))


def _lines(text: str) -> list[str]:
    return [line for raw in re.split(r"[\n;]", text) if (line := raw.partition("#")[0].strip())]
