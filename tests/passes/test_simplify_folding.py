"""Constant folding: what is folded, what never is, and that the file does not grow."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from graphopt import ir
from graphopt.passes.simplify import Simplify
from graphopt.pipeline import Context, StopAfter

from .oracle import apply, assert_equal, check, operators, parse, random_inputs, run

CASES = {
    "a chain": (
        "(float[N,3] x) => (float[N,3] y) <float[3] c = {1, 2, 3}>",
        "a = Exp(c)  b = Mul(a, c)  d = Neg(b)  y = Add(x, d)",
        ["Add"],
    ),
    "Constant nodes become initializers": (
        "(float[N,3] x) => (float[N,3] y)",
        "a = Constant<value = float[3] {1, 2, 3}>()  b = Constant<value_float = 2.0>()  c = Mul(x, a)  y = Mul(c, b)",
        ["Mul", "Mul"],
    ),
    "several outputs": (
        "(float[N,2] x) => (float[N,2] y) <float[4] c = {1, 2, 3, 4}>",
        "a, b = Split<num_outputs = 2>(c)  d = Add(x, a)  y = Add(d, b)",
        ["Add", "Add"],
    ),
    "a constant output": (
        "(float[N,3] x) => (float[3] y) <float[3] c = {1, 2, 3}>",
        "a = Exp(c)  y = Neg(a)",
        ["Constant"],
    ),
    "shape of a static value": (
        "(float[2,3] x) => (int64[2] y)",
        "a = Relu(x)  y = Shape(a)",
        ["Constant"],
    ),
    "size of a static value": (
        "(float[2,3] x) => (int64[1] y) <int64[1] s = {-1}>",
        "a = Size(x)  b = Reshape(a, s)  y = Add(b, b)",
        ["Constant"],
    ),
    "a static dimension of a dynamic shape": (
        "(float[N,3] x) => (float[N,3] y) <int64 i = {1}>",
        "s = Shape(x)  g = Gather(s, i)  f = Cast<to = 1>(g)  y = Mul(x, f)",
        ["Mul"],
    ),
    "a dynamic dimension": (
        "(float[N,3] x) => (float[N,3] y) <int64 i = {0}>",
        "s = Shape(x)  g = Gather(s, i)  f = Cast<to = 1>(g)  y = Mul(x, f)",
        ["Shape", "Gather", "Cast", "Mul"],
    ),
    "a target of Reshape from dynamic dimensions": (
        "(float[N,S,8] x) => (float[A,B,2,4] y) <int64 i = {0}, int64 j = {1}, int64[1] o = {0}, int64[2] e = {2, 4}>",
        """s = Shape(x)  a = Gather(s, i)  b = Gather(s, j)  c = Unsqueeze(a, o)  d = Unsqueeze(b, o)
           t = Concat<axis = 0>(c, d, e)  z = Reshape(x, t)  y = Relu(z)""",
        ["Reshape", "Relu"],
    ),
    "a target of Reshape with one dimension from elsewhere": (
        "(float[N,4] x, float[M,3] z) => (float[A,2,2] y) <int64[1] i = {0}, int64[2] e = {2, 2}>",
        "s = Shape(z)  a = Gather(s, i)  t = Concat<axis = 0>(a, e)  b = Reshape(x, t)  y = Relu(b)",
        ["Reshape", "Relu"],
    ),
    "a target of Reshape that would be ambiguous without elements": (
        "(float[N,12] x, float[M,3] z) => (float[A,B,4] y) <int64[1] i = {0}, int64[1] e = {4}>",
        "s = Shape(x)  t = Shape(z)  a = Gather(s, i)  b = Gather(t, i)  c = Concat<axis = 0>(a, b, e)  d = Reshape(x, c)  y = Relu(d)",
        None,
    ),
    "random numbers": (
        "(float[N,2] x) => (float[N,2] y)",
        "a = RandomNormal<shape = [2]>()  b = Mul(a, a)  c = Sub(b, b)  y = Add(x, c)",
        None,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_operators_that_are_left(name: str) -> None:
    signature, body, expected = CASES[name]
    model = parse(f"{signature} {{ {body} }}")
    graph, _ = check(Simplify(), model)
    assert operators(graph) == (expected or operators(ir.Graph.from_proto(model)))


def test_folded_values_keep_their_names() -> None:
    graph, result = check(
        Simplify(), parse("(float[N,3] x) => (float[N,3] y) <float[3] c = {1, 2, 3}> { a = Exp(c)  d = Neg(a)  y = Add(x, d) }")
    )
    assert [value.name for value in graph.initializers] == ["d"]
    assert result.summary == {"folded": 2, "dead initializers": 1}


GENERATORS = {
    "ConstantOfShape": "a = ConstantOfShape(s)",
    "Expand": "a = Expand(c, s)",
    "Tile": "a = Tile(w, s)",
    "Range": "r = Range(z, l, o)  f = Cast<to = 1>(r)  a = Reshape(f, s)",
    "a chain": "b = ConstantOfShape(s)  d = Add(b, c)  a = Exp(d)",
}


@pytest.mark.parametrize("name", GENERATORS)
def test_what_would_make_the_file_larger_stays(name: str) -> None:
    text = f"""(float[64,64] x) => (float[64,64] y)
        <int64[2] s = {{64, 64}}, float[1] c = {{2}}, float[1,1] w = {{3}}, int64 z = {{0}}, int64 l = {{4096}}, int64 o = {{1}}>
        {{ {GENERATORS[name]}  y = Add(x, a) }}"""
    model = parse(text)
    graph, result = check(Simplify(), model)
    assert len(graph.to_proto().SerializeToString()) <= len(model.SerializeToString())
    assert any("would make the file larger" in skip.why for skip in result.skipped)


def test_a_large_constant_that_ends_small_is_folded() -> None:
    model = parse(
        """(float[N] x) => (float[N] y) <int64[1] s = {100000}> {
            a = ConstantOfShape(s)  b = ReduceSum<keepdims = 0>(a)  y = Add(x, b)
        }"""
    )
    graph, _ = check(Simplify(), model)
    assert operators(graph) == ["Add"]


@pytest.mark.parametrize(
    ("signature", "body", "expected"),
    [
        ("(int64[1] x) => (int64[A,B] y)", "n = NonZero(c)  y = Add(x, n)", ["NonZero", "Add"]),
        ("(int64[1] x) => (int64[1] y)", "n = NonZero(c)  r = ReduceSum<keepdims = 0>(n)  y = Add(x, r)", ["Add"]),
    ],
)
def test_sizes_that_show_only_when_computed(signature: str, body: str, expected: list[str]) -> None:
    """NonZero gives six times the bytes here, which types do not tell; its sum is small."""
    graph, _ = check(Simplify(), parse(f"{signature} {{ {body} }}", c=np.ones((8, 8, 4), np.float32)))
    assert operators(graph) == expected


WEIGHT = np.linspace(-1, 1, 64 * 64, dtype=np.float32).reshape(64, 64)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("t = Transpose(w)  y = MatMul(x, t)", ["MatMul"]),
        ("t = Transpose(w)  a = MatMul(x, t)  y = MatMul(a, w)", ["Transpose", "MatMul", "MatMul"]),
        ("t = Transpose(w)  u = Neg(w)  a = MatMul(x, t)  y = MatMul(a, u)", ["Transpose", "Neg", "MatMul", "MatMul"]),
        ("t = Transpose(w)  u = Neg(t)  a = MatMul(x, t)  y = MatMul(a, u)", ["Neg", "MatMul", "MatMul"]),
    ],
)
def test_a_weight_is_stored_once(body: str, expected: list[str]) -> None:
    """Where the original dies the result takes its place; where both would be needed one of them stays computed."""
    graph, _ = check(Simplify(), parse(f"(float[N,64] x) => (float[N,64] y) {{ {body} }}", w=WEIGHT))
    assert operators(graph) == expected


def test_a_half_precision_weight_stays_half() -> None:
    model = parse("(float[N,64] x) => (float[N,64] y) { f = Cast<to = 1>(w)  y = MatMul(x, f) }", w=WEIGHT.astype(np.float16))
    graph, _ = check(Simplify(), model)
    assert operators(graph) == ["Cast", "MatMul"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("d = DequantizeLinear(w, s, z)  e = Neg(d)  f = Exp(e)  y = Mul(x, f)", ["DequantizeLinear", "Neg", "Exp", "Mul"]),
        (
            "q = QuantizeLinear(x, s, z)  a = DequantizeLinear(q, s, z)  b = DequantizeLinear(q, s, z)  c = Neg(a)  y = Mul(b, c)",
            ["QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "Neg", "Mul"],
        ),
        ("n = Neg(w)  d = DequantizeLinear(n, s, z)  y = Mul(x, d)", ["DequantizeLinear", "Mul"]),
    ],
    ids=["weights behind DequantizeLinear", "one DequantizeLinear per reader", "what is before DequantizeLinear"],
)
def test_quantization_stays(body: str, expected: list[str]) -> None:
    head = "(float[N,4] x) => (float[N,4] y) <int8[4] w = {1, -2, 3, 4}, float s = {0.5}, int8 z = {0}>"
    graph, _ = check(Simplify(), parse(f"{head} {{ {body} }}"))
    assert operators(graph) == expected


def test_overridable_initializers_are_no_constants() -> None:
    model = parse("(float[N,3] x, float[3] c) => (float[N,3] y) <float[3] c = {0, 0, 0}> { a = Exp(c)  b = Add(x, c)  y = Mul(a, b) }")
    graph, result = apply(Simplify(), model)
    assert operators(graph) == ["Exp", "Add", "Mul"]
    assert not result.changed
    inputs = {**random_inputs(model), "c": np.array([1, 2, 3], np.float32)}
    assert_equal(run(model, inputs), run(graph.to_proto(), inputs))


def test_an_overridable_initializer_that_nothing_reads_stays() -> None:
    model = parse("(float[N,3] x, float[3] c) => (float[N,3] y) <float[3] c = {0, 0, 0}, float[3] d = {0, 0, 0}> { y = Relu(x) }")
    graph, _ = check(Simplify(), model)
    assert [value.name for value in graph.initializers] == ["c"]


def test_before_ir_version_4_constants_are_constant_nodes() -> None:
    model = parse(
        "(float[N,3] x) => (float[N,3] y) { c = Constant<value = float[3] {1, 2, 3}>()  a = Exp(c)  b = Neg(a)  y = Add(x, b) }",
        opset=9,
        ir_version=3,
    )
    graph, _ = check(Simplify(), model)
    assert operators(graph) == ["Constant", "Add"]
    assert graph.initializers == ()
    assert graph.ir_version == 3


SMALL = [TensorProto.BFLOAT16, TensorProto.FLOAT8E4M3FN, TensorProto.INT4, TensorProto.UINT4]


@pytest.mark.parametrize("elem_type", SMALL, ids=TensorProto.DataType.Name)
def test_types_that_onnx_runtime_does_not_give_to_python(elem_type: int) -> None:
    body = f"a = Cast<to = {elem_type}>(c)  d = Cast<to = 1>(a)  y = Add(x, d)"
    model = parse(f"(float[N,1] x) => (float[N,3] y) <float[3] c = {{1, 2, 3}}> {{ {body} }}", opset=21, ir_version=10)
    graph, _ = check(Simplify(), model)
    assert operators(graph) == ["Add"]


@pytest.mark.parametrize("elem_type", SMALL, ids=TensorProto.DataType.Name)
def test_results_of_types_that_onnx_runtime_does_not_give_to_python(elem_type: int) -> None:
    model = parse(f"() => () <float[3] c = {{1, 2, 3}}> {{ y = Cast<to = {elem_type}>(c) }}", opset=21, ir_version=10)
    model.graph.output.append(helper.make_tensor_value_info("y", elem_type, [3]))
    graph, _ = apply(Simplify(), model)
    assert operators(graph) == ["Constant"]
    contents = graph.constant(graph.value("y"))
    assert contents is not None
    assert contents.dtype == helper.tensor_dtype_to_np_dtype(elem_type)
    assert contents.astype(np.float32).tolist() == [1, 2, 3]


def test_what_cannot_be_computed_stays_and_says_why() -> None:
    """The middle node fails when it is run; the others are folded all the same."""
    model = parse(
        "(float[3] x) => (float[3] y, float[A] z) <float[3] c = {1, 2, 3}, int64[1] s = {7}, int64[1] k = {3}> "
        "{ a = Exp(c)  b = Reshape(a, s)  z = Neg(b)  d = Neg(a)  y = Add(x, d) }"
    )
    graph = ir.Graph.from_proto(model)
    result = Simplify().apply(graph, Context())
    assert operators(graph) == ["Reshape", "Neg", "Add"]
    assert any("'→ b' (Reshape)" in skip.where and "cannot be computed" in skip.why for skip in result.skipped)


def test_string_tensors_are_left() -> None:
    model = parse("() => (string[2] y) { y = StringConcat(c, c) }", opset=20, c=np.array(["a", "b"], dtype=object))
    graph, result = apply(Simplify(), model)
    assert operators(graph) == ["StringConcat"]
    assert not result.changed


def test_duplicate_initializers() -> None:
    """Small ones are merged; equal weights stay, as each may be pruned by itself."""
    model = parse(
        """(float[N,32] x) => (float[N,4,8] y) <int64[3] s = {-1, 4, 8}, int64[3] t = {-1, 4, 8}> {
            a = Mul(x, u)  b = Mul(a, v)  c = Reshape(a, s)  d = Reshape(b, t)  y = Add(c, d)
        }""",
        u=np.full(32, 2, np.float32),
        v=np.full(32, 2, np.float32),
    )
    graph, result = check(Simplify(), model)
    assert [value.name for value in graph.initializers] == ["s", "u", "v"]
    assert result.summary == {"duplicate initializers": 1}


def test_names_that_training_refers_to_stay() -> None:
    model = parse("(float[N,3] x) => (float[N,3] y) <float[3] c = {0, 0, 0}> { a = Add(x, c)  b = Identity(a)  y = Relu(b) }")
    binding = model.training_info.add().update_binding.add()
    binding.key, binding.value = "c", "b"
    graph, _ = check(Simplify(), model)
    assert operators(graph) == ["Identity", "Relu"]
    assert graph.has_value("c")
    assert graph.has_value("b")


def test_subgraphs() -> None:
    model = parse(
        """(float[3] x, bool c) => (float[3] y) <float[3] w = {1, 2, 3}> {
            o = Identity(x)
            r = If (c) <
                then_branch = one () => (float[3] p) {
                    k = Exp(w)  l = Neg(k)  i = Identity(o)  m = Add(i, l)  n = Abs(x)  p = Identity(m)
                },
                else_branch = two () => (float[3] q) { q = Identity(x) }
            >
            y = Relu(r)
        }"""
    )
    graph, result = check(Simplify(), model)
    assert operators(graph) == ["If", "Add", "Identity", "Relu"]
    assert [value.name for value in graph.nodes[0].subgraphs[0].initializers] == ["l"]
    assert not graph.initializers
    assert result.summary == {"no-ops": 3, "folded": 2, "dead nodes": 1, "dead initializers": 1}


def test_loop_bodies() -> None:
    model = parse(
        """(float[3] x) => (float[3] y, float[A,3] z) <int64 n = {3}, bool t = {1}> {
            y, z = Loop (n, t, x) <
                body = step (int64 i, bool k, float[3] s) => (bool l, float[3] u, float[3] v) <float[3] w = {1, 2, 3}> {
                    l = Identity(k)  a = Identity(s)  b = Exp(w)  c = Exp(w)  d = Add(b, c)  u = Add(a, d)  v = Identity(u)
                }
            >
        }"""
    )
    graph, _ = check(Simplify(), model)
    assert operators(graph) == ["Loop", "Identity", "Add", "Identity"]


def test_stopping_after_n_rewrites_gives_a_model_that_is_right() -> None:
    model = parse(
        "(float[N,3] x) => (float[N,3] y) <float[3] c = {1, 2, 3}, float o = {1}> "
        "{ a = Identity(x)  b = Mul(a, o)  d = Exp(c)  e = Exp(c)  f = Add(b, d)  g = Add(f, e)  h = Abs(x)  y = Relu(g) }"
    )
    counts = []
    for rewrites in range(12):
        stop = StopAfter(rewrites)
        graph, _ = check(Simplify(), model, context=Context(instruments=(stop,)))
        assert len(stop.permitted) <= rewrites
        counts.append(len(operators(graph)))
    assert counts[0] == 8
    assert counts[-1] == 3
    assert counts == sorted(counts, reverse=True)


def test_a_second_run_changes_nothing() -> None:
    for signature, body, _ in CASES.values():
        graph, _ = apply(Simplify(), parse(f"{signature} {{ {body} }}"))
        again = Simplify().apply(graph, Context())
        assert not again.changed
        assert not again.summary


@pytest.mark.parametrize("folding", [False, True])
def test_ten_thousand_nodes(folding: bool) -> None:
    """Constants computed by two nodes each, an Identity and a Relu: 5,000 or 2,500 Adds and Relus are left of 10,000 nodes."""
    nodes, initializers, value = [], [], "x"
    for i in range(2500):
        initializers.append(numpy_helper.from_array(np.full(8, 1 + i / 2500, np.float32), f"c{i}"))
        nodes.append(helper.make_node("Exp", [f"c{i}" if folding else value], [f"a{i}"]))
        nodes.append(helper.make_node("Identity", [f"a{i}"], [f"b{i}"]))
        nodes.append(helper.make_node("Mul", [value, f"b{i}"], [f"d{i}"]))
        nodes.append(helper.make_node("Tanh", [f"d{i}"], [f"e{i}"]))
        value = f"e{i}"
    outputs = [helper.make_tensor_value_info(value, TensorProto.FLOAT, ["N", 8])]
    proto = helper.make_graph(nodes, "long", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 8])], outputs, initializers)
    model = helper.make_model(proto, ir_version=9, opset_imports=[helper.make_opsetid("", 17)])
    graph = ir.Graph.from_proto(model)
    Simplify().apply(graph, Context())
    assert len(graph.nodes) == (5000 if folding else 7500)
    inputs = random_inputs(model)
    assert_equal(run(model, inputs), run(graph.to_proto(), inputs))
