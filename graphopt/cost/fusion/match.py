"""Finding patterns in an overlay and putting their results in place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from graphopt.cost.fusion.overlay import Op, Overlay, Shape, ShapeOf, Wire, made_up, shape_constant
from graphopt.cost.fusion.pattern import Argument, Made, Statement
from graphopt.cost.fusion.rules import Rule, Step
from graphopt.cost.fusion.vocabulary import SHAPES

Bound = dict[str, Any]  # names of a pattern to wires; names of statements with a ":" before them to operations


def apply_rules(overlay: Overlay, step: Step) -> bool:
    """Apply the rules of `step`, to each operation in order the first that fits. Says whether anything changed."""
    changed = False
    while True:
        again = False
        for op in list(overlay.ops):
            rules = step.rules.get(op.kind)
            while rules is not None and not op.dead:
                found = next((match for rule in rules if (match := fits(rule, op)) is not None), None)
                if found is None:
                    break
                rule, bound = found
                made = _replace(overlay, rule, bound)
                again = True
                if made is None:
                    break
                op, rules = made, step.rules.get(made.kind)
        if not again:
            return changed
        changed = True
        overlay.compact()
        if not step.repeat:
            return changed


def fits(rule: Rule, root: Op) -> tuple[Rule, Bound] | None:
    """What the names of the rule's pattern stand for where its last statement is `root`."""
    bound = next(every_fit(rule, root), None)
    return None if bound is None else (rule, bound)


def every_fit(rule: Rule, root: Op) -> Iterator[Bound]:
    """As `fits`, in all ways: operands of a sum may fit in both orders."""
    if _looks_right(rule, root):
        for bound in _solve(rule, [(rule.pattern[-1], root)], {}):
            if _inner_is_free(rule, bound) and all(condition(bound) for condition in rule.when):
                yield bound


def _looks_right(rule: Rule, root: Op) -> bool:
    """Whether what makes the inputs of `root` is of the right kinds: most rules fail here, at little cost."""
    statement = rule.pattern[-1]
    makers = [wire.producer.kind if wire is not None and wire.producer is not None else "" for wire in root.inputs]
    for slot, argument in enumerate(statement.arguments):
        inner = rule.by_kind.get(argument.name)
        if inner is not None and inner.kinds.isdisjoint(makers if statement.commutes else makers[slot : slot + 1]):
            return False
    return True


def _solve(rule: Rule, goals: list[tuple[Statement, Op]], bound: Bound) -> Iterator[Bound]:
    if not goals:
        yield bound
        return
    statement, op = goals[0]
    rest = goals[1:]
    if op.kind not in statement.kinds:
        return
    known = bound.get(_op_name(statement))
    if known is not None:
        if known is op:
            yield from _solve(rule, rest, bound)
        return
    if (
        len(op.inputs) > len(statement.arguments)
        and not statement.rest
        and any(w is not None for w in op.inputs[len(statement.arguments) :])
    ):
        return
    orders = (op.inputs, op.inputs[::-1]) if statement.commutes and len(op.inputs) == 2 else (op.inputs,)
    for inputs in orders:
        mine = dict(bound)
        mine[_op_name(statement)] = op
        mine.update(zip(statement.outputs, op.outputs, strict=False))
        more = _bind(rule, statement.arguments, inputs, mine)
        if more is not None:
            yield from _solve(rule, more + rest, mine)


def _bind(rule: Rule, arguments: tuple[Argument, ...], inputs: list[Wire | None], bound: Bound) -> list[tuple[Statement, Op]] | None:
    """Bind the names of `arguments`; the goals that follow from them, None where they do not fit."""
    goals = []
    for slot, argument in enumerate(arguments):
        wire = inputs[slot] if slot < len(inputs) else None
        if wire is None:
            if not argument.optional:
                return None
            if argument.name:
                if bound.get(argument.name) is not None:
                    return None
                bound[argument.name] = None
            continue
        if argument.constant and not wire.constant:
            return None
        if argument.number is not None:
            number = wire.number()
            if number is None or abs(number - argument.number) > 1e-3 * max(1e-3, abs(argument.number)):
                return None
        if not argument.name:
            continue
        statement = rule.by_kind.get(argument.name)
        if statement is None:
            if argument.name in bound and bound[argument.name] is not wire:
                return None
            bound[argument.name] = wire
            continue
        if bound.get(argument.name, wire) is not wire or wire.producer is None or wire not in wire.producer.outputs:
            return None
        if wire.producer.outputs.index(wire) != statement.outputs.index(argument.name):
            return None
        goals.append((statement, wire.producer))
    return goals


