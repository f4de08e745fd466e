"""Small changes to a Python file, one at a time: what a slip of the author's could have been."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from _index_maps import Change, call_name, changes_of_maps, is_about_a_map, parents_of

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
# Calls of rules that relate labels: without such a call its first argument passes through as it is.
_RELATIONS = {"equate", "take"}
# Only words for people: these calls and strings are left alone.
_WORDS = {"call"}
# Calls that mean the same, or nothing at all, with their arguments swapped.
_SYMMETRIC = {"equate", "contract", "union", "array_equal", "max", "min", "isinstance", "getattr", "cast", "zip"}
_SYMMETRIC |= {"freeze", "freeze_all", "inexact", "channel_rule"}


@dataclass(frozen=True)
class Mutant:
    """One change to a file: the `number`-th to the node at `place` in the order of ast.walk."""

    function: str  # the innermost function or method around it, "" for none
    line: int
    what: str
    before: str  # the line as it is
    lines: tuple[int, int] | None  # whoever does not run one of these does not notice; None: the file
    is_map: bool  # it changes which index goes where
    place: int
    number: int

    def source(self, original: str) -> str:
        """The whole file, changed."""
        tree = ast.parse(original)
        parents_of(tree)
        node = list(ast.walk(tree))[self.place]
        _, change = list(_changes(node))[self.number]
        if (replacement := change()) is not None:
            _replace(tree, node, replacement)
        return ast.unparse(ast.fix_missing_locations(tree))


def mutants(source: str) -> Iterator[Mutant]:
    """All mutants of a file. Annotations, docstrings, `__all__` and messages stay as they are."""
    tree, lines = ast.parse(source), source.splitlines()
    parents_of(tree)
    skipped = _skipped(tree)
    met: Counter[tuple[str, str, str]] = Counter()
    for place, node in enumerate(ast.walk(tree)):
        if place not in skipped:
            for number, (what, _) in enumerate(_changes(node)):
                line = getattr(node, "lineno", 0)
                before = lines[line - 1].strip() if line else ""
                mutant = Mutant(_function(node), line, what, before, _lines(node), is_about_a_map(node, what), place, number)
                met[mutant.function, what, before] += 1
                if (times := met[mutant.function, what, before]) > 1:
                    mutant = replace(mutant, what=f"{what} (#{times})")
                yield mutant


def _changes(node: ast.AST) -> Iterator[tuple[str, Change]]:
    """What can be changed about a node: a description, and a function that changes it in place or answers its replacement."""
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield f"{node.value} becomes {not node.value}", lambda: ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        number = node.value
        yield f"{number} becomes {number + 1}", lambda: ast.Constant(number + 1)
        if number == 1:
            yield "1 becomes 0", lambda: ast.Constant(0)
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARISONS:
        other = _COMPARISONS[type(node.ops[0])]
        yield f"{type(node.ops[0]).__name__} becomes {other.__name__}", lambda: node.ops.__setitem__(0, other())
    elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        operator = _ARITHMETIC[type(node.op)]
        yield f"{type(node.op).__name__} becomes {operator.__name__}", lambda: setattr(node, "op", operator())
    elif isinstance(node, ast.BoolOp):
        joint = ast.Or if isinstance(node.op, ast.And) else ast.And
        yield f"{type(node.op).__name__} becomes {joint.__name__}", lambda: setattr(node, "op", joint())
    elif isinstance(node, ast.UnaryOp):
        yield f"{type(node.op).__name__} is dropped", lambda: node.operand
    elif isinstance(node, ast.IfExp):
        yield "the two cases are swapped", lambda: _swap(node, "body", "orelse")
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield f"{call_name(node.value)}(...) is dropped", lambda: ast.Pass()
    elif isinstance(node, ast.Raise | ast.Continue | ast.Break):
        yield f"{type(node).__name__.lower()} is dropped", lambda: ast.Pass()
    elif isinstance(node, ast.Call):
        yield from _changes_of_call(node)
    yield from changes_of_maps(node)


def _changes_of_call(node: ast.Call) -> Iterator[tuple[str, Change]]:
    if call_name(node) in _RELATIONS:
        yield f"{call_name(node)}(...) is dropped", lambda: node.args[0]
    if len(node.args) >= 2 and call_name(node) not in _SYMMETRIC and not any(isinstance(arg, ast.Starred) for arg in node.args[:2]):
        yield f"the arguments of {call_name(node)} are swapped", lambda: _swap_arguments(node)
    for keyword in node.keywords:
        if keyword.arg == "zero" and not isinstance(keyword.value, ast.Constant):
            yield "zero is always True", lambda keyword=keyword: setattr(keyword, "value", ast.Constant(True))
            yield "zero is always False", lambda keyword=keyword: setattr(keyword, "value", ast.Constant(False))


def _swap_arguments(node: ast.Call) -> None:
    node.args[0], node.args[1] = node.args[1], node.args[0]


def _swap(node: ast.AST, one: str, other: str) -> None:
    first, second = getattr(node, one), getattr(node, other)
    setattr(node, one, second)
    setattr(node, other, first)


def _replace(tree: ast.AST, node: ast.AST, replacement: ast.AST) -> None:
    """The replacement may have the node in it."""
    for parent in list(ast.walk(tree)):
        for field, value in ast.iter_fields(parent):
            if value is node:
                setattr(parent, field, replacement)
            elif isinstance(value, list) and any(item is node for item in value):
                setattr(parent, field, [replacement if item is node else item for item in value])


def _function(node: ast.AST) -> str:
    while node is not None and not isinstance(node, ast.FunctionDef):
        node = node.parent  # type: ignore[attr-defined]
    return "" if node is None else node.name


def _lines(node: ast.AST) -> tuple[int, int] | None:
    """The lines of the statement that the node is in, without the statements in its body; for a default, the function."""
    while node is not None and not isinstance(node, ast.stmt):
        node = node.parent  # type: ignore[attr-defined]
    if node is None or isinstance(node, ast.ClassDef) or isinstance(node.parent, ast.Module | ast.ClassDef):  # type: ignore[attr-defined]
        return (node.body[0].lineno, node.end_lineno or 0) if isinstance(node, ast.FunctionDef) else None
    body = getattr(node, "body", None)
    if not body:
        return node.lineno, node.end_lineno or node.lineno
    return node.lineno, max(node.lineno, body[0].lineno - 1)


def _skipped(tree: ast.AST) -> set[int]:
    """Places, in the order of ast.walk, of what is only for readers: annotations, decorators of classes, words for people, `__all__`."""
    silent: set[int] = set()
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = []
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
            parts += [node.returns, *(argument.annotation for argument in arguments if argument is not None)]
        elif isinstance(node, ast.ClassDef):
            parts += node.decorator_list
        elif isinstance(node, ast.AnnAssign):
            parts.append(node.annotation)
        elif isinstance(node, ast.Assign) and any(isinstance(target, ast.Name) and _is_type(target.id) for target in node.targets):
            parts.append(node.value)
        elif isinstance(node, ast.JoinedStr | ast.Assert) or _is_typing(node) or _is_words(node):
            parts.append(node)
        silent |= {id(inner) for part in parts if part is not None for inner in ast.walk(part)}
    return {place for place, node in enumerate(ast.walk(tree)) if id(node) in silent}


def _is_type(name: str) -> bool:
    return name == "__all__" or (name[0].isupper() and not name.isupper())


def _is_typing(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _is_words(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and call_name(node.value) in _WORDS
