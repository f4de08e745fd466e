"""Which places in a file say where an index goes: slots, axes, positions, orders, offsets, slices and multiplicities; and turns of them."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator

Change = Callable[[], ast.AST | None]

# Names that hold a slot, an axis or a position on one.
_POSITIONS = {"axis", "place", "slot", "position", "own", "i", "o", "first"}
# Calls whose integers are slots, axes, sizes or positions.
_PLACING = {"input", "shape", "output", "output_shape", "integers", "partial", "constant", "take", "concat", "reshape", "follow_indices"}
_PLACING |= {"follow_sizes", "follow_attribute", "follow", "arange", "repeat", "tile", "cumsum", "moveaxis", "range", "fresh", "split"}
_PLACING |= {"merge", "slice", "full", "zeros", "stack", "enumerate", "searchsorted", "flatnonzero", "broadcast_to", "where", "refine"}
# Calls whose integers are none of that, although they may stand inside one that has them.
_FLAGS = {"is_zero", "is_positive", "is_weight", "has", "opset", "len", "isinstance", "getattr", "freeze", "inexact", "any", "all"}
_FLAGS |= {"array", "asarray", "sqrt", "default_rng", "Constant", "follow_attribute"}
_INDEX_ATTRIBUTES = {"axis", "axes", "perm", "group", "batch_dims", "split"}
# Statements that tie axes to each other, or to what states their size.
_TIES = {"equate", "contract", "follow", "follow_attribute", "follow_sizes", "follow_indices", "refine", "union"}
_SEVERAL = {"reshape", "_heads", "_merged", "_share_key_heads", "split", "merge", "_rows", "_hold_scale", "_broadcast", "_target"}
_SEVERAL |= {"_new_bounds", "_slice_arguments", "_without", "_run", "_blocks", "_reshape_block", "_refine_grid", "_counted_anew", "_finish"}
# Calls for which the order of a list does not count.
_UNORDERED = {"freeze_all", "any", "all", "max", "min", "set", "sum", "isinstance", "zip", "stack", "concatenate"}
_HELD = {"freeze", "freeze_all", "inexact"}  # what they get stays where it is
_TURNED = {"take": 1, "concat": 0, "output": 0}  # whose argument is an array or a list in order
_OTHER_ORDER = {"repeat": "tile", "tile": "repeat"}


def parents_of(tree: ast.AST) -> None:
    """Give every node a `parent`."""
    tree.parent = None  # type: ignore[attr-defined]
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            child.parent = node  # type: ignore[attr-defined]


def call_name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id if isinstance(call.func, ast.Name) else "a function"


# ---- changes that a generic mutation does not have


def changes_of_maps(node: ast.AST) -> Iterator[tuple[str, Change]]:
    if isinstance(node, ast.Tuple | ast.List) and _is_ordered(node):
        yield "the list is rotated", lambda: node.elts.append(node.elts.pop(0))
    elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Name) and node.slice.id in _POSITIONS:
        yield f"[{node.slice.id}] becomes [{node.slice.id} - 1]", lambda: setattr(node, "slice", _plus(node.slice, -1))
    elif isinstance(node, ast.Slice):
        for side in ("lower", "upper"):
            bound = getattr(node, side)
            if bound is not None and not isinstance(bound, ast.Constant) and not isinstance(bound, ast.UnaryOp):
                yield f"the {side} bound is one more", lambda side=side, bound=bound: setattr(node, side, _plus(bound, 1))
    elif isinstance(node, ast.Call):
        yield from _changes_of_call(node)


def _changes_of_call(node: ast.Call) -> Iterator[tuple[str, Change]]:
    name = call_name(node)
    turned = _TURNED.get(name)
    if turned is not None and len(node.args) > turned and not isinstance(node.args[turned], ast.List | ast.Tuple | ast.Starred | ast.BinOp):
        yield f"{name} gets it reversed", lambda: node.args.__setitem__(turned, _reversed(node.args[turned]))
    if name in _OTHER_ORDER and isinstance(node.func, ast.Attribute):
        yield f"{name} becomes {_OTHER_ORDER[name]}", lambda: setattr(node.func, "attr", _OTHER_ORDER[name])
    if name in _SEVERAL:
        for first in (1, 3):
            if len(node.args) > first + 1 and ast.dump(node.args[first]) != ast.dump(node.args[first + 1]):
                yield f"arguments {first + 1} and {first + 2} of {name} change places", lambda first=first: _exchange(node.args, first)


def _is_ordered(node: ast.Tuple | ast.List) -> bool:
    if len(node.elts) < 2 or isinstance(node.ctx, ast.Store) or len({ast.dump(element) for element in node.elts}) == 1:
        return False
    if any(isinstance(inner, ast.Constant) and isinstance(inner.value, str | bool) for inner in ast.walk(node)):
        return False
    parent = node.parent  # type: ignore[attr-defined]
    if isinstance(parent, ast.Assign) and any(isinstance(target, ast.Tuple) for target in parent.targets):
        return False  # the elements are changed by themselves
    if isinstance(parent, ast.Compare | ast.For | ast.comprehension | ast.Starred | ast.List | ast.Tuple | ast.JoinedStr | ast.Subscript):
        return isinstance(parent, ast.List | ast.Tuple) and isinstance(node, ast.Tuple) and not isinstance(parent.parent, ast.Call)  # type: ignore[attr-defined]
    return not (isinstance(parent, ast.Call) and call_name(parent) in _UNORDERED)


def _plus(node: ast.expr, number: int) -> ast.expr:
    return ast.BinOp(node, ast.Add() if number > 0 else ast.Sub(), ast.Constant(abs(number)))


def _reversed(node: ast.expr) -> ast.expr:
    return ast.Subscript(node, ast.Slice(step=ast.UnaryOp(ast.USub(), ast.Constant(1))), ast.Load())


def _exchange(items: list[ast.expr], place: int) -> None:
    items[place], items[place + 1] = items[place + 1], items[place]


# ---- what is about a map


def is_about_a_map(node: ast.AST, what: str) -> bool:
    """Whether that change to the node changes which index goes where. One change for each place that says so."""
    outer = node.parent  # type: ignore[attr-defined]
    if _is_in_a_call_of(node, _HELD):
        return False
    if isinstance(node, ast.Constant):
        in_sum = isinstance(outer, ast.BinOp) and not isinstance(outer.op, ast.BitOr | ast.BitAnd)
        is_place = what != "1 becomes 0" and not isinstance(node.value, bool) and not isinstance(outer, ast.UnaryOp)
        return is_place and not in_sum and _states_a_place(node)
    if isinstance(node, ast.BinOp):
        is_number = not any(isinstance(side, ast.List) or _is_text(side) for side in (node.left, node.right))
        return isinstance(node.op, ast.Add | ast.Sub | ast.Mult | ast.FloorDiv | ast.Mod) and is_number and _states_a_place(node)
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.USub) and not _flattens(outer) and _states_a_place(node)
    if isinstance(node, ast.Compare):
        return _selects(node)
    if isinstance(node, ast.IfExp):
        return all(isinstance(case, ast.Subscript | ast.Tuple | ast.List | ast.Name | ast.Call) for case in (node.body, node.orelse))
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return call_name(node.value) in _TIES
    if isinstance(node, ast.Call):
        drops_statement = isinstance(outer, ast.Expr) and "is dropped" in what  # that is the statement's change
        return re.match(r"(equate|take)\(...\) is dropped|.* (gets it|becomes|change places)", what) is not None and not drops_statement
    if isinstance(node, ast.Subscript):
        return not _is_in_a_test(node) and not _is_in_a_call_of(node, _HELD)
    if isinstance(node, ast.Slice):
        return not isinstance(node.lower if "lower" in what else node.upper, ast.BinOp)
    return isinstance(node, ast.Tuple | ast.List)


def _states_a_place(node: ast.AST) -> bool:
    """Whether an integer is an index, an axis, a slot, an offset or a size, from where it stands."""
    inner, outer = node, node.parent  # type: ignore[attr-defined]
    while outer is not None:
        if isinstance(outer, ast.Subscript):
            return inner is outer.slice and not _is_in_a_test(outer) and not _is_in_a_call_of(outer, _HELD)
        if isinstance(outer, ast.Slice | ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Return | ast.For | ast.arguments | ast.Dict):
            return True
        if isinstance(outer, ast.keyword):
            return outer.arg == "slot"
        if isinstance(outer, ast.Call):
            name = call_name(outer)
            if name == "attribute":
                first = outer.args[0]
                return isinstance(first, ast.Constant) and first.value in _INDEX_ATTRIBUTES
            if name in _PLACING or (name.startswith("_") and inner in outer.args):
                return True
            if name in _FLAGS:
                return False
        if isinstance(outer, ast.Compare | ast.BoolOp | ast.FormattedValue | ast.If | ast.While | ast.Expr):
            return False
        if isinstance(outer, ast.IfExp) and inner is outer.test:
            return False
        inner, outer = outer, outer.parent  # type: ignore[attr-defined]
    return False


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _flattens(call: ast.AST) -> bool:
    return isinstance(call, ast.Call) and call_name(call) == "reshape" and len(call.args) == 1


def _is_in_a_test(node: ast.AST) -> bool:
    while not isinstance(node, ast.stmt):
        inner, node = node, node.parent  # type: ignore[attr-defined]
        if isinstance(node, ast.If | ast.While | ast.BoolOp | ast.Compare) or (isinstance(node, ast.IfExp) and inner is node.test):
            return not isinstance(inner, ast.comprehension)
    return False


def _is_in_a_call_of(node: ast.AST, names: set[str]) -> bool:
    while not isinstance(node, ast.stmt):
        if isinstance(node, ast.Call) and call_name(node) in names:
            return True
        node = node.parent  # type: ignore[attr-defined]
    return False


def _selects(node: ast.Compare) -> bool:
    """Whether the comparison of positions or sizes picks indices: in the filter of a list, in an index, in `np.where`."""
    if isinstance(node.ops[0], ast.Is | ast.IsNot) or any(
        isinstance(inner, ast.Constant) and isinstance(inner.value, str) for inner in ast.walk(node)
    ):
        return False
    outer = node.parent  # type: ignore[attr-defined]
    while not isinstance(outer, ast.stmt):
        if isinstance(outer, ast.comprehension | ast.Subscript) or (
            isinstance(outer, ast.Call) and call_name(outer) in ("where", "flatnonzero")
        ):
            return True
        if isinstance(outer, ast.Call) and call_name(outer) in ("any", "all"):
            return False
        outer = outer.parent
    return False
