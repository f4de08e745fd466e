"""What ONNX Runtime executes of a model after its own optimisation, as signatures."""

from __future__ import annotations

import os
import re
import tempfile
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from graphopt.cost.attributes import NCHWC, operator_name, timed_attributes
from graphopt.cost.kernel import Operand, Signature, signature
from graphopt.cost.open_shapes import FixedSizes
from graphopt.cost.profile.session import CPU, elem_type, open_session
from graphopt.cost.sizes import fixed_types, free_dimensions, state_sizes
from graphopt.errors import RuntimeRefusedError
from graphopt.ir import Graph, load, save
from graphopt.quality.arrays import AnyArray

Source = Graph | str | os.PathLike[str]
Shape = tuple[int, ...]

_LARGEST_CONSTANT = 64  # elements of an input that states axes or steps
# The runtime names a blocked kernel after the value of the model that it computes, of a BatchNormalization with _bn behind that; a number
# follows where the name was taken.
_BLOCKED_NAME = re.compile(r"(.*)_nchwc(?:_token_\d+)?")


def asked(model: Source, sizes: FixedSizes | None = None, threads: int = 1, provider: str = CPU) -> list[Signature]:
    """The kernels of one run of `model` in the order in which ONNX Runtime would run them, each as often as it runs.

    Free dimensions of the inputs are as in `sizes`, otherwise 1. Shapes are those of the model: channels that the runtime pads
    to its blocks count unpadded. Kernels inside the subgraphs of If, Loop and Scan are not listed. Raises RuntimeRefusedError where ONNX
    Runtime does not take the model, or where the provider compiles the graph, so that there are no kernels to show.
    """
    return optimized(model, sizes, threads, provider)[1]


def optimized(
    model: Source, sizes: FixedSizes | None = None, threads: int = 1, provider: str = CPU
) -> tuple[onnx.ModelProto, list[Signature]]:
    """The graph that ONNX Runtime makes of `model`, and the signatures of its nodes but for Constants, in the order of the nodes.

    All as in `asked`. The contents of large weights are not in the result, only their shapes.
    """
    graph = model if isinstance(model, Graph) else load(model)
    with tempfile.TemporaryDirectory(prefix="graphopt-", ignore_cleanup_errors=True) as folder:
        path = fixed_file(model, graph, sizes, Path(folder))
        written = Path(folder) / "optimized.onnx"
        open_session(path, threads, provider, optimize=True, optimized_path=str(written))
        if not written.exists():
            raise RuntimeRefusedError(f"{provider} does not show the graph that it executes, so its kernels cannot be measured one by one")
        found = onnx.load(written, load_external_data=False)
        return found, _Optimized(found, Path(folder), graph, sizes, threads).signatures()


def fixed_file(model: Source, graph: Graph, sizes: FixedSizes | None, folder: Path) -> str:
    """A file of the model without free dimensions in its inputs: its own file where it has none, else one in `folder`."""
    free = any(free_dimensions(graph))
    sizes = sizes or FixedSizes({}, {})
    if not free and not sizes.shapes and not isinstance(model, Graph):
        return os.fspath(model)
    path = folder / "model.onnx"
    save(graph, path)
    if free or sizes.shapes:
        proto = onnx.load(path, load_external_data=False)
        state_sizes(proto, sizes.dimensions, sizes.shapes)
        del proto.graph.value_info[:]  # may name the free dimensions
        path.write_bytes(proto.SerializeToString())
    return str(path)


