"""Models of a single kernel: copies of the very node that the runtime executes in a network, so that nothing is left to optimise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import defs, helper, numpy_helper

from graphopt.cost.attributes import MICROSOFT, NCHWC
from graphopt.cost.kernel import Operand, Signature
from graphopt.cost.profile.contents import contents
from graphopt.errors import UnsupportedError
from graphopt.quality.arrays import AnyArray

_OUTPUT_BYTES = 2 * 2**20  # of all copies: with more, kernels would write to memory what in a network stays in the cache
_WEIGHT_BYTES = 4 * 2**20  # of all copies: more than the innermost caches hold, as in a network, and less than the last one does
_MOST_COPIES = 16
_LARGEST_BYTES = 2**30  # of one kernel's operands

# Their time is not in a signature: it depends on the body that they run and how often.
_BODIES = frozenset({"If", "Loop", "Scan", "SequenceMap"})
_IR_VERSION = 10


class CannotBuildError(UnsupportedError):
    """No model of this kernel alone can be made; the message says why."""


@dataclass(frozen=True)
class SingleKernel:
    """A model with `copies` of one kernel, and arrays for its inputs. To be run without any optimisation."""

    model: bytes
    copies: int
    feeds: Mapping[str, AnyArray]


def copies_of(sig: Signature) -> int:
    """How many copies of a kernel a model may hold so that its outputs stay in the cache."""
    written = max(sum(output.nbytes for output in sig.outputs), 1)
    weights = sum(weight.nbytes for weight in sig.weights)
    return max(1, min(_MOST_COPIES, _OUTPUT_BYTES // written, _WEIGHT_BYTES // max(weights, 1)))


def variants(sig: Signature, block: int = 1, copies: int | None = None, seed: int = 0) -> Iterator[SingleKernel]:
    """Models of the kernel, the likeliest first: the runtime takes an operator only in some domain and some opset, which it does not say.

    `block` is the runtime's number of channels per vector block, to which blocked tensors (`nchwc.`) are padded. Raises CannotBuildError.
    """
    _check(sig)
    count = copies or copies_of(sig)
    physical = _physical(sig, block)
    arrays = _Arrays(sig, physical, count, seed)
    for domain, opset in _placements(sig):
        yield SingleKernel(_model(sig, physical, arrays, count, domain, opset, block), count, arrays.feeds)


def _check(sig: Signature) -> None:
    if sig.operator in _BODIES:
        raise CannotBuildError(f"{sig.operator} runs a body that its signature does not hold")
    operands = [operand for operand in (*sig.operands, *sig.outputs) if operand is not None]
    if any(operand.elem_type == onnx.TensorProto.UNDEFINED for operand in operands):
        raise CannotBuildError("reads or writes something that is no tensor, or whose type is not known")
    if sum(operand.nbytes for operand in operands) > _LARGEST_BYTES:
        raise CannotBuildError("its tensors take more than 1 GiB")
    if any(size == 0 for operand in operands for size in operand.shape) and sig.operator != "Resize":
        raise CannotBuildError("an empty tensor")
    if not sig.outputs:
        raise CannotBuildError("has no output")


def _placements(sig: Signature) -> Iterator[tuple[str, int]]:
    """(domain, opset of ONNX) to try."""
    layout, _, bare = sig.operator.rpartition(".")
    if layout == "nchwc" or bare in ("ReorderInput", "ReorderOutput"):
        yield NCHWC, 17
        return
    if layout:
        yield layout, 17
        return
    since = sig.attribute("opset")
    if isinstance(since, int):
        yield "", since
        return
    opsets = (17, 21, 13, 11, 8)
    own = sig.attribute("channels_last") is not None or not defs.has(sig.operator)
    if own or (sig.operator == "Gelu" and sig.attribute("approximate") is None):
        yield MICROSOFT, 17
    for opset in opsets:
        yield "", opset  # ONNX Runtime has some operators there that ONNX has not
    if not own:
        yield MICROSOFT, 17


def _up(size: int, block: int) -> int:
    return -(-size // block) * block


def _physical(sig: Signature, block: int) -> list[tuple[int, ...] | None]:
    """The shapes of the operands as the runtime holds them."""
    shapes = [None if operand is None else operand.shape for operand in sig.operands]
    if sig.operator == "ReorderOutput" or (sig.operator.startswith("nchwc.") and sig.operator != "nchwc.Conv"):
        return [None if shape is None else (shape[0], _up(shape[1], block), *shape[2:]) for shape in shapes]
    if sig.operator == "nchwc.Conv":
        data, weight = shapes[0], shapes[1]
        assert data is not None
        assert weight is not None
        filters, group = _up(weight[0], block), _group(sig)
        from_image = group == 1 and data[1] < block
        if not from_image:
            shapes[0] = (data[0], _up(data[1], block), *data[2:])
        depth = weight[1] if group > 1 or from_image else _up(weight[1], block)
        shapes[1] = (filters, depth, *weight[2:])
        if len(shapes) > 2 and shapes[2] is not None:
            shapes[2] = (filters,)
        if len(shapes) > 3 and (added := shapes[3]) is not None:
            shapes[3] = (added[0], filters, *added[2:])
    return shapes


def _group(sig: Signature) -> int:
    group = sig.attribute("group", 1)
    return group if isinstance(group, int) else 1


class _Arrays:
    """Inputs shared by all copies, and weights of each copy's own, made once."""

    def __init__(self, sig: Signature, shapes: list[tuple[int, ...] | None], copies: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.feeds: dict[str, AnyArray] = {}
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: list[list[str]] = [[] for _ in range(copies)]
        for slot, (operand, shape) in enumerate(zip(sig.operands, shapes, strict=True)):
            if operand is None or shape is None:
                self._use([""] * copies)
                continue
            array = contents(sig, slot, shape, rng)
            if not operand.constant:
                self.feeds[f"input {slot}"] = array
                self._use([f"input {slot}"] * copies)
            elif operand.nbytes < 64 or operand.elem_type == onnx.TensorProto.STRING:
                self.initializers.append(_tensor(array, operand, f"constant {slot}"))
                self._use([f"constant {slot}"] * copies)
            else:
                first = _tensor(array, operand, f"weight {slot} 0")
                for copy in range(copies):
                    tensor = onnx.TensorProto()
                    tensor.CopyFrom(first)
                    tensor.name = f"weight {slot} {copy}"
                    self.initializers.append(tensor)
                self._use([f"weight {slot} {copy}" for copy in range(copies)])

    def _use(self, names: list[str]) -> None:
        for inputs, name in zip(self.inputs, names, strict=True):
            inputs.append(name)


def _tensor(array: AnyArray, operand: Operand, name: str) -> onnx.TensorProto:
    tensor: onnx.TensorProto = numpy_helper.from_array(array, name)
    tensor.data_type = operand.elem_type
    return tensor


def _model(
    sig: Signature, shapes: list[tuple[int, ...] | None], arrays: _Arrays, copies: int, domain: str, opset: int, block: int
) -> bytes:
    attributes = _attributes(sig, block)
    slots = _output_slots(sig)
    nodes, outputs = [], []
    for copy in range(copies):
        names = [f"output {slot} {copy}" if slot in slots else "" for slot in range(max(slots) + 1)]
        bare = sig.operator.rpartition(".")[2]
        nodes.append(helper.make_node(bare, arrays.inputs[copy], names, f"copy {copy}", domain=domain, **attributes))
        outputs += [
            onnx.ValueInfoProto(name=name, type=helper.make_tensor_type_proto(output.elem_type, None))
            for name, output in zip((name for name in names if name), sig.outputs, strict=True)
        ]
    inputs = [
        helper.make_tensor_value_info(f"input {slot}", operand.elem_type, shape)
        for slot, (operand, shape) in enumerate(zip(sig.operands, shapes, strict=True))
        if operand is not None and not operand.constant
    ]
    graph = helper.make_graph(nodes, "kernel", inputs, outputs, arrays.initializers)
    imports = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return bytes(helper.make_model(graph, ir_version=_IR_VERSION, opset_imports=imports).SerializeToString())


def _output_slots(sig: Signature) -> list[int]:
    """Signatures hold only the outputs that are used: which these are, where that is not the first ones."""
    if sig.operator in ("SkipLayerNormalization", "SkipSimplifiedLayerNormalization") and len(sig.outputs) == 2:
        return [0, 3]  # the sum that was normalised; mean and deviation are for training
    if sig.operator in ("LSTM", "GRU", "RNN") and len(sig.outputs[0].shape) == 3:
        return [place + 1 for place in range(len(sig.outputs))]  # only the last state
    return list(range(len(sig.outputs)))


def _attributes(sig: Signature, block: int) -> dict[str, Any]:
    """The signature's attributes, and those that a signature leaves out but the runtime insists on."""
    found: dict[str, Any] = {name: list(value) if isinstance(value, tuple) else value for name, value in sig.attributes if name != "opset"}
    if sig.operator == "nchwc.Conv" and _group(sig) > 1 and _group(sig) == sig.operands[0].shape[1]:  # type: ignore[union-attr]
        found["group"] = _up(_group(sig), block)
    if sig.operator == "ReorderOutput":
        channels = sig.operands[0].shape[1]  # type: ignore[union-attr]
        found["channels"] = channels
    if sig.operator == "nchwc.Upsample":
        data = sig.operands[0].shape  # type: ignore[union-attr]
        found["scales"] = [after // before for before, after in zip(data, sig.outputs[0].shape, strict=True)]
        if sig.attribute("mode") == "linear":
            found["coordinate_transformation_mode"] = "half_pixel"
    if (parameters := _ACTIVATION_PARAMETERS.get(str(found.get("activation")))) is not None:
        if sig.operator == "FusedGemm":
            names = ("activation_alpha", "activation_beta")
            found |= dict(zip(names, parameters, strict=False))
        else:
            found["activation_params"] = list(parameters)
    if sig.operator.startswith("Reduce") and not sig.operator.startswith("ReduceOutput"):
        found["keepdims"] = int(len(sig.outputs[0].shape) == len(sig.operands[0].shape))  # type: ignore[union-attr]
        if len(sig.operands) > 1:
            found.pop("axes", None)
    if sig.operator == "QuickGelu":
        found.setdefault("alpha", 1.0)  # the signature leaves out what the runtime does not have as its default
    if sig.operator in ("Slice", "Squeeze", "Unsqueeze"):
        found = {} if len(sig.operands) > 1 else found
    if sig.operator == "Split" and len(sig.operands) == 1:
        sizes = {output.shape[int(found.get("axis", 0))] for output in sig.outputs}
        if len(sizes) > 1:
            raise CannotBuildError("parts of unequal size that no input states")
        found["num_outputs"] = len(sig.outputs)
    if sig.operator in ("ArgMax", "ArgMin"):
        found["keepdims"] = int(len(sig.outputs[0].shape) == len(sig.operands[0].shape))  # type: ignore[union-attr]
    if sig.operator == "Cast":
        found["to"] = sig.outputs[0].elem_type
    if sig.operator == "Flatten":
        found["axis"] = 1
    if sig.operator in ("MaxPool", "AveragePool", "nchwc.MaxPool", "nchwc.AveragePool"):
        found["ceil_mode"] = int(_needs_ceiling(sig))
    return found


_ACTIVATION_PARAMETERS = {"Clip": (0.0, 6.0), "LeakyRelu": (0.01,), "HardSigmoid": (0.2, 0.5)}


def _needs_ceiling(sig: Signature) -> bool:
    """Whether the pool's output is one larger than rounding down makes it."""
    data = sig.operands[0].shape[2:]  # type: ignore[union-attr]
    kernel = _list(sig, "kernel_shape", len(data), 1)
    strides, dilations, pads = (
        _list(sig, "strides", len(data), 1),
        _list(sig, "dilations", len(data), 1),
        _list(sig, "pads", 2 * len(data), 0),
    )
    for axis, size in enumerate(data):
        room = size + pads[axis] + pads[axis + len(data)] - dilations[axis] * (kernel[axis] - 1) - 1
        if sig.outputs[0].shape[2 + axis] > room // strides[axis] + 1:
            return True
    return False


def _list(sig: Signature, name: str, count: int, default: int) -> list[int]:
    found = sig.attribute(name)
    return [int(item) for item in found] if isinstance(found, tuple) else [default] * count
