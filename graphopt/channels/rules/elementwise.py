"""Element-wise operators with broadcasting: axes align from the right, equal sizes carry equal labels, a size of 1 carries none."""

from __future__ import annotations

from graphopt.channels.labels import Label
from graphopt.channels.operator import CannotFollow, Operator, channel_rule

# Unary functions with f(0) = 0: where a channel is gone, what follows still sees zero.
_ZERO_AT_ZERO = (
    *("Abs", "Asin", "Asinh", "Atan", "Atanh", "Cast", "Ceil", "Celu", "Elu", "Erf", "Floor", "Gelu", "HardSwish"),
    *("Identity", "LeakyRelu", "Mish", "Neg", "Relu", "Round", "Selu", "Sign", "Sin", "Sinh", "Softsign", "Sqrt", "Swish", "Tan"),
    *("Tanh", "ThresholdedRelu"),
)
_UNARY = ("Acos", "Cos", "Cosh", "Exp", "HardSigmoid", "IsInf", "IsNaN", "Not", "BitwiseNot", "Sigmoid", "Softplus")
# Functions without a finite value at zero: the masked original, which the cut is compared with, is not a number there.
_INFINITE_AT_ZERO = ("Acosh", "Log", "Reciprocal")
_ADDITIVE = ("Add", "Sub", "Sum", "Mean", "Max", "Min", "Or", "Xor", "BitwiseOr", "BitwiseXor")
_MULTIPLICATIVE = ("Mul", "And", "BitwiseAnd")
_OTHER = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Where")


def align(op: Operator) -> tuple[list[Label], list[list[tuple[int, Label]]]]:
    """Labels of the broadcast output, and for each of its axes the (slot, label) of the inputs that have the axis in full."""
    operands = [(slot, op.shape(slot), op.input(slot)) for slot in range(op.input_count) if op.has(slot)]
    rank = max(len(shape) for _, shape, _ in operands)
    result: list[Label] = []
    present: list[list[tuple[int, Label]]] = []
    for axis in range(-rank, 0):
        sides = [(slot, shape[axis], labels[axis]) for slot, shape, labels in operands if len(shape) >= -axis and shape[axis] != 1]
        labelled = [side for side in sides if side[2] is not None]
        label: Label = labelled[0][2] if labelled else None
        if labelled and any(not isinstance(size, int) for _, size, _ in sides):
            op.freeze_all([side[2] for side in labelled], "meets an axis of unknown size, which may be broadcast")
            label = None
        elif labelled:
            for _, _, other in sides:
                label = op.equate(label, other)
        result.append(label)
        present.append([(slot, other) for slot, _, other in sides])
    return result, present


@channel_rule("", *_ZERO_AT_ZERO)
def zero_at_zero(op: Operator) -> None:
    """Passes labels on; zero stays zero."""
    op.output(op.input(0), zero=op.is_zero(0))


@channel_rule("com.microsoft", "BiasGelu", "FastGelu", "Gelu", "QuickGelu")
def fused_gelu(op: Operator) -> None:
    """Equates the bias's axis with the last; zero stays zero."""
    labels = op.input(0)
    zero = op.is_zero(0)
    if op.has(1):
        labels[-1] = op.equate(labels[-1], op.input(1)[0])
        zero = zero and op.is_zero(1) and all(label is None for label in labels[:-1])
    op.output(labels, zero=zero)


@channel_rule("", "Dropout")
def dropout(op: Operator) -> None:
    """Passes labels on when it is not training, where it draws a mask of the input's shape."""
    training = op.constant(2) if op.has(2) else None
    if (op.has(2) and (training is None or bool(training.any()))) or (op.opset() < 7 and not op.attribute("is_test", 0)):
        raise CannotFollow("may run in training mode")
    op.output(op.input(0), zero=op.is_zero(0))
    op.output(op.input(0), slot=1)


@channel_rule("", *_UNARY)
def unary(op: Operator) -> None:
    """Passes labels on."""
    op.output(op.input(0))


