"""The graph: nodes and values as vertices of a `networkx.MultiDiGraph`, changed only through the methods here, which keep it consistent."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy.typing as npt
import onnx

from graphopt.errors import EditError, UnsupportedError
from graphopt.ir import references, scope
from graphopt.ir.external import DataFolder
from graphopt.ir.infos import with_tensor_type
from graphopt.ir.node import AttributeValue, Node, Value, make_attribute
from graphopt.ir.order import in_order
from graphopt.ir.tensors import AnyArray, Tensor, as_tensor

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from graphopt.ir.function import Function
    from graphopt.ir.types import TensorType


class Graph:
    """A model's graph, or a subgraph of an If, Loop or Scan, or the body of a function.

    `nx` is a `networkx.MultiDiGraph` whose vertices are `Node`s and `Value`s. An edge value → node has the input slot as its key, node →
    value the output slot; a negative key value → node is a capture: the node's subgraphs read the value. `nx` is for reading; edits go
    through the methods, which raise EditError rather than leave the graph inconsistent.
    """

    def __init__(self, parent: Graph | None = None) -> None:
        self.nx: nx.MultiDiGraph[Any] = nx.MultiDiGraph()
        self.parent = parent
        self.owner: Node | None = None  # the node whose attribute this graph is
        self.version = 0  # grows with every edit, here or in a subgraph
        self.folder = DataFolder(None)
        self.model = onnx.ModelProto()  # of the root: everything of the file but its graph
        self.message = onnx.GraphProto()  # everything of the graph but its nodes, values and tensors
        self.value_infos: list[tuple[onnx.ValueInfoProto, Value | None]] = []
        self.edited: set[Node | Value] = set()  # where edits happened: what lies downstream may have new shapes
        self.functions: tuple[Function, ...] = ()
        self._opsets: dict[str, int] | None = None
        self._values: dict[str, Value] = {}
        self._inputs: dict[Value, onnx.ValueInfoProto] = {}
        self._outputs: list[Value] = []
        self._output_infos: list[onnx.ValueInfoProto] = []
        self._initializers: dict[Value, None] = {}
        self._owners: dict[Node, None] = {}  # the nodes that have subgraphs
        self._node_count = 0
        self._nodes: tuple[Node, ...] | None = None
        self._types: tuple[int, dict[Value, TensorType]] | None = None
        self._named_types: tuple[int, dict[Value, TensorType]] | None = None

    # ---- reading

    @staticmethod
    def from_proto(model: onnx.ModelProto, path: str | os.PathLike[str] | None = None) -> Graph:
        """The graph of a model; `path` is where its external data is looked for. Raises InvalidModelError, ExternalDataError."""
        from graphopt.ir.build import build_model

        own = onnx.ModelProto()
        own.CopyFrom(model)
        return build_model(own, path)

    def to_proto(self) -> onnx.ModelProto:
        """The model with every weight inside the message. Raises UnsupportedError for over 2 GB of them; `save` knows no limit."""
        from graphopt.ir.emit import emit_model

        size = sum(value.tensor.nbytes for value in self.initializers if value.tensor is not None)
        if size >= 2**31:
            raise UnsupportedError(
                f"the model has {size / 1e9:.1f} GB of weights, and one message holds at most 2 GB; save it to a file instead"
            )
        return emit_model(self)

    def copy(self) -> Graph:
        """An independent copy; tensors, which are immutable, are shared."""
        from graphopt.ir.emit import copy_model

        if self.parent is not None:
            raise EditError("a subgraph is copied with its model; call copy() on graph.root")
        return copy_model(self)

    def to_graphsurgeon(self) -> gs.Graph:
        """The model as an `onnx_graphsurgeon.Graph`. Raises UnsupportedError for what graphsurgeon cannot hold."""
        from graphopt.ir.surgeon import to_graphsurgeon

        return to_graphsurgeon(self)

    @staticmethod
    def from_graphsurgeon(graph: gs.Graph, original: Graph | None = None) -> Graph:
        """A graph from graphsurgeon; `original`, the graph it was made from, gives back what graphsurgeon does not carry."""
        from graphopt.ir.surgeon import from_graphsurgeon

        return from_graphsurgeon(graph, original)

    @property
    def root(self) -> Graph:
        """The model's own graph, or the function's body."""
        graph = self
        while graph.parent is not None:
            graph = graph.parent
        return graph

    @property
    def name(self) -> str:
        return self.message.name

    @property
    def ir_version(self) -> int:
        return self.root.model.ir_version

    @property
    def opsets(self) -> dict[str, int]:
        """Version by domain, with ONNX's own domain as the empty string."""
        root = self.root
        if root._opsets is None:
            root._opsets = {"" if o.domain == "ai.onnx" else o.domain: o.version for o in root.model.opset_import}
        return dict(root._opsets)

    def opset(self, domain: str = "") -> int | None:
        """The imported version of a domain's operator set, None where the model does not import it."""
        return self.opsets.get(domain)

    @property
    def inputs(self) -> tuple[Value, ...]:
        return tuple(self._inputs)

    @property
    def outputs(self) -> tuple[Value, ...]:
        """The graph's outputs in order; one value may be listed twice."""
        return tuple(self._outputs)

    @property
    def initializers(self) -> tuple[Value, ...]:
        """Dense and sparse initializers, in the file's order."""
        return tuple(self._initializers)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes in topological order, otherwise in the file's. Raises InvalidModelError for a cycle."""
        if self._nodes is None:
            self._nodes = in_order(self.nx)
        return self._nodes

    @property
    def values(self) -> Mapping[str, Value]:
        """The values that this graph itself defines, by name."""
        return self._values

    def walk(self) -> Iterator[Node]:
        """The nodes of this graph and of every subgraph in it, each before its subgraphs' own."""
        for node in self.nodes:
            yield node
            for graph in node.subgraphs:
                yield from graph.walk()

    def value(self, name: str) -> Value:
        """The value of that name in this graph. Raises EditError where there is none."""
        try:
            return self._values[name]
        except KeyError:
            raise EditError(f"graph {self.name!r} has no value {name!r}") from None

    def has_value(self, name: str) -> bool:
        return name in self._values

    def consumers(self, value: Value) -> list[tuple[Node, int]]:
        """(node, input slot) of every use of `value` by this graph's nodes; a negative slot is a use inside the node's subgraphs."""
        return [(node, slot) for _, node, slot in self.nx.out_edges(value, keys=True)] if value in self.nx else []

    def is_input(self, value: Value) -> bool:
        return value in self._inputs

    def is_output(self, value: Value) -> bool:
        return value in self._outputs

    def captured(self) -> list[Value]:
        """Values of outer scopes that this graph's nodes read or that it hands out."""
        return [v for v in self.nx if isinstance(v, Value) and v.graph is not self and (self.nx.out_degree(v) or v in self._outputs)]

    def pinned(self, value: Value) -> bool:
        """Whether something other than a node refers to `value` by name: training information or a quantization annotation."""
        return value.name in references.pinned_names(self)

    def constant(self, value: Value | None) -> AnyArray | None:
        """The contents of a value that is fixed in the file: an initializer that is no graph input, or a Constant node's output.

        Identity nodes are looked through. None for everything else.
        """
        from graphopt.ir.constants import constant

        return constant(value)

    def types(self) -> Mapping[Value, TensorType]:
        """Element type and shape of every tensor value that is known, of the subgraphs' values too; never stale."""
        root = self.root
        if root._types is None or root._types[0] != root.version:
            root._types = (root.version, {value: known.plain for value, known in self.named_types().items()})
        return root._types[1]

    def named_types(self) -> Mapping[Value, TensorType]:
        """As `types`, with a name for every dimension that has neither size nor name, `?x:0` say: equal names, equal sizes."""
        from graphopt.ir.shapes import infer_types

        root = self.root
        if root._named_types is None or root._named_types[0] != root.version:
            root._named_types = (root.version, infer_types(root))
        return root._named_types[1]

    def shape(self, value: Value) -> tuple[int | str | None, ...] | None:
        """The shape of `value`: ints, names of symbolic dimensions, None for unknown ones; None where the rank is unknown."""
        known = self.types().get(value)
        return known.shape if known is not None else None

    # ---- editing

    def unique_name(self, hint: str) -> str:
        """`hint`, or `hint_1`, `hint_2`, ...: a name that no value of this model has."""
        taken = scope.names(self)
        return hint if hint not in taken else next(name for i in itertools.count(1) if (name := f"{hint}_{i}") not in taken)

    def add_node(
        self,
        op_type: str,
        inputs: Iterable[Value | None],
        outputs: Iterable[str],
        attributes: Mapping[str, AttributeValue] | None = None,
        *,
        name: str = "",
        domain: str = "",
        at: Node | None = None,
    ) -> Node:
        """Add a node that writes new values named `outputs` (an empty name: an absent output).

        It is placed before `at` in the file, or as early as its inputs allow. Raises EditError for a name that is taken.
        """
        read = tuple(inputs)
        for value in read:
            scope.check_in_scope(self, value)
        written = list(outputs)
        for output in filter(None, written):
            scope.check_free(self, output)
        if len(set(filter(None, written))) < len(list(filter(None, written))):
            raise EditError(f"a node cannot write one value twice: {written}")
        if at is not None:
            scope.check_mine(self, at)
        proto = onnx.NodeProto(op_type=op_type, name=name, domain=domain)
        proto.attribute.extend(make_attribute(key, value) for key, value in (attributes or {}).items())
        before = [v.producer.order for v in read if v is not None and v.producer is not None and v.producer.graph is self]
        place = at.order[0] - 0.5 if at is not None else max(before, default=(-1.0, 0))[0]
        node = self.insert(proto, place)
        node.owns_proto = node.stale = True
        self._connect_outputs(node, tuple(self.define(output) if output else None for output in written))
        self._connect_inputs(node, read)
        if any(attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for attribute in proto.attribute):
            from graphopt.ir.build import build_subgraphs

            build_subgraphs(self, node)
        self.touch(node)
        return node

    def add_initializer(self, name: str, contents: npt.ArrayLike | Tensor) -> Value:
        """Add an initializer. Raises EditError for a name that is taken."""
        scope.check_free(self, name)
        contents = as_tensor(contents)
        value = self.define(name)
        value.tensor = tensor = as_tensor(contents)
        self._initializers[value] = None
        if self.ir_version < 4 and self.parent is None:  # where every initializer is listed as an input too
            value.info = self._inputs[value] = with_tensor_type(onnx.ValueInfoProto(name=name), tensor.elem_type, tensor.shape)
        self.touch(value)
        return value

    def set_input(self, node: Node, slot: int, value: Value | None) -> None:
        """Make `node` read `value` in `slot`; slots up to it are filled with absent inputs, absent ones at the end are dropped."""
        scope.check_mine(self, node)
        scope.check_in_scope(self, value)
        if slot < 0:
            raise EditError(f"node {node.label} has no input slot {slot}")
        inputs = [*node.inputs, *[None] * (slot + 1 - len(node.inputs))]
        old, inputs[slot] = inputs[slot], value
        while value is None and inputs and inputs[-1] is None and slot >= len(inputs) - 1:
            inputs.pop()
        node.inputs = tuple(inputs)
        self._nodes = None
        if old is not None:
            self.nx.remove_edge(old, node, slot)
            self._drop_unused_outer([old])
        if value is not None:
            self.nx.add_edge(value, node, slot)
            if value.graph is not self:
                self._captures_changed()
        node.stale = True
        self.touch(node)

    def set_attribute(self, node: Node, name: str, value: AttributeValue | None) -> None:
        """Set an attribute, or delete it with None. Subgraphs are changed in place instead."""
        scope.check_mine(self, node)
        made = None if value is None else make_attribute(name, value)
        graphs = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
        if name in node.subgraphs_by_attribute or (made is not None and made.type in graphs):
            raise EditError(f"attribute {name!r} of node {node.label} is a subgraph; change the subgraph itself, or add a new node")
        proto = node.own_proto()
        place = next((i for i, attribute in enumerate(proto.attribute) if attribute.name == name), None)
        if made is not None and place is not None:
            proto.attribute[place].CopyFrom(made)
        elif made is not None:
            proto.attribute.append(made)
        elif place is not None:
            del proto.attribute[place]
        self.touch(node)

    def set_tensor(self, value: Value, contents: npt.ArrayLike | Tensor) -> None:
        """Give an initializer new contents; its shape and type may change. The stated type of an initializer that is an input follows."""
        if value not in self._initializers or value.sparse is not None:
            raise EditError(f"{value.name!r} is not a dense initializer of graph {self.name!r}")
        tensor = as_tensor(contents)
        value.tensor = tensor
        if value in self._inputs:
            self._inputs[value] = value.info = with_tensor_type(self._inputs[value], tensor.elem_type, tensor.shape)
        self.touch(value)

    def declare(self, value: Value, elem_type: int, shape: Sequence[int | str | None] | None) -> None:
        """State the type of an input or output of the graph, which becomes part of its interface. Raises EditError for any other value."""
        if value not in self._inputs and value not in self._outputs:
            raise EditError(f"{value.name!r} is neither an input nor an output of graph {self.name!r}")
        if value in self._inputs:
            self._inputs[value] = value.info = with_tensor_type(self._inputs[value], elem_type, shape)
        for place, output in enumerate(self._outputs):
            if output is value:
                self._output_infos[place] = value.info = with_tensor_type(self._output_infos[place], elem_type, shape)
        self.touch(value)

    def replace_uses(self, old: Value, new: Value) -> None:
        """Make every node, in subgraphs too, read `new` where it read `old`. Raises EditError where `old` is a graph output.

        A subgraph that hands out `old`, a value around it, hands out `new`.
        """
        scope.check_in_scope(self, old)
        scope.check_in_scope(self, new)
        if old in self._outputs:
            if old.graph is self:
                raise EditError(f"{old.name!r} is an output of graph {self.name!r}; its readers cannot all be moved")
            self._outputs = [new if value is old else value for value in self._outputs]
            self.nx.add_node(new)
            self._drop_unused_outer([old])
            self._captures_changed()
            self.touch(self.owner)
        for node in dict.fromkeys(node for node, _ in self.consumers(old)):
            for graph in node.subgraphs:
                if old in graph.nx:
                    graph.replace_uses(old, new)
            for slot, value in enumerate(node.inputs):
                if value is old:
                    self.set_input(node, slot, new)

    def bypass(self, node: Node) -> bool:
        """Delete a node that hands its first input on as its first output, and whose other outputs are unused.

        Where the output is a graph output its name is kept, by renaming what the input's producer writes; where that is impossible
        (the input is a graph input, an initializer, another graph output, or of an outer scope), nothing happens and the answer is False.
        """
        scope.check_mine(self, node)
        source, output = node.input(0), node.output()
        if source is None or any(v is not None and (self.consumers(v) or v in self._outputs) for v in node.outputs[1:]):
            return False
        if not self.is_output(output):
            self.replace_uses(output, source)
            self.remove(node)
            return True
        if source.producer is None or source.graph is not self or source in self._outputs or self.pinned(source) or self.pinned(output):
            return False
        name, infos, places = output.name, self._output_infos, [i for i, v in enumerate(self._outputs) if v is output]
        for place in places:
            self._outputs[place] = source
        self.replace_uses(output, source)
        self.remove(node)
        source.info = infos[places[0]]
        self.rename(source, name)
        return True

    def remove(self, node: Node) -> None:
        """Remove a node and the values it writes. Raises EditError while one of them is used."""
        scope.check_mine(self, node)
        for value in node.outputs:
            if value is not None:
                scope.check_unused(self, value)
        self.edited.update(v for v in node.inputs if v is not None)
        captured = node.captures
        self.nx.remove_node(node)
        for value in node.outputs:
            if value is not None:
                self._forget(value)
        self.edited.discard(node)
        self._owners.pop(node, None)
        node.graph = None
        self._drop_unused_outer([*node.inputs, *captured])
        self._nodes = None
        self.touch(None)

    def remove_initializer(self, value: Value) -> None:
        """Remove an initializer. Raises EditError while it is used, is a graph input (of its own right: from IR 4 on), or is pinned."""
        if value not in self._initializers:
            raise EditError(f"{value.name!r} is not an initializer of graph {self.name!r}")
        if value in self._inputs and self.ir_version >= 4:
            raise EditError(f"initializer {value.name!r} is also an input of graph {self.name!r}; inputs are part of the interface")
        scope.check_unused(self, value)
        del self._initializers[value]
        self._inputs.pop(value, None)
        self._forget(value)
        self.touch(None)

    def rename(self, value: Value, new_name: str) -> None:
        """Rename a value; readers in subgraphs, quantization annotations, sharding specs and training information follow."""
        if value.graph is not self:
            raise EditError(f"{value.name!r} is not a value of graph {self.name!r}")
        if value.name == new_name:
            return
        scope.check_free(self, new_name)
        old_name = value.name
        del self._values[old_name]
        self._values[new_name] = value
        value.name = new_name
        references.rename(self, value, old_name, new_name)
        self.touch(None)

    def become(self, other: Graph) -> None:
        """Take over the whole contents of `other`, which must not be used afterwards. Both are models, not subgraphs."""
        if self.parent is not None or other.parent is not None:
            raise EditError("only a whole model can become another")
        version = self.version
        self.__dict__.update(other.__dict__)
        for vertex in list(self.nx):
            vertex.graph = self
            if isinstance(vertex, Node):
                for graph in vertex.subgraphs:
                    graph.parent = self
        self.version = max(version, other.version) + 1

    # ---- for this package: the primitives that building and editing share

    def insert(self, proto: onnx.NodeProto, place: float | None = None) -> Node:
        """Add an unconnected node at `place` in the file's order (None: at the end)."""
        self._node_count += 1
        node = Node(self, proto, (float(self._node_count) if place is None else place, self._node_count))
        self.nx.add_node(node)
        return node

    def define(self, name: str) -> Value:
        """Add a value of this graph under a free name."""
        value = self._values[name] = Value(self, name)
        self.nx.add_node(value)
        return value

    def touch(self, where: Node | Value | None) -> None:
        """Record an edit, here and in every graph around."""
        if where is not None:
            self.edited.add(where)
        graph: Graph | None = self
        while graph is not None:
            graph.version += 1
            if graph.owner is not None and graph.parent is not None:
                graph.parent.edited.add(graph.owner)
            graph = graph.parent

    def connect(self, node: Node, inputs: tuple[Value | None, ...], outputs: tuple[Value | None, ...]) -> None:
        """Connect a freshly inserted node."""
        self._connect_outputs(node, outputs)
        self._connect_inputs(node, inputs)

    def connect_captures(self, node: Node) -> None:
        """Make the node's capture edges those of its subgraphs."""
        old = [(v, node, k) for v, _, k in self.nx.in_edges(node, keys=True) if k < 0]
        self.nx.remove_edges_from(old)
        for place, value in enumerate(node.captures):
            self.nx.add_edge(value, node, -1 - place)
        self._nodes = None
        self._drop_unused_outer(value for value, _, _ in old)

    def _connect_inputs(self, node: Node, inputs: tuple[Value | None, ...]) -> None:
        node.inputs = inputs
        add_edge = self.nx.add_edge
        foreign = False
        for slot, value in enumerate(inputs):
            if value is not None:
                add_edge(value, node, slot)
                foreign = foreign or value.graph is not self
        self._nodes = None
        if foreign:
            self._captures_changed()

    def _connect_outputs(self, node: Node, outputs: tuple[Value | None, ...]) -> None:
        node.outputs = outputs
        for slot, value in enumerate(outputs):
            if value is not None:
                value.producer = node
                self.nx.add_edge(node, value, slot)

    def _drop_unused_outer(self, values: Iterable[Value | None]) -> None:
        """Forget values of outer scopes that nothing here reads any more."""
        dropped = {v for v in values if v is not None and v.graph is not self and v in self.nx}
        dropped = {v for v in dropped if not self.nx.out_degree(v) and v not in self._outputs}
        if dropped:
            self.nx.remove_nodes_from(dropped)
            self._captures_changed()

    def _captures_changed(self) -> None:
        if self.owner is not None and self.parent is not None and self.owner.graph is self.parent:
            self.parent.connect_captures(self.owner)
            self.parent._captures_changed()

    def _forget(self, value: Value) -> None:
        self.nx.remove_node(value)
        del self._values[value.name]
        self.edited.discard(value)
        value.graph = value.producer = None

    def inner_graphs(self) -> Iterator[Graph]:
        """The subgraphs of this graph's nodes."""
        return (graph for node in self._owners for graph in node.subgraphs)

    def __repr__(self) -> str:
        return f"Graph({self.name!r}, {self._node_count} nodes)"
