"""The conditions and attribute values of rules: a small, closed part of Python's expressions."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Mapping
from typing import Any

_ALLOWED = (
    ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod,
    ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn, ast.Is, ast.IsNot, ast.Constant, ast.Name, ast.Load,
    ast.Tuple, ast.List, ast.Subscript, ast.IfExp, ast.Call,
)  # fmt: skip


class Expression:
    """A compiled expression; `names` are the variables that it reads."""

    __slots__ = ("_code", "_functions", "names", "text")

    def __init__(self, text: str, functions: Mapping[str, Callable[..., Any]]) -> None:
        """Raises ValueError, which says what is wrong with `text`."""
        self.text = text
        try:
            tree = ast.parse(text.strip(), mode="eval")
        except SyntaxError as error:
            raise ValueError(f"not an expression: {text!r}") from error
        called = set()
        for item in ast.walk(tree):
            if not isinstance(item, _ALLOWED):
                raise ValueError(f"{type(item).__name__} is not allowed in an expression: {text!r}")
            if isinstance(item, ast.Call):
                if not isinstance(item.func, ast.Name) or item.func.id not in functions or item.keywords:
                    name = item.func.id if isinstance(item.func, ast.Name) else "?"
                    raise ValueError(f"no function {name!r} in {text!r}; there are {', '.join(sorted(functions))}")
                called.add(item.func)
        self.names = frozenset(item.id for item in ast.walk(tree) if isinstance(item, ast.Name) and item not in called)
        self._functions = {**functions, "__builtins__": {}}
        self._code = compile(tree, "<rule>", "eval")

    def __call__(self, variables: Mapping[str, Any]) -> Any:
        """The value; None where something that it needs is not known."""
        try:
            return eval(self._code, self._functions, variables)
        except (TypeError, IndexError, KeyError, ZeroDivisionError):
            return None

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


@functools.cache
def literal(text: str) -> Any:
    """The number or text of a literal. Raises ValueError."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"not a literal: {text!r}") from error