@channel_rule("", *_INFINITE_AT_ZERO)
def infinite_at_zero(op: Operator) -> None:
    """Passes labels on; inexact where zero, at which it has no finite value, may be what is left of an index."""
    if op.node.op_type == "Acosh" or not op.is_positive(0):
        for label in op.input(0):
            op.inexact(label, "has no finite value at zero")
    op.output(op.input(0))


@channel_rule("", "Shrink")
def shrink(op: Operator) -> None:
    """Passes labels on; zero stays zero unless the threshold is negative."""
    op.output(op.input(0), zero=op.is_zero(0) and op.attribute("lambd", 0.5) >= 0)


@channel_rule("", "Clip")
def clip(op: Operator) -> None:
    """Passes labels on; zero stays zero where the bounds are constants around it."""
    low, high = op.attribute("min"), op.attribute("max")
    bounds_known = True
    if op.has(1):
        value = op.constant(1)
        low, bounds_known = (float(value.reshape(-1)[0]), bounds_known) if value is not None and value.size else (None, False)
    if op.has(2):
        value = op.constant(2)
        high, bounds_known = (float(value.reshape(-1)[0]), bounds_known) if value is not None and value.size else (None, False)
    keeps_zero = bounds_known and (low is None or low <= 0) and (high is None or high >= 0)
    op.output(op.input(0), zero=op.is_zero(0) and keeps_zero)


@channel_rule("", *_ADDITIVE)
def additive(op: Operator) -> None:
    """Equates broadcast axes; zero where every operand is."""
    if op.attribute("broadcast", 0):
        raise CannotFollow("has the broadcasting of opsets before 7")
    labels, present = align(op)
    operands = [slot for slot in range(op.input_count) if op.has(slot)]
    zero = all(
        all(op.is_zero(slot) and any(slot == s and other is not None for s, other in sides) for slot in operands)
        for label, sides in zip(labels, present, strict=True)
        if label is not None
    )
    op.output(labels, zero=zero)


@channel_rule("", *_MULTIPLICATIVE)
def multiplicative(op: Operator) -> None:
    """Equates broadcast axes; zero where one operand is."""
    if op.attribute("broadcast", 0):
        raise CannotFollow("has the broadcasting of opsets before 7")
    labels, present = align(op)
    zero = all(
        any(other is not None and op.is_zero(slot) for slot, other in sides)
        for label, sides in zip(labels, present, strict=True)
        if label is not None
    )
    op.output(labels, zero=zero)


@channel_rule("", "Div", "Mod")
def quotient(op: Operator) -> None:
    """Equates broadcast axes; inexact where a divisor may be left as zero."""
    if op.attribute("broadcast", 0):
        raise CannotFollow("has the broadcasting of opsets before 7")
    labels, present = align(op)
    zero = op.node.op_type == "Div"
    for label, sides in zip(labels, present, strict=True):
        slots = {slot for slot, other in sides if other is not None}
        if label is not None and 1 in slots and not op.is_positive(1):
            op.inexact(label, "divides by what may be zero once its weights are")
        zero = zero and (label is None or (0 in slots and op.is_zero(0)))
    op.output(labels, zero=zero)


@channel_rule("", "Pow")
def power(op: Operator) -> None:
    """Equates broadcast axes; inexact where what may be zero is raised to a power that is not known to be positive."""
    if op.attribute("broadcast", 0):
        raise CannotFollow("has the broadcasting of opsets before 7")
    labels, _ = align(op)
    exponent = op.constant(1)
    positive = exponent is not None and bool((exponent > 0).all())
    if not positive and not op.is_positive(0):
        for label in labels:
            op.inexact(label, "raises zero to a power that may not be positive")
    op.output(labels, zero=op.is_zero(0) and positive and all(size == 1 for size in op.shape(1)))


@channel_rule("", "PRelu")
def prelu(op: Operator) -> None:
    """Equates the slope's axes with the input's; zero stays zero."""
    labels, _ = align(op)
    op.output(labels, zero=op.is_zero(0))


@channel_rule("", *_OTHER)
def other(op: Operator) -> None:
    """Equates broadcast axes."""
    if op.attribute("broadcast", 0):
        raise CannotFollow("has the broadcasting of opsets before 7")
    op.output(align(op)[0])
