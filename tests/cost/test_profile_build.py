from __future__ import annotations

import numpy as np
import onnx
import pytest

from graphopt.cost.families import family, is_free
from graphopt.cost.kernel import Operand, Signature
from graphopt.cost.profile import FAMILIES, asked, random_network
from graphopt.cost.profile.build import CannotBuildError, SingleKernel, copies_of, variants
from graphopt.cost.profile.host import channel_block
from graphopt.cost.profile.session import open_session
from graphopt.errors import RuntimeRefusedError
from graphopt.ir import Graph

BLOCK = channel_block()

# One of each kind that needs contents of its own, as ONNX Runtime executes them.
KERNELS = [
    "Add(float[1,64,56,56], float[1,64,56,56]) -> float[1,64,56,56]",
    "ArgMax(float[4,10]) -> int64[4] {axis=1}",
    "BatchNormalization(float[1,8,5,5], *float[8], *float[8], *float[8], *float[8]) -> float[1,8,5,5]",
    "Cast(float[3,4]) -> int64[3,4]",
    "Clip(float[4,3], *float[], *float[]) -> float[4,3]",
    "Concat(float[1,2,4], float[1,2,4]) -> float[1,2,8] {axis=2}",
    "ConstantOfShape(int64[2]) -> float[5,6]",
    "Conv(float[1,6,9], *float[4,6,3]) -> float[1,4,9] {kernel_shape=[3] pads=[1,1]}",
    "ConvTranspose(float[1,8,4,4], *float[8,4,2,2], *float[4]) -> float[1,4,8,8] {kernel_shape=[2,2] strides=[2,2]}",
    "CumSum(float[4,5], *int64[]) -> float[4,5]",
    "DepthToSpace(float[1,8,3,3]) -> float[1,2,6,6] {blocksize=2}",
    "DequantizeLinear(*uint8[4,4], *float[], *uint8[]) -> float[4,4]",
    "Einsum(float[2,3,4], float[2,5,4]) -> float[2,3,5] {equation=bid,bjd->bij}",
    "Expand(float[1,2,1,4], *int64[4]) -> float[1,2,3,4]",
    "FusedConv(float[1,6,9,9], *float[10,6,3,3], *float[10]) -> float[1,10,9,9] {activation=Clip kernel_shape=[3,3] pads=[1,1,1,1]}",
    "FusedGemm(float[1,8], *float[4,8], *float[4]) -> float[1,4] {activation=Tanh transB=1}",
    "FusedMatMul(float[1,2,5,4], float[1,2,5,4]) -> float[1,2,5,5] {transB=1}",
    "GRU(float[5,1,8], *float[2,18,8], *float[2,18,6], *float[2,36]) -> float[5,2,1,6], float[2,1,6] {direction=bidirectional hidden_size=6}",
    "Gather(*float[100,16], int64[1,7]) -> float[1,7,16] {axis=0}",
    "GatherElements(float[4,5], int64[4,2]) -> float[4,2] {axis=1}",
    "GatherND(float[4,5], int64[3,2]) -> float[3]",
    "Gelu(float[1,4,8]) -> float[1,4,8]",
    "InstanceNormalization(float[1,4,20], *float[4], *float[4]) -> float[1,4,20]",
    "LSTM(float[5,1,8], *float[1,24,8], *float[1,24,6], *float[1,48], *int32[1]) -> float[1,1,6] {hidden_size=6}",
    "MaxPool(float[1,5,7,7]) -> float[1,5,4,4] {kernel_shape=[2,2] strides=[2,2]}",
    "OneHot(int64[6], *int64[], *float[2]) -> float[6,10] {axis=1}",
    "Pad(float[1,3,8,8], *int64[8]) -> float[1,3,11,10]",
    "Pow(float[1,7], *float[]) -> float[1,7]",
    "QLinearConv(uint8[1,8,8,4], *float[], *uint8[], *int8[6,4,1,1], *float[6], *int8[6], *float[], *uint8[]) -> uint8[1,8,8,6] {channels_last=1}",
    "QuickGelu(float[1,4,8]) -> float[1,4,8]",
    "Range(*int64[], *int64[], *int64[]) -> int64[12]",
    "ReduceMean(float[1,4,8]) -> float[1,4] {axes=[2]}",
    "ReduceMean(float[1,4,8], *int64[1]) -> float[1,4,1] {axes=[2]}",
    "Resize(float[1,4,5,5], _, *float[4]) -> float[1,4,10,10] {mode=linear}",
    "Resize(float[1,4,5,5], _, _, *int64[4]) -> float[1,4,9,9]",
    "ScatterND(float[8,3], int64[2,1], float[2,3]) -> float[8,3]",
    "SkipLayerNormalization(float[1,4,8], float[1,4,8], *float[8], *float[8]) -> float[1,4,8], float[1,4,8]",
    "Slice(float[1,10,6], *int64[1], *int64[1], *int64[1], *int64[1]) -> float[1,5,6] {axes=[1] steps=[2]}",
    "Slice(float[1,10,6], *int64[2], *int64[2], *int64[2]) -> float[1,5,2]",
    "Split(float[1,12,4], *int64[2]) -> float[1,8,4], float[1,4,4] {axis=1}",
    "Split(float[1,12,4]) -> float[1,4,4], float[1,4,4], float[1,4,4] {axis=1}",
    "Tile(float[2,3], *int64[2]) -> float[4,9]",
    "TopK(float[4,10], *int64[1]) -> float[4,3], int64[4,3] {axis=1}",
    "Transpose(float[1,3,4,5]) -> float[1,4,5,3] {perm=[0,2,3,1]}",
    "Where(bool[4,4], *float[], float[4,4]) -> float[4,4]",
]


