from __future__ import annotations

import onnx
import pytest

from graphopt.cost.families import family, is_free, is_unknown, kin
from graphopt.cost.kernel import Operand, Signature, signature

from .kernels_by_law import conv, elementwise, gemm

# What they cost does not follow from shapes: subgraphs run any number of times, texts and pictures have any length.
_WITHOUT_FAMILY = {
    *("If", "Loop", "Scan", "SequenceMap"),
    *("ImageDecoder", "RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer"),
}


def _typical(operator: str) -> Signature:
    """A kernel of the operator with operands that suit a convolution, a matrix product and everything else."""
    if "Conv" in operator:
        slot = 3 if operator == "QLinearConv" else 1
        operands: list[Operand | None] = [Operand((1, 8, 6, 6)), None, None, None]
        operands[slot] = Operand((8, 8, 3, 3), constant=True)
        return signature(operator, operands, [Operand((1, 8, 4, 4))])
    operands = [Operand((4, 8)), Operand((8, 8), constant=True), None, None]
    if operator == "QLinearMatMul":
        operands[3] = operands[1]
    return signature(operator, operands, [Operand((4, 8))])


@pytest.mark.parametrize("operator", sorted({s.name for s in onnx.defs.get_all_schemas() if not s.domain and not s.deprecated}))
def test_every_operator_of_onnx_has_a_family_or_is_unknown_for_a_reason(operator: str) -> None:
    name = family(_typical(operator))
    assert is_unknown(name) == (operator in _WITHOUT_FAMILY), name
    assert is_unknown(name) or kin(name) != "other", name


@pytest.mark.parametrize(
    ("sig", "expected"),
    [
        (conv(3, 32, 32), "nchwc.image"),
        (conv(32, 32, 32), "nchwc.dense"),
        (conv(32, 64, 32, 1), "nchwc.pointwise"),
        (conv(32, 64, 32, 1, 2), "nchwc.pointwise"),
        (conv(32, 32, 32, group=32), "nchwc.depthwise"),
        (conv(64, 64, 32, group=4), "nchwc.grouped"),
        (conv(3, 32, 32, operator="Conv"), "conv.dense"),
        (conv(33, 33, 32, group=33, operator="FusedConv"), "conv.depthwise"),
        (gemm(64, 32, 16), "gemm"),
        (gemm(1, 32, 16), "gemv"),
        (signature("MatMul", [Operand((2, 8, 4)), Operand((2, 4, 8))], [Operand((2, 8, 8))]), "bmm"),
        (signature("FusedMatMul", [Operand((2, 8, 4)), Operand((2, 8, 4))], [Operand((2, 8, 8))], [("transB", 1)]), "bmm.transposed"),
        (signature("MatMul", [Operand((2, 8, 4)), Operand((4, 8), constant=True)], [Operand((2, 8, 8))]), "gemm"),
        (elementwise("Add", 1, 8, 4, 4, inputs=2), "binary"),
        (signature("Add", [Operand((1, 8, 4, 4)), Operand(())], [Operand((1, 8, 4, 4))]), "binary"),
        (signature("Mul", [Operand((1, 8, 4, 4)), Operand((1, 8, 1, 1))], [Operand((1, 8, 4, 4))]), "binary.broadcast"),
        (elementwise("nchwc.MaxPool", 1, 16, 4, 4), "nchwc.pool.max"),
        (elementwise("GlobalAveragePool", 1, 16, 4, 4), "pool.global"),
        (elementwise("ReorderInput", 1, 16, 4, 4), "reorder.input"),
        (elementwise("Reshape", 4, 4), "view"),
        (elementwise("my.domain.Relu", 4, 4), "other:my.domain.Relu"),
    ],
)
def test_families(sig: Signature, expected: str) -> None:
    assert family(sig, 16) == expected


def test_what_is_free_and_what_is_unknown() -> None:
    assert is_free("view")
    assert not is_free("relu")
    assert is_unknown("other:my.domain.Relu")


def test_families_are_kin_across_layouts() -> None:
    assert kin("nchwc.depthwise") == kin("conv.depthwise") != kin("nchwc.dense") == kin("conv.pointwise")
    assert kin("nchwc.pool.max") == kin("pool.average")