def _op_name(statement: Statement) -> str:
    return statement.output + "_op"


def _inner_is_free(rule: Rule, bound: Bound) -> bool:
    """Whether nothing outside the match reads what the result no longer makes."""
    matched = {bound[_op_name(statement)] for statement in rule.pattern}
    for statement in rule.pattern[:-1]:
        if statement.output in rule.shared:
            continue
        for wire in bound[_op_name(statement)].outputs:
            if wire is not None and (wire.kept or any(user not in matched for user in wire.uses)):
                return False
    return True


def _replace(overlay: Overlay, rule: Rule, bound: Bound) -> Op | None:
    gone = [bound[_op_name(s)] for s in rule.pattern if s.output not in rule.shared]
    if len(rule.result) == 1 and rule.result[0].kind.startswith("="):
        root = bound[_op_name(rule.pattern[-1])]
        instead = bound[rule.result[0].kind[1:]]
        overlay.remove(root, instead)
        for op in reversed(gone[:-1]):
            overlay.drop(op)
        return None
    if rule.shared:  # what stays must have no other reader to go
        gone += [
            bound[_op_name(s)] for s in rule.pattern[:-1]
            if s.output in rule.shared and all(w is None or (not w.kept and all(u in gone for u in w.uses)) for w in bound[_op_name(s)].outputs)
        ]  # fmt: skip
    wires = dict(bound)
    new = [_make(rule, made, wires, gone) for made in rule.result]
    overlay.replace(gone, new)
    return new[-1]


def _make(rule: Rule, made: Made, wires: Bound, gone: list[Op]) -> Op:
    inputs = [_input(argument, wires) for argument in made.arguments]
    while inputs and inputs[-1] is None:
        inputs.pop()
    attributes = dict(wires[made.copied + "_op"].attributes) if made.copied is not None else {}
    for name, value in made.attributes:
        attributes[name] = value(wires)
    outputs: list[Wire | None] = []
    for name in made.outputs:
        wire = wires.get(name)
        if wire is None or name not in rule.pattern[-1].outputs:
            source = next((w for w in inputs if w is not None), None)
            wire = made_up(source.elem_type if source is not None else 1, _derivation(made, wires))
            wires[name] = wire
        outputs.append(wire)
    if made.members is not None:
        nodes = tuple(node for name in made.members for node in wires[name + "_op"].nodes)
    else:
        nodes = tuple(node for op in gone for node in op.nodes) if len(rule.result) == 1 else ()
    op = Op(made.kind, inputs, outputs, attributes, nodes)
    wires[made.outputs[0] + "_op"] = op
    return op


def _input(argument: str | tuple[str, str] | None, wires: Bound) -> Wire | None:
    if argument is None:
        return None
    if isinstance(argument, str):
        found: Wire | None = wires[argument]
        return found
    function, name = argument
    of: Wire = wires[name]
    if function == "pair":
        return shape_constant(2)
    if function == "sizes":
        return shape_constant(len(of.shape or ()))
    return made_up(of.elem_type, lambda shape: None if (found := shape(of)) is None else (found[0],), constant=True)


def _derivation(made: Made, wires: Bound) -> Any:
    if made.shape is None:
        return lambda shape: None
    function = SHAPES[made.shape[0]]
    sources: list[Wire] = [wires[name] for name in made.shape[1]]

    def derive(shape: ShapeOf) -> Shape | None:
        shapes = [shape(source) for source in sources]
        return None if any(found is None for found in shapes) else function(*shapes)

    return derive
