from __future__ import annotations

import onnx
import onnxruntime as ort
import pytest

from graphopt.cost.profile import FAMILIES, converted, precision_of, pruned_variants, random_network
from graphopt.errors import UnsupportedError
from graphopt.ir import Graph, verify
from graphopt.quality import session, synthetic_inputs

from ..models import serialised
from ..networks import network


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", [0, 3])
def test_a_random_network_is_valid_runs_and_depends_on_its_seed_alone(family: str, seed: int) -> None:
    model = random_network(family, seed)
    onnx.checker.check_model(model, full_check=True)
    assert serialised(model) == serialised(random_network(family, seed))
    assert serialised(model) != serialised(random_network(family, seed + 1))
    opened = session(model, threads=1)
    declared = [dim.dim_value for dim in model.graph.output[0].type.tensor_type.shape.dim]
    assert list(opened.run(None, dict(next(synthetic_inputs(Graph.from_proto(model)).runs())))[0].shape) == declared


def test_variants_are_narrower_and_run() -> None:
    graph = Graph.from_proto(random_network("resnet", 1))
    sizes = {value.name: value.tensor.size for value in graph.initializers if value.tensor}
    found = list(pruned_variants(graph, 4, block=16, seed=3))
    assert len({name for name, _ in found}) == 4
    for _, variant in found:
        verify(variant)
        assert sum(value.tensor.size for value in variant.initializers if value.tensor) < sum(sizes.values())
    assert {value.name: value.tensor.size for value in graph.initializers if value.tensor} == sizes  # the model itself stays as it is


def test_variants_are_the_same_for_a_seed_and_differ_between_seeds() -> None:
    graph = Graph.from_proto(random_network("mobilenet-v2", 1))

    def texts(seed: int) -> list[bytes]:
        return [serialised(variant.to_proto()) for _, variant in pruned_variants(graph, 2, block=8, seed=seed)]

    assert texts(0) == texts(0)
    assert texts(0) != texts(1)
    assert texts(0)[0] != texts(0)[1]


def test_the_first_variant_keeps_to_whole_blocks() -> None:
    graph = Graph.from_proto(network())
    _, variant = next(pruned_variants(graph, 1, block=16))
    shapes = [value.tensor.shape for value in variant.initializers if value.tensor and value.name.startswith("conv")]
    assert all(shape[0] % 16 == 0 for shape in shapes)


def test_a_model_that_cannot_be_cut_has_no_variants() -> None:
    model = onnx.parser.parse_model('<ir_version: 8, opset_import: ["" : 17]> g (float[4, 4] x) => (float[4, 4] y) { y = Relu(x) }')
    assert list(pruned_variants(Graph.from_proto(model), 3, block=16)) == []


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_a_converted_network_has_the_precision_and_runs(precision: str) -> None:
    graph = Graph.from_proto(random_network("mobilenet-v2", 0))
    assert precision_of(graph) == "float32"
    found = converted(graph, precision)
    assert precision_of(found) == precision
    assert converted(found, precision) is found
    opened = ort.InferenceSession(found.to_proto().SerializeToString(), providers=["CPUExecutionProvider"])
    opened.run(None, dict(next(synthetic_inputs(found).runs())))
    with pytest.raises(UnsupportedError, match="only float32 models are converted"):
        converted(found, "int8" if precision == "float16" else "float16")
