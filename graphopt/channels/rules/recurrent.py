"""Recurrent layers: a hidden unit is one row in every gate of W, R and B, one column of R, and an entry of the states and outputs."""

from __future__ import annotations

from graphopt.channels.labels import Label
from graphopt.channels.operator import CannotFollow, Operator, channel_rule

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
# Activations with f(0) = 0 where the recurrence needs it: then a unit without weights stays at zero.
_KEEPS_ZERO = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}


@channel_rule("", "LSTM", "GRU", "RNN")
def recurrent(op: Operator) -> None:
    """`hidden_size` follows; both directions lose the same units."""
    if op.attribute("layout", 0):
        raise CannotFollow("has the batch-first layout")
    gates, hidden = _GATES[op.node.op_type], op.shape(2)[2]
    if not isinstance(hidden, int):
        raise CannotFollow("its hidden size is unknown")
    x, weights, recurrence = op.input(0), op.input(1), op.input(2)
    op.freeze_all([x[0], x[1], weights[0], recurrence[0]], "sequence, batch or direction axis of a recurrence")
    op.contract(x[2], weights[2], op.is_zero(0) or op.is_zero(1))
    unit = op.equate(recurrence[2], _rows(op, weights[1], gates, hidden))
    unit = op.equate(unit, _rows(op, recurrence[1], gates, hidden))
    if op.has(3):
        op.freeze(op.input(3)[0], "direction axis of a recurrence")
        unit = op.equate(unit, _rows(op, op.input(3)[1], 2 * gates, hidden))
    if op.has(4):
        op.freeze_all(op.input(4), "lengths of a recurrence")
    for slot in (5, 6):
        if op.has(slot):
            state = op.input(slot)
            op.freeze_all(state[:2], "direction or batch axis of a recurrence")
            unit = op.equate(unit, state[2])
    if op.has(7):
        op.freeze(op.input(7)[0], "direction axis of a recurrence")
        unit = op.equate(unit, _rows(op, op.input(7)[1], 3, hidden))
    op.follow_attribute("hidden_size", unit)
    op.call(unit, "hidden units")
    weights_zero = all(op.is_zero(slot) for slot in (1, 2, 3))
    starts_at_zero = all(not op.has(slot) or _is_all_zero(op, slot) or op.is_zero(slot) for slot in (5, 6))
    default = _KEEPS_ZERO[op.node.op_type]
    usual = list(op.attribute("activations", default)) in (default, default * 2)
    zero = weights_zero and starts_at_zero and usual
    if not zero and not op.is_zero(2):
        op.inexact(unit, "feeds a unit back that is not zero when its weights are")
    op.output([None, None, None, unit], 0, zero=zero)
    op.output([None, None, unit], 1, zero=zero)
    op.output([None, None, unit], 2, zero=zero)


def _rows(op: Operator, label: Label, gates: int, hidden: int) -> Label:
    """The hidden-unit axis of (gates * hidden) rows; the gates themselves stay."""
    gate, unit = op.reshape([label], (gates * hidden,), (gates, hidden))
    op.freeze(gate, "gates of a recurrence")
    return unit


def _is_all_zero(op: Operator, slot: int) -> bool:
    state = op.constant(slot)
    return state is not None and not state.any()
