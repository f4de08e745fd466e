"""Another height and width of the input."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import graphopt
from graphopt.errors import SupernetError
from graphopt.quality import run, session
from graphopt.supernet.resolution import resize

from .test_families import outputs, subnet


def model(body: str, weights: dict[str, tuple[int, ...]], output: str = "float[N,M] y") -> graphopt.Graph:
    """x [N, 3, 8, 8] → conv, stride 2 → the body from c to y."""
    text = f"""<ir_version: 10, opset_import: ["" : 18]> g (float[N,3,8,8] x) => ({output}) {{
        c = Conv <pads = [1,1,1,1], strides = [2,2]> (x, w) {body} }}"""
    made = onnx.parser.parse_model(text)
    for node in made.graph.node:
        node.name = node.output[0]
    for name, shape in {"w": (4, 3, 3, 3), **weights}.items():
        made.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), name))
    return graphopt.Graph.from_proto(made)


@pytest.mark.parametrize(
    ("body", "weights", "message"),
    [
        ("s = Constant <value_ints = [-1, 64]> ()  y = Reshape (c, s)", {}, "image_size 12 does not fit 'y' (Reshape): "),
        ("s = Constant <value_ints = [0, 64]> ()  y = Reshape (c, s)", {}, "image_size 12 does not fit 'y' (Reshape): "),
        (
            "s = Constant <value_ints = [1, 64]> ()  y = Reshape (c, s)",
            {},
            "does not fit 'y' (Reshape): values of shape ['N', 4, 6, 6] reach it",
        ),
        ("f = Flatten (c)  y = Gemm (f, v)", {"v": (64, 5)}, "'y' (Gemm): 144 values per row reach it, and its weight takes 64"),
        ("f = Flatten (c)  y = MatMul (f, v)", {"v": (64, 5)}, "'y' (MatMul): 144 values per row reach it, and its weight takes 64"),
        ("f = Flatten (c)  y = Add (f, v)", {"v": (64,)}, "'y' (Add): its shape cannot be inferred any more"),
    ],
)
def test_a_size_that_is_built_in_is_named(body: str, weights: dict[str, tuple[int, ...]], message: str) -> None:
    graph = model(body, weights)
    with pytest.raises(SupernetError) as caught:
        resize(graph, "x", 12)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_reshape_that_keeps_the_size_free_is_no_obstacle() -> None:
    for sizes in ("[0, 4, -1]", "[1, 4, -1]", "[0, 0, -1]"):
        graph = model(f"s = Constant <value_ints = {sizes}> ()  y = Reshape (c, s)", {}, "float[N,4,M] y")
        resize(graph, "x", 12)
        assert graph.shape(graph.outputs[0])[2] in (36, None, "M") or sizes.startswith("[1")


def test_outputs_that_follow_the_size_follow_it() -> None:
    graph = model("y = Relu (c)", {}, "float[N,4,4,4] y")
    resize(graph, "x", 11)
    graphopt.verify(graph)
    assert graph.shape(graph.outputs[0]) == ("N", 4, 6, 6)
    proto = graph.to_proto()
    assert [dim.dim_value for dim in proto.graph.output[0].type.tensor_type.shape.dim][1:] == [4, 6, 6]
    assert run(session(graph), {"x": np.zeros((2, 3, 11, 11), np.float32)})["y"].shape == (2, 4, 6, 6)


def test_stale_shapes_do_not_stay_in_the_file() -> None:
    graph = model("r = Relu (c)  y = GlobalAveragePool (r)", {}, "float[N,4,1,1] y")
    stated = onnx.shape_inference.infer_shapes(graph.to_proto())
    assert {info.name for info in stated.graph.value_info} >= {"c", "r"}
    graph = graphopt.Graph.from_proto(stated)
    resize(graph, "x", 20)
    sizes = {info.name: [dim.dim_value for dim in info.type.tensor_type.shape.dim][2:] for info in graph.to_proto().graph.value_info}
    assert sizes == {"c": [10, 10], "r": [10, 10]}


def test_only_image_inputs() -> None:
    graph = model("y = Relu (c)", {}, "float[N,4,4,4] y")
    with pytest.raises(SupernetError, match="image_size needs the input 'image'"):
        resize(graph, "image", 8)
    flat = graphopt.Graph.from_proto(
        onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 18]> g (float[4] x) => (float[4] y) { y = Relu (x) }')
    )
    with pytest.raises(SupernetError, match=r"needs an input of shape \(N, C, H, W\), and 'x' has \[4\]"):
        resize(flat, "x", 8)


@pytest.mark.parametrize("size", [33, 72, 96])
def test_any_size_works_with_average_pools_that_round_up(size: int) -> None:
    graph, done = subnet("ofa_resnet", {"image_size": size})
    graphopt.verify(graph)
    assert done.summary["image_size"] == size
    assert outputs(graph, size).shape == (2, 10)