def run(sig: Signature, block: int = BLOCK, copies: int | None = None) -> tuple[SingleKernel, list[np.ndarray]]:
    """The first variant that ONNX Runtime runs, and its outputs."""
    errors = []
    for single in variants(sig, block, copies):
        try:
            session = open_session(single.model, 1, optimize=False)
            return single, session.run(None, dict(single.feeds))
        except Exception as error:
            errors.append(str(error))
    raise AssertionError(f"{sig}: {errors}")


@pytest.mark.parametrize("text", KERNELS)
def test_a_kernel_runs_and_writes_what_its_signature_says(text: str) -> None:
    sig = Signature.parse(text)
    single, outputs = run(sig, copies=2)
    assert [tuple(output.shape) for output in outputs] == [output.shape for output in sig.outputs] * single.copies
    for output in outputs:
        if output.dtype.kind == "f":
            assert np.isfinite(output).all()
            tiny = np.abs(output[output != 0])
            assert tiny.size == 0 or tiny.min() > np.finfo(np.float32).tiny  # denormals take many times as long


@pytest.mark.parametrize("name", FAMILIES)
def test_every_kernel_of_the_random_networks_is_built(name: str) -> None:
    kernels = [sig for sig in dict.fromkeys(asked(Graph.from_proto(random_network(name, 0)))) if not is_free(family(sig, BLOCK))]
    for sig in kernels[:40]:
        run(sig, copies=1)


def test_the_node_is_the_very_one_of_the_network() -> None:
    for sig in dict.fromkeys(asked(Graph.from_proto(random_network("mobilenet-v2", 0)))):
        if is_free(family(sig, BLOCK)):
            continue
        single, outputs = run(sig, copies=3)
        nodes = onnx.load_from_string(single.model).graph.node
        assert len(nodes) == 3
        names = {"nchwc" if node.domain.endswith("nchwc") and "Reorder" not in node.op_type else "" for node in nodes}
        assert names == {sig.operator.rpartition(".")[0]}
        padded = outputs[0].shape[1] if sig.operator.startswith("nchwc.") else sig.outputs[0].shape[1]
        assert 0 <= padded - sig.outputs[0].shape[1] < BLOCK


def test_each_copy_has_weights_of_its_own() -> None:
    sig = Signature.parse("Gemm(float[4,64], *float[32,64], *float[32]) -> float[4,32] {transB=1}")
    single, _ = run(sig, copies=3)
    inputs = [name for node in onnx.load_from_string(single.model).graph.node for name in node.input[1:]]
    assert len(set(inputs)) == 6


def test_copies_are_few_enough_for_the_cache() -> None:
    for text in KERNELS:
        sig = Signature.parse(text)
        count = copies_of(sig)
        assert count >= 1
        assert count == 1 or count * sum(output.nbytes for output in sig.outputs) <= 2 * 2**20
    large = Signature.parse("Relu(float[1,64,512,512]) -> float[1,64,512,512]")
    assert copies_of(large) == 1


@pytest.mark.parametrize(
    ("sig", "why"),
    [
        (Signature("Loop", (), (Operand((1,)),)), "body"),
        (Signature("SequenceAt", (Operand((), onnx.TensorProto.UNDEFINED),), (Operand((1,)),)), "no tensor"),
        (Signature.parse("Relu(float[0,4]) -> float[0,4]"), "empty"),
        (Signature.parse("Relu(float[1000,1000,1000]) -> float[1000,1000,1000]"), "1 GiB"),
        (Signature.parse("Split(float[1,12]) -> float[1,8], float[1,4] {axis=1}"), "unequal"),
    ],
)
def test_what_cannot_be_built_says_why(sig: Signature, why: str) -> None:
    with pytest.raises(CannotBuildError, match=why):
        list(variants(sig, BLOCK))


def test_an_operator_that_the_runtime_lacks_is_refused_when_it_is_loaded() -> None:
    for single in variants(Signature.parse("MadeUp(float[1,4]) -> float[1,4]"), BLOCK):
        with pytest.raises(RuntimeRefusedError):
            open_session(single.model, 1, optimize=False)
