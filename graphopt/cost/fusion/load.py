"""Reading rule files strictly: what is not understood is an error that says where."""

from __future__ import annotations

import functools
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from graphopt.cost.fusion.expression import Expression
from graphopt.cost.fusion.layout import ROLES
from graphopt.cost.fusion.pattern import parse_pattern, parse_result
from graphopt.cost.fusion.rules import Blocked, Case, FusionRules, Layout, Rule, Step
from graphopt.cost.fusion.steps import ALGORITHMS
from graphopt.cost.fusion.vocabulary import CONDITIONS
from graphopt.errors import RulesError

_FORMAT = 1


def load_rules(name: str | os.PathLike[str]) -> FusionRules:
    """The rules of a file, or of one that comes with graphopt by its name (`onnxruntime-cpu`). Raises RulesError."""
    path = Path(name)
    if path.suffix == ".toml" or path.parent != Path():
        try:
            return parse_rules(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise RulesError(f"cannot read the fusion rules {str(path)!r}: {error}") from error
    return _installed(str(name))


@functools.cache
def _installed(name: str) -> FusionRules:
    folder = resources.files("graphopt.hw_models") / "rules"
    file = folder / f"{name}.toml"
    if not file.is_file():
        there = ", ".join(sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")))
        raise RulesError(f"there are no fusion rules {name!r}; there are {there}, or give the path of a .toml file")
    return parse_rules(file.read_text(encoding="utf-8"), f"{name}.toml")


def parse_rules(text: str, source: str) -> FusionRules:
    """The rules of a file's text. Raises RulesError, which names `source` and the place in it."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RulesError(f"{source}: not TOML: {error}") from error
    try:
        return _rules(_Table(data, "the file"), Path(source).stem)
    except ValueError as error:
        raise RulesError(f"{source}: {error}") from error


class _Table:
    """A table whose keys are taken one by one; what is left over is an error."""

    def __init__(self, data: Mapping[str, Any], where: str) -> None:
        self.left, self.where = dict(data), where

    def take(self, key: str, kind: type, default: Any = None) -> Any:
        """The value of `key`, which must be of `kind`; required where `default` is Ellipsis."""
        if key not in self.left:
            if default is ...:
                raise ValueError(f"{self.where} has no {key!r}")
            return default
        value = self.left.pop(key)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ValueError(f"{key!r} of {self.where} must be {_WORDS[kind]}, not {value!r}")
        return value

    def texts(self, key: str, default: Any = ()) -> tuple[str, ...]:
        found = self.take(key, list, default)
        if not all(isinstance(item, str) for item in found):
            raise ValueError(f"{key!r} of {self.where} must be a list of texts")
        return tuple(found)

    def tables(self, key: str) -> Iterable[tuple[int, Mapping[str, Any]]]:
        found = self.take(key, list, [])
        if not all(isinstance(item, dict) for item in found):
            raise ValueError(f"{key!r} of {self.where} must be a list of tables")
        return enumerate(found, 1)

    def done(self) -> None:
        if self.left:
            raise ValueError(f"{self.where} has an unknown key {next(iter(self.left))!r}")


_WORDS = {str: "a text", int: "a whole number", bool: "true or false", list: "a list", dict: "a table"}


def _rules(table: _Table, name: str) -> FusionRules:
    version = table.take("format", int, ...)
    if version != _FORMAT:
        raise ValueError(f"format {version} is not known; this graphopt reads format {_FORMAT}")
    layout = table.take("layout", dict)
    rules = FusionRules(
        name=name,
        runtime=table.take("runtime", str, ...),
        version=table.take("version", str, ""),
        provider=table.take("provider", str, ""),
        block=table.take("block", int, 1),
        note=table.take("note", str, ""),
        never_fold=frozenset(table.texts("never_fold")),
        steps=tuple(_step(_Table(item, f"step {index}"), index) for index, item in table.tables("step")),
        layout=None if layout is None else _layout(_Table(layout, "layout")),
        late=tuple(_rule(_Table(item, f"late rule {index}")) for index, item in table.tables("late")),
    )
    table.done()
    if rules.block < 1:
        raise ValueError(f"'block' must be at least 1, not {rules.block}")
    return rules


def _step(table: _Table, index: int) -> Step:
    name = table.take("name", str, f"step {index}")
    table.where = f"step {name!r}"
    algorithm, repeat = table.take("algorithm", str, ""), table.take("repeat", bool, False)
    if algorithm and algorithm not in ALGORITHMS:
        raise ValueError(f"{table.where}: no algorithm {algorithm!r}; there are {', '.join(sorted(ALGORITHMS))}")
    by_kind: dict[str, list[Rule]] = {}
    for number, item in table.tables("rule"):
        rule = _rule(_Table(item, f"rule {number} of {table.where}"))
        for kind in rule.pattern[-1].kinds:
            by_kind.setdefault(kind, []).append(rule)
    table.done()
    if bool(algorithm) == bool(by_kind):
        raise ValueError(f"{table.where} must have either an 'algorithm' or rules")
    return Step(name, {kind: tuple(found) for kind, found in by_kind.items()}, algorithm, repeat)


def _rule(table: _Table) -> Rule:
    name = table.take("name", str, ...)
    table.where = f"rule {name!r}"
    try:
        pattern = parse_pattern(table.take("pattern", str, ...))
        result = parse_result(table.take("result", str, ...), pattern)
        when = tuple(Expression(text, CONDITIONS) for text in table.texts("when"))
    except ValueError as error:
        raise ValueError(f"{table.where}: {error}") from error
    known = {name for s in pattern for name in s.outputs} | {a.name for s in pattern for a in s.arguments}
    known |= {s.output + "_op" for s in pattern}
    for condition in when:
        if condition.names - known:
            raise ValueError(f"{table.where}: {min(condition.names - known)!r} in {condition.text!r} is not in the pattern")
    shared = frozenset(table.texts("shared"))
    if shared - known:
        raise ValueError(f"{table.where}: {min(shared - known)!r} of 'shared' is not in the pattern")
    table.done()
    return Rule(name, pattern, result, when, shared, {name: statement for statement in pattern for name in statement.outputs})


def _layout(table: _Table) -> Layout:
    blocked = {}
    for index, item in table.tables("operator"):
        spec = _blocked(_Table(item, f"operator {index} of layout"))
        blocked.update(dict.fromkeys(spec.kinds, spec))
    layout = Layout(
        enter=table.take("enter", str, ...),
        leave=table.take("leave", str, ...),
        convolution=table.take("convolution", str, ...),
        outside_sum=table.take("outside_sum", str, ""),
        blocked=blocked,
        activations=frozenset(table.texts("activations")),
        pairs=tuple(_pair(_Table(item, f"pair {index} of layout")) for index, item in table.tables("pair")),
        leave_with=_orders(table, "leave_with"),
        enter_with=_orders(table, "enter_with"),
    )
    table.done()
    return layout


def _pair(table: _Table) -> Rule:
    pattern = table.left.get("pattern")
    table.left["result"] = "second = None(x)"  # it is the layout that puts them together
    rule = _rule(table)
    if {"first", "second"} - {statement.output for statement in rule.pattern}:
        raise ValueError(f"{table.where}: the pattern {pattern!r} must make 'first' and 'second'")
    return rule


def _orders(table: _Table, key: str) -> Mapping[str, tuple[int, ...]]:
    found = table.take(key, dict, {})
    if not all(isinstance(order, list) and all(isinstance(axis, int) for axis in order) for order in found.values()):
        raise ValueError(f"{key!r} of {table.where} must be a table of lists of axes")
    return {kind: tuple(order) for kind, order in found.items()}


def _blocked(table: _Table) -> Blocked:
    kinds = frozenset(table.texts("kinds", ...))
    role = table.take("role", str, ...)
    if role not in ROLES:
        raise ValueError(f"{table.where}: no role {role!r}; there are {', '.join(sorted(ROLES))}")
    spec = Blocked(
        kinds,
        role,
        table.take("name", str, ""),
        (),
        enters=table.take("enters", bool, False),
        enters_inputs=table.take("enters_inputs", bool, False),
        operands=table.take("operands", int, 0),
    )
    cases = tuple(_case(_Table(item, f"case {index} of {table.where}")) for index, item in table.tables("case"))
    table.done()
    return replace(spec, cases=cases)


def _case(table: _Table) -> Case:
    case = Case(Expression(table.take("when", str, ...), CONDITIONS), table.take("plain_input", bool, False))
    table.done()
    return case
