"""Matrix products: contracted axes equal each other and vanish, the others pass through."""

from __future__ import annotations

from graphopt.channels.labels import Label
from graphopt.channels.operator import CannotFollow, Operator, Shape, channel_rule


@channel_rule("", "MatMul")
def matmul(op: Operator) -> None:
    """The last axis of A equals the last but one of B; batch axes broadcast."""
    a, b = op.input(0), op.input(1)
    shape_a, shape_b = op.shape(0), op.shape(1)
    op.contract(a[-1], b[-2] if len(b) > 1 else b[-1], op.is_zero(0) or op.is_zero(1))
    rows = [a[-2]] if len(a) > 1 else []
    columns = [b[-1]] if len(b) > 1 else []
    batch = _broadcast(op, a[:-2], b[:-2], shape_a[:-2], shape_b[:-2])
    in_a, in_b = any(label is not None for label in (*rows, *a[:-2])), any(label is not None for label in (*columns, *b[:-2]))
    for label in batch:
        op.call(label, "heads")
    if any(label is not None for label in batch):
        for label in (a[-1], *columns):
            op.call(label, "head dimensions")
    # Batch labels may come from either side; one side that is zero makes the product zero.
    op.output([*batch, *rows, *columns], zero=(op.is_zero(0) or not in_a) and (op.is_zero(1) or not in_b))


def _broadcast(op: Operator, a: list[Label], b: list[Label], shape_a: Shape, shape_b: Shape) -> list[Label]:
    rank = max(len(a), len(b))
    result: list[Label] = []
    for axis in range(-rank, 0):
        sides = [(s[axis], x[axis]) for s, x in ((shape_a, a), (shape_b, b)) if len(s) >= -axis and s[axis] != 1]
        labels = [label for _, label in sides if label is not None]
        if labels and any(not isinstance(size, int) for size, _ in sides):
            op.freeze_all(labels, "meets an axis of unknown size, which may be broadcast")
            result.append(None)
        elif len(sides) == 2:
            result.append(op.equate(sides[0][1], sides[1][1]))
        else:
            result.append(sides[0][1] if sides else None)
    return result


@channel_rule("", "Gemm")
def gemm(op: Operator) -> None:
    """The contracted axes of A and B equal each other; the bias follows the output."""
    a, b = op.input(0), op.input(1)
    a = a[::-1] if op.attribute("transA", 0) else a
    b = b[::-1] if op.attribute("transB", 0) else b
    op.contract(a[1], b[0], op.is_zero(0) or op.is_zero(1))
    out: list[Label] = [a[0], b[1]]
    zero = (op.is_zero(0) or a[0] is None) and (op.is_zero(1) or b[1] is None)
    if op.has(2):
        bias, shape = op.input(2), op.shape(2)
        for axis in (-1, -2):
            if len(shape) >= -axis and shape[axis] != 1:
                out[axis] = op.equate(out[axis], bias[axis])
            elif out[axis] is not None:
                zero = False  # a bias that is broadcast over the axis stays
        zero = zero and op.is_zero(2)
    op.output(out, zero=zero)


@channel_rule("", "Einsum")
def einsum(op: Operator) -> None:
    """Axes with the same letter equal each other; letters that the output lacks are summed over."""
    equation = op.attribute("equation").replace(" ", "")
    if "..." in equation or "->" not in equation:
        raise CannotFollow("its equation has an ellipsis or no output")
    left, right = equation.split("->")
    terms = left.split(",")
    label: dict[str, Label] = {}
    carriers: dict[str, list[int]] = {}
    for slot, letters in enumerate(terms):
        shape = op.shape(slot)
        for axis, (letter, own) in enumerate(zip(letters, op.input(slot), strict=True)):
            if shape[axis] == 1:
                continue  # broadcast where the letter is larger elsewhere
            label[letter] = op.equate(label[letter], own) if letter in label else own
            carriers.setdefault(letter, []).append(slot)
    for letter, slots in carriers.items():
        if letter not in right and not any(op.is_zero(slot) for slot in slots):
            op.inexact(label[letter], "sums over entries that are not zero when their weights are")
    if len(terms) == 2:
        _name_heads(op, terms, right, label)
    zero = all(label[x] is None or any(op.is_zero(slot) for slot in carriers[x]) for x in right if x in label)
    op.output([label.get(letter) for letter in right], zero=zero)


def _name_heads(op: Operator, terms: list[str], right: str, label: dict[str, Label]) -> None:
    """In a product of two batches of matrices, what runs along with both sides are heads, what is in one or summed head dimensions."""
    batch = set(terms[0]) & set(terms[1]) & set(right)
    if any(label.get(letter) is not None for letter in batch):
        for letter, own in label.items():
            op.call(own, "heads" if letter in batch else "head dimensions")
