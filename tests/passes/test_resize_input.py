"""resize-input: the same as the model exported at the smaller size; what is refused, and how data follows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

import graphopt
import graphopt.ir as ir
from graphopt.cost import count
from graphopt.errors import DataError, PassParameterError, UnsupportedError
from graphopt.passes.resize_input import ResizeInput
from graphopt.pipeline import Context, PassResult, StopAfter
from tests.channels.build import Build
from tests.passes.factorized import assert_same, inputs, outputs
from tests.passes.small_nets import Net, mobilenet, pyramid, resnet, vit


def apply(graph: ir.Graph, **options: Any) -> PassResult:
    return ResizeInput(**options).apply(graph, Context())


def interpolated(grid: np.ndarray, height: int, width: int, mode: str = "cubic") -> np.ndarray:
    """[h, w, channels] at another size, by ONNX Runtime's Resize, which has PyTorch's kernel and half-pixel centres."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, grid.shape[2], *grid.shape[:2]])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    sizes = helper.make_tensor("sizes", TensorProto.INT64, [4], [1, grid.shape[2], height, width])
    node = helper.make_node(
        "Resize", ["x", "", "", "sizes"], ["y"], mode=mode, coordinate_transformation_mode="half_pixel", cubic_coeff_a=-0.75
    )
    model = helper.make_model(helper.make_graph([node], "g", [x], [y], [sizes]), ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(None, {"x": grid.transpose(2, 0, 1)[np.newaxis].astype(np.float32)})[0]
    return np.asarray(found[0].transpose(1, 2, 0))


# ---- the same as the model exported at that size


@pytest.mark.parametrize("build", [resnet, mobilenet, pyramid])
@pytest.mark.parametrize("size", [(12, 12), (8, 16), (16, 8), (4, 4)])
def test_the_same_as_exported_at_that_size(build: Callable[..., ir.Graph], size: tuple[int, int]) -> None:
    graph = build(16, 16)
    assert apply(graph, size=size).changed
    assert_same(graph, build(*size), inputs(graph))
    assert count(graph).macs == count(build(*size)).macs


@st.composite
def convolutional(draw: st.DrawFn) -> Callable[[int, int], ir.Graph]:
    """A fully convolutional network by its size: convolutions and pools of any stride and padding, maps resized to others', GlobalAveragePool."""
    layers = draw(st.lists(st.sampled_from(("conv", "pool", "up", "join")), min_size=1, max_size=5))
    choices = [(draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(0, 1)), draw(st.booleans())) for _ in layers]

    def build(height: int, width: int) -> ir.Graph:
        net = Net(opset=17)
        x, map_size = net.input("n", 3, height, width), [height, width]
        maps = [(x, 3, list(map_size))]
        channels = 3
        for layer, (kernel, stride, pad, floats) in zip(layers, choices, strict=True):
            pad = min(pad, kernel // 2)
            if layer == "conv":
                x = net.node("Conv", x, net.weight(4, channels, kernel, kernel), strides=[stride] * 2, pads=[pad] * 4)
                channels = 4
            elif layer == "pool":
                x = net.node("MaxPool", x, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4)
            elif layer == "up":
                x = net.node("Resize", x, "", net.tensor(np.array([1, 1, 2, 2], np.float32)), mode="nearest")
            if layer in ("conv", "pool"):
                map_size = [(side + 2 * pad - kernel) // stride + 1 for side in map_size]
            elif layer == "up":
                map_size = [2 * side for side in map_size]
            else:  # to the size of an earlier map, as a list of sizes or as factors
                other, more, wanted = maps[kernel % len(maps)]
                if floats:
                    factors = np.array([1, 1, *(np.float32(a / b) for a, b in zip(wanted, map_size, strict=True))], np.float32)
                    fits = [int(np.floor(side * factor)) for side, factor in zip(map_size, factors[2:], strict=True)]
                if floats and fits == wanted:
                    x = net.node("Resize", x, "", net.tensor(factors), mode="nearest")
                else:
                    count = net.node("Gather", net.node("Shape", x), net.ints(0))
                    sizes = net.node("Concat", count, net.ints(channels), net.ints(wanted[0]), net.ints(wanted[1]), axis=0)
                    x = net.node("Resize", x, "", "", sizes, mode="nearest")
                x, channels, map_size = net.node("Concat", x, other, axis=1), channels + more, list(wanted)
            maps.append((x, channels, list(map_size)))
        net.output(net.node("GlobalAveragePool", x))
        return net.graph()

    return build


@settings(max_examples=40, deadline=None)
@given(convolutional(), st.integers(3, 8), st.integers(3, 8))
def test_fully_convolutional_networks_are_as_if_exported_smaller(build: Callable[[int, int], ir.Graph], half: int, other: int) -> None:
    graph, size = build(32, 32), (4 * half, 4 * other)
    try:
        expected = build(*size)
        outputs(expected, inputs(expected))
    except Exception:  # a map of no place is left: no such model can be exported
        return
    try:
        apply(graph, size=size)
    except UnsupportedError as error:  # two maps of one size became maps of two sizes
        assert any(words in str(error) for words in ("different sizes", "not of one size", "factor", "do not follow"))
        return
    assert_same(graph, expected, inputs(graph))


def test_a_free_height_needs_no_pass() -> None:
    model = Build(opset=17)
    model.output(model.node("GlobalAveragePool", model.input("n", 3, "h", "w")))
    with pytest.raises(UnsupportedError, match="feed smaller pictures"):
        apply(model.graph(), size=8)


def test_channels_may_come_last() -> None:
    def build(size: int) -> ir.Graph:
        net = Net(opset=17)
        x = net.node("Transpose", net.input("n", size, size, 3), perm=[0, 3, 1, 2])
        net.output(net.node("GlobalAveragePool", net.conv(x, 5, 3)))
        return net.graph()

    graph = build(16)
    apply(graph, size=8)
    assert_same(graph, build(8), inputs(graph))


# ---- position embeddings


@pytest.mark.parametrize("tokens", [0, 1, 2])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("batch", [1, "n"])
def test_position_embeddings_are_interpolated_over_their_grid(tokens: int, last: bool, batch: int | str) -> None:
    positions = np.random.default_rng(3).standard_normal((1, tokens + 6 * 5, 16)).astype(np.float32)
    grid = (positions[:, :30] if last else positions[:, tokens:]).reshape(6, 5, 16)
    resized = interpolated(grid, 4, 3).reshape(1, 12, 16)
    beside = positions[:, 30:] if last else positions[:, :tokens]
    expected = vit(16, 12, np.concatenate([resized, beside] if last else [beside, resized], axis=1), tokens, batch, last)
    graph = vit(24, 20, positions, tokens, batch, last)
    apply(graph, size=(16, 12))
    assert_same(graph, expected, inputs(graph))


def test_linear_interpolation() -> None:
    positions = np.random.default_rng(3).standard_normal((1, 37, 16)).astype(np.float32)
    resized = interpolated(positions[0, 1:].reshape(6, 6, 16), 4, 5, "linear").reshape(1, 20, 16)
    graph = vit(24, 24, positions)
    apply(graph, size=[16, 20], interpolation="linear")
    assert_same(graph, vit(16, 20, np.concatenate([positions[:, :1], resized], axis=1)), inputs(graph))


def test_position_embeddings_on_the_map_itself() -> None:
    def build(size: int, positions: np.ndarray) -> ir.Graph:
        net = Net(opset=17)
        x = net.node("Add", net.conv(net.input("n", 3, size, size), 4, 3, stride=2), net.tensor(positions))
        net.output(net.node("GlobalAveragePool", net.node("Relu", x)))
        return net.graph()

    positions = np.random.default_rng(0).standard_normal((1, 4, 8, 8)).astype(np.float32)
    graph = build(16, positions)
    apply(graph, size=12)
    resized = interpolated(positions[0].transpose(1, 2, 0), 6, 6).transpose(2, 0, 1)[np.newaxis]
    assert_same(graph, build(12, resized), inputs(graph))


# ---- what is refused


def refusal(build: Callable[[Net], str], size: int = 8) -> str:
    net = Net(opset=17)
    net.output(build(net))
    graph = net.graph()
    before = graph.to_proto()
    with pytest.raises(UnsupportedError) as found:
        apply(graph, size=size)
    assert graph.to_proto() == before
    return str(found.value)


def test_flattened_maps_under_a_gemm() -> None:
    def build(net: Net) -> str:
        x = net.node("Flatten", net.conv(net.input("n", 3, 16, 16), 4, 3))
        return str(net.node("Gemm", x, net.weight(1024, 5), name="head"))

    said = refusal(build)
    assert "'head' (Gemm)" in said
    assert "takes 1024 values for each row, and there would be 256" in said
    assert "leave the resolution" in said


def test_a_product_over_places() -> None:
    def build(net: Net) -> str:
        x = net.node("Reshape", net.conv(net.input("n", 3, 16, 16), 4, 3), net.ints(-1, 4, 256))
        return str(net.node("MatMul", x, net.weight(256, 7), name="mixer"))

    assert "'mixer' (MatMul)" in refusal(build)


def test_a_kernel_over_all_places() -> None:
    assert "covers all 16 places" in refusal(lambda net: str(net.node("Conv", net.input("n", 3, 16, 16), net.weight(4, 3, 16, 16))))


def test_masks_of_shifted_windows() -> None:
    """As Swin has them: windows of 4 x 4 places, scores within each, and a mask for each window."""

    def build(net: Net) -> str:
        x = net.node("Transpose", net.conv(net.input(1, 3, 16, 16), 8, 3), perm=[0, 2, 3, 1])
        x = net.node("Transpose", net.node("Reshape", x, net.ints(1, 4, 4, 4, 4, 8)), perm=[0, 1, 3, 2, 4, 5])
        x = net.node("Reshape", x, net.ints(16, 16, 8))
        scores = net.node("MatMul", x, net.node("Transpose", x, perm=[0, 2, 1]))
        mask = np.where(net.rng.random((16, 16, 16)) < 0.5, -100, 0).astype(np.float32)
        scores = net.node("Add", scores, net.tensor(mask, "mask"), name="masked")
        return str(net.node("ReduceMean", net.node("MatMul", net.node("Softmax", scores, axis=-1), x), axes=[0, 1]))

    said = refusal(build)
    assert "'masked' (Add)" in said
    assert "mask or a table of relative positions" in said
    assert "windows" in refusal(build, 10) or "divides 16 places into 4 x 4, and 10" in refusal(build, 10)


def test_windows_without_masks_become_fewer() -> None:
    def build(size: int) -> ir.Graph:
        net = Net(opset=17)
        x = net.node("Transpose", net.conv(net.input(1, 3, size, size), 8, 3), perm=[0, 2, 3, 1])
        x = net.node("Transpose", net.node("Reshape", x, net.ints(1, size // 4, 4, size // 4, 4, 8)), perm=[0, 1, 3, 2, 4, 5])
        x = net.node("Reshape", x, net.ints((size // 4) ** 2, 16, 8))
        scores = net.node("MatMul", x, net.node("Transpose", x, perm=[0, 2, 1]))
        scores = net.node("Add", scores, net.tensor(net.rng.standard_normal((1, 16, 16)).astype(np.float32)))
        x = net.node("MatMul", net.node("Softmax", scores, axis=-1), x)
        x = net.node("Reshape", x, net.ints(1, size // 4, size // 4, 4, 4, 8))
        x = net.node("Reshape", net.node("Transpose", x, perm=[0, 1, 3, 2, 4, 5]), net.ints(1, size, size, 8))
        net.output(net.node("ReduceMean", x, axes=[1, 2]))
        return net.graph()

    graph = build(16)
    apply(graph, size=8)
    assert_same(graph, build(8), inputs(graph))


def test_coordinates_are_no_embeddings() -> None:
    def build(net: Net) -> str:
        grid = np.stack(np.meshgrid(np.arange(16), np.arange(16), indexing="xy"))[np.newaxis].astype(np.float32)
        return str(net.node("Add", net.conv(net.input("n", 3, 16, 16), 2, 3), net.tensor(grid)))

    assert "coordinates" in refusal(build)


def test_values_for_each_place_that_are_multiplied() -> None:
    def build(net: Net) -> str:
        return str(net.node("Mul", net.conv(net.input("n", 3, 16, 16), 2, 3), net.weight(1, 2, 16, 16), name="scaled"))

    assert "'scaled' (Mul) fixes the resolution" in refusal(build)


def test_cuts_in_the_middle() -> None:
    def build(net: Net) -> str:
        x = net.conv(net.input("n", 3, 16, 16), 2, 3)
        return str(net.node("Slice", x, net.ints(0), net.ints(4), net.ints(2)))

    assert "may or may not follow" in refusal(build)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": 32}, "no smaller size"),
        ({"size": (4, 4, 4)}, "one number or"),
        ({"size": 8, "ratio": 0.5}, "one of size, ratio"),
        ({"size": 8, "to": "0.5x-macs"}, "one of size, ratio"),
        ({"size": 8, "input": "nothing"}, "no input 'nothing'"),
        ({"plan": {"other": 8}}, "plan names 'other'"),
    ],
)
def test_bad_input(options: dict[str, Any], said: str) -> None:
    with pytest.raises(PassParameterError, match=said):
        apply(resnet(), **options)


def test_no_pictures() -> None:
    model = Build(opset=17)
    model.output(model.node("MatMul", model.input("n", 8), model.weight(8, 8)))
    with pytest.raises(UnsupportedError, match="takes no pictures"):
        apply(model.graph(), size=4)


# ---- as a compressing pass


def test_sizes_that_are_offered() -> None:
    graph = resnet(32, 32)
    (site,) = ResizeInput().sites(graph, Context())
    assert site.name == graph.inputs[0].name
    assert site.values == (32, 28, 24, 20, 16)
    assert list(site.harms) == sorted(site.harms)


def test_a_goal() -> None:
    graph = resnet(32, 32)
    macs = count(graph).macs
    run = graphopt.run(graph, "resize-input{to=0.5x-macs}", data=inputs(graph, 8))
    assert run.graph.shape(run.graph.inputs[0])[2:] == (20, 20)  # type: ignore[index]
    assert count(run.graph).macs <= macs / 2
    assert graphopt.run(graph, "resize-input{plan={x1:20}}").graph.to_proto() == run.graph.to_proto()


def test_ratio_keeps_multiples_of_the_strides() -> None:
    graph = resnet(32, 48)
    assert apply(graph, ratio=0.7).summary["height"] == 24
    assert graph.shape(graph.inputs[0])[3] == 32  # type: ignore[index]


def test_nothing_to_do_and_nothing_allowed() -> None:
    graph = resnet()
    before = graph.to_proto()
    assert not apply(graph, size=16).changed
    assert not ResizeInput(size=8).apply(graph, Context(instruments=(StopAfter(0),))).changed
    assert graph.to_proto() == before


# ---- data


def test_later_passes_get_smaller_pictures() -> None:
    graph = resnet()
    data = inputs(graph, 16)
    text = "resize-input{size=8},factorize{ratio=0.4 align=1},prune-blocks,prune-channels{ratio=0.25 align=1 criterion=activation}"
    run = graphopt.run(graph, text, data=data)
    ir.verify(run.graph)
    assert graphopt.run(graph, text, data=data).graph.to_proto() == run.graph.to_proto()
    small = graphopt.run(graph, "resize-input{size=8}").graph
    with pytest.raises(DataError):
        graphopt.run(small, "factorize", data=data)


def test_reconstruct_compares_with_the_original_at_that_size() -> None:
    graph = resnet()
    run = graphopt.run(graph, "resize-input{size=12},prune-channels{ratio=0.5 align=1},reconstruct", data=inputs(graph, 64))
    assert run.results[-1].summary["output_error"] < run.results[-1].summary["output_error_before"]  # type: ignore[operator]


def test_what_the_outputs_state_follows() -> None:
    graph = pyramid()
    apply(graph, size=8)
    model = graph.to_proto()
    onnx.checker.check_model(model, full_check=True)
    assert [dim.dim_value for dim in model.graph.output[0].type.tensor_type.shape.dim][1:] == [2, 8, 7]  # the first column is cut off