class _Optimized:
    """The graph that ONNX Runtime executes, beside the one it was made from."""

    def __init__(self, model: onnx.ModelProto, folder: Path, source: Graph, sizes: FixedSizes | None, threads: int) -> None:
        self._model, self._folder, self._source, self._sizes, self._threads = model, folder, source, sizes, threads
        self._opset = next((given.version for given in model.opset_import if given.domain in ("", "ai.onnx")), None)
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._operands = {name: Operand(tuple(tensor.dims), tensor.data_type, True) for name, tensor in self._constants.items()}
        for node in model.graph.node:
            if node.op_type == "Constant" and node.domain == "":
                self._constants[node.output[0]] = next(a.t for a in node.attribute if a.name == "value")
                self._operands[node.output[0]] = Operand(tuple(self._constants[node.output[0]].dims), node.attribute[0].t.data_type, True)
        self._channels: dict[str, int] = {}  # of the values in blocks, without padding

    def signatures(self) -> list[Signature]:
        self._operands |= self._types()
        nodes = [node for node in self._model.graph.node if node.op_type != "Constant"]
        for node in nodes:
            self._note_channels(node)
        return [self._signature(node) for node in nodes]

    def _types(self) -> dict[str, Operand]:
        """Types and shapes of all values, as ONNX Runtime infers them; where that leaves some open, from a run."""
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        inner = {info.name for info in model.graph.output}
        names = [name for node in model.graph.node for name in node.output if name and name not in self._constants]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in inner)
        session = open_session(self._write(model), self._threads, optimize=False, prepack=False)
        types = {value.name: (elem_type(value.type), value.shape) for value in (*session.get_inputs(), *session.get_outputs())}
        open_ones = [name for name, (kind, shape) in types.items() if kind and not all(isinstance(size, int) for size in shape)]
        measured = self._run(open_ones) if open_ones else {}
        return {name: Operand(measured.get(name) or tuple(shape), kind) for name, (kind, shape) in types.items() if kind}

    def _run(self, names: list[str]) -> dict[str, Shape]:
        """The shapes that values have in one run on made-up inputs. Each leaves the session as a few numbers, not as itself."""
        from graphopt.quality.inputs import synthetic_inputs

        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        del model.graph.output[:]
        shapes = [f"graphopt shape {place}" for place in range(len(names))]
        for name, output in zip(names, shapes, strict=True):
            model.graph.node.append(onnx.helper.make_node("Shape", [name], [output]))
            model.graph.output.append(onnx.helper.make_tensor_value_info(output, onnx.TensorProto.INT64, None))
        session = open_session(self._write(model), self._threads, optimize=False, prepack=False)
        plain = onnx.ModelProto(ir_version=model.ir_version)
        plain.opset_import.extend(model.opset_import)
        plain.graph.name = "inputs"
        plain.graph.input.extend(model.graph.input)
        feeds = next(synthetic_inputs(Graph.from_proto(plain)).runs())
        try:
            results = session.run(shapes, dict(feeds))
        except Exception as error:
            raise RuntimeRefusedError(f"ONNX Runtime cannot run the model: {' '.join(str(error).split())[:300]}") from error
        return {name: tuple(int(size) for size in result) for name, result in zip(names, results, strict=True)}

    def _write(self, model: onnx.ModelProto) -> str:
        """A file beside the weights. The runtime leaves some nodes without a name of their own, which it does not take back."""
        for place, node in enumerate(model.graph.node):
            node.name = f"node {place}"
        path = self._folder / "with_outputs.onnx"
        path.write_bytes(model.SerializeToString())
        return str(path)

    def _note_channels(self, node: onnx.NodeProto) -> None:
        """Note how many channels of a blocked result are the model's own."""
        if node.domain != NCHWC and not any(name in self._channels for name in node.input):
            return
        if node.op_type == "ReorderOutput":
            return
        own = next((self._channels[name] for name in node.input if name in self._channels), None)
        for name in node.output:
            physical = self._operands[name].shape
            if len(physical) < 2 or (node.domain != NCHWC and not self._is_blocked_like(node, physical)):
                continue
            if node.op_type == "ReorderInput":
                shape = self._operands[node.input[0]].shape
                self._channels[name] = shape[-1] if _last(node) else shape[1]
            elif node.op_type == "Concat":
                self._channels[name] = physical[1]  # only whole blocks are joined
            else:
                stated = self._stated_channels(node, physical)
                same = own if own is not None and node.op_type != "Conv" else None
                self._channels[name] = stated or same or physical[1]

    def _is_blocked_like(self, node: onnx.NodeProto, physical: Shape) -> bool:
        """Whether an ordinary kernel works on blocked values as they lie: all that it reads is blocked and as large as what it writes."""
        return all(name in self._channels for name in node.input if name and name not in self._constants) and len(physical) == 4

    def _stated_channels(self, node: onnx.NodeProto, physical: Shape) -> int | None:
        """The channels of the model's value after which the kernel is named."""
        match = _BLOCKED_NAME.fullmatch(node.name)
        shapes = self._source_shapes
        shape = (shapes.get(match[1]) or shapes.get(match[1].removesuffix("_bn"))) if match else None
        if shape is None or len(shape) != len(physical) or not 0 <= physical[1] - shape[1] < max(physical[1], 1):
            return None
        return shape[1]

    @cached_property
    def _source_shapes(self) -> dict[str, Shape]:
        types = fixed_types(self._source, self._sizes.dimensions, self._sizes.shapes) if self._sizes else fixed_types(self._source)
        return {value.name: shape for value, known in types.by_value.items() if (shape := known.static) is not None}

    def _logical(self, name: str) -> Operand | None:
        """The operand with the model's own number of channels."""
        if not name:
            return None
        operand = self._operands.get(name)
        if operand is None:  # a sequence, a map, or a value that a subgraph is given
            return Operand((), onnx.TensorProto.UNDEFINED)
        channels = self._channels.get(name)
        return operand if channels is None else _with_channels(operand, channels)

    def _signature(self, node: onnx.NodeProto) -> Signature:
        operator = operator_name(node.domain, node.op_type)
        operands = [self._logical(name) for name in node.input]
        outputs = [operand for name in node.output if (operand := self._logical(name)) is not None]
        attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        if operator == "nchwc.Conv":
            attributes["group"] = self._unpad(attributes.get("group", 1), operands, outputs[0])
        first = operands[0] if operands else None
        if "kernel_shape" not in attributes and node.op_type in ("Conv", "FusedConv", "ConvTranspose") and operands[1] is not None:
            attributes["kernel_shape"] = operands[1].shape[2:]
        rank = len(first.shape) if first else None
        timed = timed_attributes(operator, attributes, rank, lambda slot: self._integers(node, slot), self._opset)
        return signature(operator, operands, outputs, timed)

    def _unpad(self, group: int, operands: list[Operand | None], output: Operand) -> int:
        """Take the padding out of a blocked convolution's weight and bias; the number of groups of the model."""
        data, weight = operands[0], operands[1]
        assert data is not None
        assert weight is not None
        channels, filters = data.shape[1], output.shape[1]
        depthwise = group > 1 and weight.shape[1] == 1 and group >= channels
        group = channels if depthwise else group
        operands[1] = Operand((filters, channels // group, *weight.shape[2:]), weight.elem_type, weight.constant)
        bias = operands[2] if len(operands) > 2 else None
        if bias is not None:
            operands[2] = Operand((filters,), bias.elem_type, bias.constant)
        return group

    def _integers(self, node: onnx.NodeProto, slot: int) -> list[int] | None:
        tensor = self._constants.get(node.input[slot]) if slot < len(node.input) else None
        if tensor is None or tensor.data_type not in (onnx.TensorProto.INT32, onnx.TensorProto.INT64):
            return None
        if np.prod(tensor.dims) > _LARGEST_CONSTANT:
            return None
        contents: AnyArray = numpy_helper.to_array(tensor)
        return [int(item) for item in contents.ravel()]


def _with_channels(operand: Operand, channels: int) -> Operand:
    return Operand((operand.shape[0], channels, *operand.shape[2:]), operand.elem_type, operand.constant)


def _last(node: onnx.NodeProto) -> bool:
    return any(attribute.name == "channels_last" and attribute.i for attribute in node.attribute)
