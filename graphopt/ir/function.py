"""Functions of a model: bodies that nodes call by (domain, name, overload)."""

from __future__ import annotations

import onnx

from graphopt.ir.external import DataFolder
from graphopt.ir.graph import Graph


class Function:
    """A function of the model; its body becomes a `Graph` when it is first asked for."""

    def __init__(self, proto: onnx.FunctionProto, model: onnx.ModelProto, folder: DataFolder) -> None:
        self.proto = proto
        self._folder = folder
        self._ir_version = model.ir_version
        self._body: Graph | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """(domain, name, overload): what a calling node states."""
        return self.proto.domain, self.proto.name, self.proto.overload

    @property
    def body(self) -> Graph:
        """The body as a graph, to be read and edited; its inputs and outputs have no types."""
        if self._body is None:
            from graphopt.ir.build import build_graph

            body = Graph()
            body.folder = self._folder
            body.model.ir_version = self._ir_version
            body.model.opset_import.extend(self.proto.opset_import)
            message = onnx.GraphProto(name=self.proto.name)
            message.node.extend(self.proto.node)
            message.value_info.extend(self.proto.value_info)
            message.input.extend(onnx.ValueInfoProto(name=name) for name in self.proto.input)
            message.output.extend(onnx.ValueInfoProto(name=name) for name in self.proto.output)
            build_graph(body, message)
            self._body = body
        return self._body

    def to_proto(self) -> onnx.FunctionProto:
        """The function's message; the loaded one where the body was not edited."""
        if self._body is None or self._body.version == 0:
            return self.proto
        from graphopt.ir.emit import emit_graph

        message = emit_graph(self._body)
        proto = onnx.FunctionProto()
        proto.CopyFrom(self.proto)
        for field in ("node", "value_info", "input", "output"):
            proto.ClearField(field)
        proto.node.extend(message.node)
        proto.value_info.extend(message.value_info)
        proto.input.extend(info.name for info in message.input)
        proto.output.extend(info.name for info in message.output)
        return proto

    def __repr__(self) -> str:
        return f"Function({'.'.join(part for part in self.key if part)})"
