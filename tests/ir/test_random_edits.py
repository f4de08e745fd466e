"""Any sequence of edits leaves a consistent graph that survives a round trip, satisfies the checker, and whose types are fresh."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import graphopt.ir as ir
from graphopt.errors import EditError, InvalidModelError
from tests.ir import features
from tests.ir.invariants import check_invariants
from tests.models import serialised

# Every value is a float [2] but for the If's condition, so that any edit leaves a model that makes sense.
STARTS = [
    "duplicate_outputs",
    "nested_subgraphs_with_captures",
    "subgraph_outputs_from_outer_scope",
    "quantization_annotation",
    "training_info_with_bindings",
    "functions",
    "ir_3",
]


def start(name: str) -> ir.Graph:
    model = features.build(name)
    for entry in (*model.graph.input, *model.graph.output):
        if entry.name in ("bx", "by"):
            entry.type.tensor_type.shape.dim[0].dim_value = 2
    model.graph.node.insert(1, onnx.helper.make_node("Identity", ["x"], ["copy"], name="identity"))
    model.graph.node.append(onnx.helper.make_node("Add", ["copy", "w"], ["sum"], name="sum"))
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("sum", 1, [2]))
    return ir.Graph.from_proto(model)


class Edits(RuleBasedStateMachine):
    graph: ir.Graph
    checked: bool

    @initialize(name=st.sampled_from(STARTS))
    def begin(self, name: str) -> None:
        self.graph = start(name)
        self.checked = name != "subgraph_outputs_from_outer_scope"  # which is loaded all the same, as ONNX Runtime does

    def draw_graph(self, data: st.DataObject) -> ir.Graph:
        graphs = [self.graph, *(subgraph for node in self.graph.walk() for subgraph in node.subgraphs)]
        return data.draw(st.sampled_from(graphs))

    def draw_value(self, data: st.DataObject, graph: ir.Graph, own: bool = False) -> ir.Value:
        values = [v for v in graph.nx if isinstance(v, ir.Value) and v.name != "cond" and (v.graph is graph or not own)]
        around = graph.parent
        while around is not None and not own:
            values += [v for v in around.nx if isinstance(v, ir.Value) and v.name != "cond"]
            around = around.parent
        return data.draw(st.sampled_from(sorted(set(values), key=lambda v: v.name)))

    def draw_node(self, data: st.DataObject, graph: ir.Graph) -> ir.Node | None:
        return data.draw(st.sampled_from(graph.nodes)) if graph.nodes else None

    def attempt(self, what: str, edit: Any) -> None:
        """An edit is refused whole or done whole; one that closes a cycle is taken back by way of a copy."""
        before, copy, version = serialised(self.graph.to_proto()), self.graph.copy(), self.graph.version
        try:
            edit()
        except EditError as error:
            note(f"{what}: {error}")
            assert serialised(self.graph.to_proto()) == before
            return
        note(what)
        try:
            check_acyclic(self.graph)
        except InvalidModelError:
            self.graph = copy
            return
        assert self.graph.version > version or serialised(self.graph.to_proto()) == before

    @rule(data=st.data(), op=st.sampled_from(["Relu", "Identity", "Add"]), name=st.sampled_from(["n", "copy", "then_in", "w"]))
    def add_node(self, data: st.DataObject, op: str, name: str) -> None:
        graph = self.draw_graph(data)
        inputs = [self.draw_value(data, graph) for _ in range(2 if op == "Add" else 1)]
        at = data.draw(st.sampled_from([None, *graph.nodes]))
        unique = data.draw(st.booleans())
        self.attempt(f"add {op} {name}", lambda: graph.add_node(op, inputs, [graph.unique_name(name) if unique else name], at=at))

    @rule(data=st.data(), name=st.sampled_from(["i", "copy", "then_own"]), lazy=st.booleans())
    def add_initializer(self, data: st.DataObject, name: str, lazy: bool) -> None:
        graph = self.draw_graph(data)
        array = np.float32([1, 2])
        self.attempt(
            f"add initializer {name}",
            lambda: graph.add_initializer(graph.unique_name(name), ir.LazyTensor(1, (2,), lambda: array) if lazy else array),
        )

    @rule(data=st.data())
    def set_input(self, data: st.DataObject) -> None:
        graph = self.draw_graph(data)
        node, value = self.draw_node(data, graph), self.draw_value(data, graph)
        if node is not None and node.op_type != "If" and node.inputs:
            slot = data.draw(st.integers(0, len(node.inputs) - 1))
            self.attempt(f"set input {slot} of {node.label} to {value.name}", lambda: graph.set_input(node, slot, value))

    @rule(data=st.data())
    def replace_uses(self, data: st.DataObject) -> None:
        graph = self.draw_graph(data)
        old, new = self.draw_value(data, graph), self.draw_value(data, graph)
        self.attempt(f"replace {old.name} by {new.name} in {graph.name}", lambda: graph.replace_uses(old, new))

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        graph = self.draw_graph(data)
        node = self.draw_node(data, graph)
        if node is not None:
            self.attempt(f"remove {node.label}", lambda: graph.remove(node))

    @rule(data=st.data())
    def bypass(self, data: st.DataObject) -> None:
        graph = self.draw_graph(data)
        node = self.draw_node(data, graph)
        if node is not None and node.op_type in ("Identity", "Relu", "Neg"):
            before, outputs = self.graph.version, [v.name for v in graph.outputs]
            done: list[bool] = []
            self.attempt(f"bypass {node.label}", lambda: done.append(graph.bypass(node)))
            assert done
            assert done[0] or self.graph.version == before
            if self.graph.version >= before:
                assert [v.name for v in graph.outputs] == outputs or graph.parent is not None

    @rule(data=st.data())
    def remove_initializer(self, data: st.DataObject) -> None:
        graph = self.draw_graph(data)
        value = self.draw_value(data, graph, own=True) if list(graph.initializers) else None
        if value is not None:
            self.attempt(f"remove initializer {value.name}", lambda: graph.remove_initializer(value))

    @rule(data=st.data(), new=st.sampled_from(["n", "renamed", "then_own", "y", "x"]))
    def rename(self, data: st.DataObject, new: str) -> None:
        graph = self.draw_graph(data)
        value = self.draw_value(data, graph, own=True) if graph.values else None
        if value is not None:
            self.attempt(f"rename {value.name} to {new}", lambda: graph.rename(value, new))

    @rule(data=st.data(), contents=st.sampled_from([np.float32([3, 4]), np.float32([5, 6])]))
    def set_tensor(self, data: st.DataObject, contents: np.ndarray) -> None:
        graph = self.draw_graph(data)
        dense = [v for v in graph.initializers if v.tensor is not None and v.tensor.shape == (2,)]
        if dense:
            value = data.draw(st.sampled_from(dense))
            self.attempt(f"set tensor {value.name}", lambda: graph.set_tensor(value, contents))

    @rule()
    def go_on_with_a_copy(self) -> None:
        before = serialised(self.graph.to_proto())
        self.graph = self.graph.copy()
        assert serialised(self.graph.to_proto()) == before

    @rule()
    def go_on_with_what_was_saved(self) -> None:
        self.graph = ir.Graph.from_proto(self.graph.to_proto())

    @invariant()
    def is_consistent(self) -> None:
        if not hasattr(self, "graph"):
            return
        check_invariants(self.graph)
        model = self.graph.to_proto()
        again = ir.Graph.from_proto(model)
        assert serialised(again.to_proto()) == serialised(model)
        if self.checked:
            onnx.checker.check_model(model)
        bare = onnx.ModelProto.FromString(serialised(model))
        del bare.graph.value_info[:]
        fresh = {
            value.name: type_
            for value, type_ in ir.Graph.from_proto(bare).types().items()
            if value.graph is not None and value.graph.parent is None
        }
        mine = {value.name: type_ for value, type_ in self.graph.types().items() if value.graph is self.graph}
        assert fresh == mine


def check_acyclic(graph: ir.Graph) -> None:
    for node in graph.nodes:
        for subgraph in node.subgraphs:
            check_acyclic(subgraph)


Edits.TestCase.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
TestEdits = Edits.TestCase
