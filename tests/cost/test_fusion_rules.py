"""Rule files: what loads, what is refused with which words, and what the engine does with rules of one's own."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from graphopt.cost.fusion import kernels, load_rules
from graphopt.errors import RulesError
from graphopt.ir import Graph

HEAD = 'format = 1\nruntime = "mine"\n'
SWISH = """
[[step]]
name = "swish"
  [[step.rule]]
  name = "swish"
  pattern = "s = Sigmoid(x); y = Mul(x, s)"
  result = "y = Swish(x)"
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    return path


def elementwise(*nodes: tuple[str, list[str], str], outputs: tuple[str, ...] = ("y",)) -> Graph:
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, [output]) for kind, inputs, output in nodes],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in outputs],
    )
    return Graph.from_proto(helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 20)]))


@pytest.mark.parametrize("name", ["onnxruntime-cpu", "tensorrt", "tflite-cpu", "tflite-gpu"])
def test_rules_that_come_with_graphopt_load(name: str) -> None:
    rules = load_rules(name)
    assert rules.steps
    assert rules.block >= 1


def test_a_rule_of_ones_own(tmp_path: Path) -> None:
    graph = elementwise(("Sigmoid", ["x"], "s"), ("Mul", ["s", "x"], "y"))
    found = kernels(graph, load_rules(write(tmp_path, HEAD + SWISH)))
    assert [str(kernel.signature) for kernel in found] == ["Swish(float[2,3]) -> float[2,3]"]
    assert [node.op_type for node in found[0].nodes] == ["Sigmoid", "Mul"]
    assert found[0].values == (graph.value("x"), graph.value("y"))


def test_no_fusion_over_a_value_that_something_else_reads(tmp_path: Path) -> None:
    rules = load_rules(write(tmp_path, HEAD + SWISH))
    read_again = elementwise(("Sigmoid", ["x"], "s"), ("Mul", ["s", "x"], "m"), ("Add", ["m", "s"], "y"))
    handed_out = elementwise(("Sigmoid", ["x"], "s"), ("Mul", ["s", "x"], "y"), outputs=("y", "s"))
    assert [k.signature.operator for k in kernels(read_again, rules)] == ["Sigmoid", "Mul", "Add"]
    assert [k.signature.operator for k in kernels(handed_out, rules)] == ["Sigmoid", "Mul"]


def test_the_graph_is_not_changed(tmp_path: Path) -> None:
    graph = elementwise(("Identity", ["x"], "i"), ("Sigmoid", ["i"], "s"), ("Mul", ["s", "i"], "y"))
    before = graph.to_proto().SerializeToString()
    kernels(graph, load_rules("onnxruntime-cpu"))
    assert graph.to_proto().SerializeToString() == before


def test_functions_of_the_model_are_replaced_by_their_bodies() -> None:
    imports = [helper.make_opsetid("", 20), helper.make_opsetid("local", 1)]
    body = helper.make_function(
        "local", "Twice", ["a"], ["c"], [helper.make_node("Tanh", ["a"], ["b"]), helper.make_node("Neg", ["b"], ["c"])], imports[:1]
    )
    proto = elementwise(("Tanh", ["x"], "y")).to_proto()
    del proto.graph.node[:]
    proto.graph.node.append(helper.make_node("Twice", ["x"], ["y"], domain="local"))
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    del model.opset_import[:]
    model.opset_import.extend(imports)
    model.functions.append(body)
    assert [k.signature.operator for k in kernels(Graph.from_proto(model), load_rules("onnxruntime-cpu"))] == ["Tanh", "Neg"]


def rule(pattern: str = "y = Neg(x)", result: str = "y = Abs(x)", more: str = "") -> str:
    return f'{HEAD}[[step]]\nname = "s"\n[[step.rule]]\nname = "r"\npattern = "{pattern}"\nresult = "{result}"\n{more}\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("format = ", "not TOML"),
        ('format = 2\nruntime = "x"', "format 2"),
        ("format = 1", "'runtime'"),
        (HEAD + "colour = 1", "unknown key 'colour'"),
        (HEAD + "block = 0", "'block'"),
        (HEAD + 'block = "16"', "must be a whole number"),
        (HEAD + '[[step]]\nname = "s"\nalgorithm = "magic"', "no algorithm 'magic'"),
        (HEAD + '[[step]]\nname = "s"', "either an 'algorithm' or rules"),
        (rule(more="size = 3"), "rule 'r' has an unknown key 'size'"),
        (rule(pattern="y Neg(x)"), "not a statement"),
        (rule(pattern="a = Neg(x); y = Abs(x)"), "'a' is not used"),
        (rule(result="z = Abs(x)"), "does not make 'y'"),
        (rule(result="y = Abs(q)"), "'q' is neither in the pattern"),
        (rule(more='when = ["rank(q) == 2"]'), "'q' in 'rank(q) == 2'"),
        (rule(more='when = ["open(x)"]'), "no function 'open'"),
        (rule(more='when = ["x.value"]'), "Attribute is not allowed"),
        (rule(more='when = ["(lambda: 1)()"]'), "no function '?'"),
        (rule(result="y = Abs(x) : cube(x)"), "no shape function 'cube'"),
        (HEAD + '[layout]\nenter = "In"\nleave = "Out"\n', "'convolution'"),
        (
            HEAD + '[layout]\nenter = "I"\nleave = "O"\nconvolution = "C"\n[[layout.operator]]\nkinds = ["Neg"]\nrole = "magic"',
            "no role 'magic'",
        ),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(RulesError) as caught:
        load_rules(write(tmp_path, text))
    assert words in str(caught.value)
    assert "rules.toml" in str(caught.value)


def test_a_name_that_is_not_there_says_which_are() -> None:
    with pytest.raises(RulesError, match="onnxruntime-cpu"):
        load_rules("onnxruntime-cuda")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RulesError, match="cannot read"):
        load_rules(tmp_path / "none.toml")
