"""No-ops, neighbours and duplicates: operators before, operators after, and ONNX Runtime in between."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from graphopt.passes.simplify import Simplify

from .oracle import check, operators, parse

# name: (graph, operators that are left). Relu at both ends keeps outputs and inputs out of the way.
CASES = {
    "identity": (
        "(float[N,3] x) => (float[N,3] y)",
        "a = Identity(x)  b = Identity(a)  y = Relu(b)",
        ["Relu"],
    ),
    "identity of an output": (
        "(float[N,3] x) => (float[N,3] y)",
        "a = Relu(x)  y = Identity(a)",
        ["Relu"],
    ),
    "input wired to output": (
        "(float[N,3] x) => (float[N,3] y)",
        "y = Identity(x)",
        ["Identity"],
    ),
    "input wired to output by a no-op": (
        "(float[N,3] x) => (float[N,3] y)",
        "a = Identity(x)  y = Cast<to = 1>(a)",
        ["Cast"],
    ),
    "initializer wired to output": (
        "(float[N,3] x) => (float[1] y) <float[1] c = {1}>",
        "a = Identity(c)  y = Identity(a)",
        ["Identity"],
    ),
    "one value for two outputs": (
        "(float[N,3] x) => (float[N,3] y, float[N,3] z)",
        "a = Relu(x)  y = Identity(a)  z = Identity(a)",
        ["Relu", "Identity"],
    ),
    "dropout": (
        "(float[N,3] x) => (float[N,3] y)",
        "a = Dropout(x)  y = Relu(a)",
        ["Relu"],
    ),
    "dropout with inputs": (
        "(float[N,3] x) => (float[N,3] y) <float r = {0.5}, bool t = {0}>",
        "a, m = Dropout(x, r, t)  y = Relu(a)",
        ["Relu"],
    ),
    "dropout mask used": (
        "(float[N,3] x) => (float[N,3] y, bool[N,3] m)",
        "a, m = Dropout(x)  y = Relu(a)",
        ["Dropout", "Relu"],
    ),
    "cast to the same type": (
        "(float[N,3] x) => (float[N,3] y)",
        "a = Cast<to = 1>(x)  y = Relu(a)",
        ["Relu"],
    ),
    "cast to another type": (
        "(float[N,3] x) => (double[N,3] y)",
        "a = Cast<to = 11>(x)  y = Relu(a)",
        ["Cast", "Relu"],
    ),
    "cast like itself": (
        "(float[N,3] x, float z) => (float[N,3] y)",
        "a = CastLike(x, z)  y = Relu(a)",
        ["Relu"],
    ),
    "transpose, identity": (
        "(float[N,3] x) => (float[N,3] y)",
        "a = Transpose<perm = [0, 1]>(x)  y = Relu(a)",
        ["Relu"],
    ),
    "transposes that undo": (
        "(float[N,3] x) => (float[N,3] y)",
        "a = Transpose(x)  b = Transpose<perm = [1, 0]>(a)  y = Relu(b)",
        ["Relu"],
    ),
    "transposes that merge": (
        "(float[N,3,4] x) => (float[3,4,N] y)",
        "a = Transpose<perm = [2, 0, 1]>(x)  b = Transpose<perm = [2, 0, 1]>(a)  y = Relu(b)",
        ["Transpose", "Relu"],
    ),
    "transposes that merge in order": (
        "(float[N,3,4] x) => (float[A,B,C] y)",
        "a = Transpose<perm = [2, 0, 1]>(x)  b = Transpose<perm = [0, 2, 1]>(a)  y = Relu(b)",
        ["Transpose", "Relu"],
    ),
    "transposes with another reader": (
        "(float[2,3,4] x) => (float[3,4,2] y, float[4,2,3] z)",
        "a = Transpose<perm = [2, 0, 1]>(x)  b = Transpose<perm = [2, 0, 1]>(a)  y = Relu(b)  z = Relu(a)",
        ["Transpose", "Transpose", "Relu", "Relu"],
    ),
    "reshape to the same": (
        "(float[2,3] x) => (float[2,3] y) <int64[2] s = {2, 3}>",
        "a = Reshape(x, s)  y = Relu(a)",
        ["Relu"],
    ),
    "reshape to the same, one dimension open": (
        "(float[N,3] x) => (float[N,3] y) <int64[2] s = {-1, 3}>",
        "a = Reshape(x, s)  y = Relu(a)",
        ["Relu"],
    ),
    "reshape to the same, by 0": (
        "(float[N,M] x) => (float[N,M] y) <int64[2] s = {0, -1}>",
        "a = Reshape(x, s)  y = Relu(a)",
        ["Relu"],
    ),
    "reshape to another": (
        "(float[2,3] x) => (float[3,2] y) <int64[2] s = {3, 2}>",
        "a = Reshape(x, s)  y = Relu(a)",
        ["Reshape", "Relu"],
    ),
    "reshape of nothing to nothing": (
        "(float[0,N] x) => (float[0,7] y) <int64[2] s = {0, 7}>",
        "a = Reshape<allowzero = 1>(x, s)  y = Relu(a)",
        ["Reshape", "Relu"],
    ),
    "reshapes that merge": (
        "(float[N,12] x) => (float[M,2,3] y) <int64[2] s = {-1, 6}, int64[3] t = {-1, 2, 3}>",
        "a = Reshape(x, s)  b = Reshape(a, t)  y = Relu(b)",
        ["Reshape", "Relu"],
    ),
    "reshapes that do not merge: a 0 means the dimension before": (
        "(float[N,12] x) => (float[M,2,3] y) <int64[2] s = {-1, 6}, int64[3] t = {0, 2, 3}>",
        "a = Reshape(x, s)  b = Reshape(a, t)  y = Relu(b)",
        ["Reshape", "Reshape", "Relu"],
    ),
    "unsqueeze, squeeze": (
        "(float[N,M] x) => (float[N,M] y) <int64[1] s = {1}>",
        "a = Unsqueeze(x, s)  b = Squeeze(a, s)  y = Relu(b)",
        ["Relu"],
    ),
    "unsqueeze, squeeze elsewhere": (
        "(float[1,M] x) => (float[1,M] y) <int64[1] s = {1}, int64[1] t = {0}>",
        "a = Unsqueeze(x, s)  b = Squeeze(a, t)  y = Relu(b)",
        ["Relu"],
    ),
    "flatten of a matrix": (
        "(float[N,3] x) => (float[N,3] y)",
        "a = Flatten(x)  y = Relu(a)",
        ["Relu"],
    ),
    "expand by ones": (
        "(float[N,M] x) => (float[N,M] y) <int64[2] s = {1, 1}>",
        "a = Expand(x, s)  y = Relu(a)",
        ["Relu"],
    ),
    "expand by one more axis": (
        "(float[N,M] x) => (float[1,N,M] y) <int64[3] s = {1, 1, 1}>",
        "a = Expand(x, s)  y = Relu(a)",
        ["Expand", "Relu"],
    ),
    "expand": (
        "(float[N,1] x) => (float[N,4] y) <int64[2] s = {1, 4}>",
        "a = Expand(x, s)  y = Relu(a)",
        ["Expand", "Relu"],
    ),
    "tile once": (
        "(float[N,M] x) => (float[N,M] y) <int64[2] s = {1, 1}>",
        "a = Tile(x, s)  y = Relu(a)",
        ["Relu"],
    ),
    "pad nothing": (
        "(float[N,M] x) => (float[N,M] y) <int64[4] s = {0, 0, 0, 0}>",
        "a = Pad(x, s)  y = Relu(a)",
        ["Relu"],
    ),
    "pad, then crop": (
        "(float[2,3] x) => (float[2,3] y) <int64[4] s = {0, 1, 0, -1}>",
        "a = Pad(x, s)  y = Relu(a)",
        ["Pad", "Relu"],
    ),
    "slice everything": (
        "(float[N,3] x) => (float[N,3] y) <int64[2] s = {0, 0}, int64[2] e = {9223372036854775807, 3}>",
        "a = Slice(x, s, e)  y = Relu(a)",
        ["Relu"],
    ),
    "slice a part": (
        "(float[N,3] x) => (float[M,3] y) <int64[1] s = {0}, int64[1] e = {2}>",
        "a = Slice(x, s, e)  y = Relu(a)",
        ["Slice", "Relu"],
    ),
    "slice all but the first": (
        "(float[N,3] x) => (float[M,3] y) <int64[1] s = {1}, int64[1] e = {9223372036854775807}>",
        "a = Slice(x, s, e)  y = Relu(a)",
        ["Slice", "Relu"],
    ),
    "slice what has no known size": (
        "(float[N,3] x) => (float[M,3] y) <int64[1] s = {1}, int64[1] e = {9223372036854775807}>",
        "a = Slice(x, s, e)  b = Slice(a, s, e)  y = Relu(b)",
        ["Slice", "Slice", "Relu"],
    ),
    "slice backwards": (
        "(float[2,3] x) => (float[2,3] y) <int64[1] s = {1}, int64[1] e = {-9}, int64[1] t = {0}, int64[1] p = {-1}>",
        "a = Slice(x, s, e, t, p)  y = Relu(a)",
        ["Slice", "Relu"],
    ),
    "concat of one": (
        "(float[N,3] x) => (float[N,3] y)",
        "a = Concat<axis = 0>(x)  y = Relu(a)",
        ["Relu"],
    ),
    "concat of concat": (
        "(float[N,3] x, float[N,3] z) => (float[N,9] y)",
        "a = Concat<axis = 1>(x, z)  b = Concat<axis = 1>(z, a)  y = Relu(b)",
        ["Concat", "Relu"],
    ),
    "concat of concat along another axis": (
        "(float[2,3] x, float[2,3] z) => (float[4,6] y)",
        "a = Concat<axis = 1>(x, z)  b = Concat<axis = 0>(a, a)  y = Relu(b)",
        ["Concat", "Concat", "Relu"],
    ),
    "sum of one": (
        "(float[N,3] x) => (float[N,3] y)",
        "a = Sum(x)  b = Max(a)  c = Mean(b)  y = Relu(c)",
        ["Relu"],
    ),
    "split into one": (
        "(float[N,3] x) => (float[N,3] y)",
        "a = Split<axis = 0, num_outputs = 1>(x)  y = Relu(a)",
        ["Relu"],
    ),
    "resize by scales of one": (
        "(float[1,1,4,4] x) => (float[1,1,4,4] y) <float[4] s = {1, 1, 1, 1}>",
        'a = Resize<mode = "linear">(x, , s)  y = Relu(a)',
        ["Relu"],
    ),
    "resize to the same size": (
        "(float[1,1,4,4] x) => (float[1,1,4,4] y) <int64[4] s = {1, 1, 4, 4}>",
        'a = Resize<mode = "cubic">(x, , , s)  y = Relu(a)',
        ["Relu"],
    ),
    "resize by 1.1, which rounds to the same size": (
        "(float[1,1,4,4] x) => (float[1,1,4,4] y) <float[4] s = {1, 1, 1.1, 1.1}>",
        'a = Resize<mode = "linear">(x, , s)  y = Relu(a)',
        ["Resize", "Relu"],
    ),
    "add 0, subtract 0, multiply by 1, divide by 1, to the power of 1": (
        "(float[N,3] x) => (float[N,3] y) <float o = {0}, float[1] z = {0}, float[1,1] i = {1}, float e = {1}>",
        "a = Add(z, x)  b = Sub(a, o)  c = Mul(b, i)  d = Div(c, e)  f = Pow(d, e)  y = Relu(f)",
        ["Relu"],
    ),
    "add a vector of 0": (
        "(float[N,3] x) => (float[N,3] y) <float[3] o = {0, 0, 0}>",
        "a = Add(x, o)  y = Relu(a)",
        ["Relu"],
    ),
    "subtract from 0": (
        "(float[N,3] x) => (float[N,3] y) <float o = {0}>",
        "a = Sub(o, x)  y = Relu(a)",
        ["Sub", "Relu"],
    ),
    "add 0 that broadcasts": (
        "(float[3] x) => (float[1,3] y) <float[1,1] o = {0}>",
        "a = Add(x, o)  y = Relu(a)",
        ["Add", "Relu"],
    ),
    "add a vector of 0 that may broadcast": (
        "(float[N] x) => (float[3] y) <float[3] o = {0, 0, 0}>",
        "a = Add(x, o)  y = Relu(a)",
        ["Add", "Relu"],
    ),
    "where the condition is constant": (
        "(float[N,3] x, float[N,3] z) => (float[N,3] y) <bool t = {1}, bool f = {0}>",
        "a = Where(t, x, z)  b = Where(f, z, a)  y = Relu(b)",
        ["Relu"],
    ),
    "dead nodes": (
        "(float[N,3] x) => (float[N,3] y) <float[1] c = {2}>",
        "a = Mul(x, c)  b = Relu(a)  y = Relu(x)",
        ["Relu"],
    ),
    "duplicates": (
        "(float[N,3] x) => (float[N,3] y)",
        "a = Abs(x)  b = Abs(x)  c = Neg(a)  d = Neg(b)  y = Add(c, d)",
        ["Abs", "Neg", "Add"],
    ),
    "duplicates, one of them an output": (
        "(float[N,3] x) => (float[N,3] y, float[N,3] z)",
        "a = Abs(x)  z = Abs(x)  y = Neg(a)",
        ["Abs", "Neg"],
    ),
    "duplicates, both outputs": (
        "(float[N,3] x) => (float[N,3] y, float[N,3] z)",
        "y = Abs(x)  z = Abs(x)",
        ["Abs", "Abs"],
    ),
    "duplicates with several outputs": (
        "(float[4,3] x) => (float[2,3] y)",
        "a, b = Split<num_outputs = 2>(x)  c, d = Split<num_outputs = 2>(x)  y = Add(a, d)",
        ["Split", "Add"],
    ),
    "the same but for an attribute": (
        "(float[N,3] x) => (float[N,3] y)",
        "a = Elu<alpha = 1.0>(x)  b = Elu<alpha = 2.0>(x)  y = Add(a, b)",
        ["Elu", "Elu", "Add"],
    ),
    "random numbers are no duplicates": (
        "(float[N,3] x) => (float[2] y)",
        "a = RandomNormal<shape = [2]>()  b = RandomNormal<shape = [2]>()  c = Sub(a, b)  d = Sub(c, c)  y = Cast<to = 1>(d)",
        ["RandomNormal", "RandomNormal", "Sub", "Sub"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_operators_that_are_left(name: str) -> None:
    signature, body, expected = CASES[name]
    graph, _ = check(Simplify(), parse(f"{signature} {{ {body} }}"))
    assert operators(graph) == expected


def test_old_operators() -> None:
    """Attributes where newer opsets have inputs."""
    model = parse(
        """(float[2,3] x) => (float[2,3] y) {
            a = Slice<starts = [0], ends = [2], axes = [0]>(x)
            b = Pad<pads = [0, 0, 0, 0]>(a)
            c = Unsqueeze<axes = [0]>(b)
            d = Squeeze<axes = [0]>(c)
            e = Dropout(d)
            y = Relu(e)
        }""",
        opset=9,
        ir_version=4,
    )
    graph, _ = check(Simplify(), model)
    assert operators(graph) == ["Relu"]


def test_dropout_in_training_stays() -> None:
    model = parse("(float[2,3] x) => (float[2,3] y) <float r = {0.0}, bool t = {1}> { a = Dropout(x, r, t)  y = Relu(a) }")
    graph, _ = check(Simplify(), model)
    assert operators(graph) == ["Dropout", "Relu"]


def test_minus_zero_is_the_one_difference() -> None:
    model = parse("(float[1] x) => (float[1] y) <float o = {0}> { y = Add(x, o) }")
    graph, _ = check(Simplify(), model)
    assert operators(graph) == ["Add"]  # nothing may hand an input on as an output
    model = parse("(float[1] x) => (float[1] y) <float o = {0}> { a = Neg(x)  y = Add(a, o) }")
    graph, _ = check(Simplify(), model)
    assert operators(graph) == ["Neg"]
    assert np.float32(-0.0) == np.float32(0.0)


def test_other_domains_are_left_alone() -> None:
    model = parse(
        "(float[N,3] x) => (float[N,3] y) { a = com.microsoft.Gelu(x)  b = com.microsoft.Gelu(x)  c = Identity(b)  y = Add(a, c) }"
    )
    model.opset_import.add(domain="com.microsoft", version=1)
    graph, _ = check(Simplify(), model)
    assert operators(graph) == ["Gelu", "Gelu", "Add"]


def test_functions_are_left_alone() -> None:
    """Also where one goes by the name of an operator."""
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 18, "mine" : 1]>
        main (float[N,3] x) => (float[N,3] y) { a = mine.Identity(x)  b = mine.Twice(a)  c = mine.Twice(a)  y = Add(b, c) }
        <domain: "mine", opset_import: ["" : 18]> Identity (a) => (b) { b = Neg(a) }
        <domain: "mine", opset_import: ["" : 18]> Twice (a) => (b) { i = Identity(a)  b = Add(i, a) }"""
    )
    graph, result = check(Simplify(), model)
    assert operators(graph) == ["Identity", "Twice", "Twice", "Add"]
    assert not result.changed


def test_subgraphs_are_no_constants_and_no_duplicates() -> None:
    branches = """<
        then_branch = one () => (float[N,3] p) { r = RandomNormalLike(x)  p = Add(x, r) },
        else_branch = two () => (float[N,3] q) { q = Neg(x) }
    >"""
    model = parse(f"(float[N,3] x) => (float[N,3] y) <bool t = {{0}}> {{ a = If (t) {branches}  b = If (t) {branches}  y = Add(a, b) }}")
    graph, _ = check(Simplify(), model)
    assert operators(graph).count("If") == 2
