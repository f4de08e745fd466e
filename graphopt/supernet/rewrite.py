"""The rewriter: does the edits, whatever front end they came from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from graphopt.errors import SupernetError
from graphopt.ir import ArrayTensor, Graph, LazyTensor, Node, Tensor, Value
from graphopt.supernet.clean import remove_dead
from graphopt.supernet.edits import Drop, Edit, Group, Indices, Kernel, Pads, Scalar, Shape, Slice
from graphopt.supernet.operands import Operands, give_operand, initializer_of, is_computed
from graphopt.supernet.transforms import transformed

Array = npt.NDArray[Any]
Kept = dict[str, dict[str, list[int]]]


class Rewriter:
    """Does the edits of one extraction on `graph`.

    Every operand that changes gets an initializer of its own, because exporters share equal tensors between nodes; afterwards it takes the
    name of the old one where that became free. New contents are computed when they are read, at the latest when the model is saved.
    """

    def __init__(self, graph: Graph, operands: Operands) -> None:
        self.graph, self.operands = graph, operands
        self._records: dict[Value, dict[str, list[int]] | None] = {}
        self._in_place: set[Value] = set()
        self.tensors = 0  # operands with new contents
        self.dropped = 0

    @property
    def kept(self) -> Kept:
        """What is left of each initializer; nothing is said of one that some node still reads whole, or that was cut in different ways."""
        gone = {source: said for source, said in self._records.items() if source.graph is None or source in self._in_place}
        return {source.name: said for source, said in gone.items() if said is not None}

    def apply(self, edits: Sequence[Edit]) -> None:
        """Do all edits, remove what became dead, and give back names. Raises SupernetError where an edit does not fit its place."""
        by_operand: dict[tuple[Node, int], list[Edit]] = {}
        for edit in edits:
            if isinstance(edit, Slice | Kernel | Scalar | Shape):
                by_operand.setdefault((edit.node, 1 if isinstance(edit, Kernel) else edit.slot), []).append(edit)
        before = {place: self.operands.tensor(*place) for place in by_operand}  # now, while every shape can still be inferred
        self._drop([edit for edit in edits if isinstance(edit, Drop)])
        if self.dropped:
            remove_dead(self.graph)
        renames: list[tuple[Value, str]] = []
        for edit in edits:
            if isinstance(edit, Group) and edit.node.graph is not None:  # None: of a block that is gone
                self.graph.set_attribute(edit.node, "group", edit.count)
            elif isinstance(edit, Pads) and edit.node.graph is not None:
                self._pads(edit)
        for (node, slot), changes in by_operand.items():
            if node.graph is not None:
                renames += self._operand(node, slot, before[node, slot], changes)
        remove_dead(self.graph)
        take_names(self.graph, renames)

    def _drop(self, drops: Iterable[Drop]) -> None:
        stands_for: dict[Value, Value] = {}
        for drop in drops:
            source = stands_for.get(drop.input, drop.input)
            stands_for[drop.output] = source
            self._replace(drop.output, source)
            self.dropped += 1

    def _replace(self, output: Value, source: Value) -> None:
        """Make every reader of `output` read `source`; an output of the model keeps its name."""
        if not self.graph.is_output(output):
            self.graph.replace_uses(output, source)
            return
        last = output.producer
        if last is None:
            raise SupernetError(f"{output.name!r} is an output of the model that no node writes, so its block cannot be left out")
        bridge = self.graph.add_node("Identity", [source], [self.graph.unique_name(f"{output.name}_kept")], at=last)
        for slot in reversed(range(1, len(last.inputs))):
            self.graph.set_input(last, slot, None)
        self.graph.set_input(last, 0, bridge.output())
        if not self.graph.bypass(last):
            raise SupernetError(f"the block that ends at the model's output {output.name!r} cannot be left out")
        if source.producer is not None and not self.graph.is_output(source):
            self.graph.bypass(bridge)

    def _pads(self, edit: Pads) -> None:
        attributes = edit.node.attributes
        self.graph.set_attribute(edit.node, "kernel_shape", [edit.kernel, edit.kernel])
        if attributes.get("auto_pad", "NOTSET") not in ("NOTSET", ""):
            return  # it follows the kernel by itself
        dilations = attributes.get("dilations", [1, 1])
        pads = [pad - edit.less * dilations[place % 2] for place, pad in enumerate(attributes.get("pads", [0, 0, 0, 0]))]
        if min(pads) < 0:
            raise SupernetError(f"the padding of {edit.node.label} is too small for its kernel to shrink around its centre")
        self.graph.set_attribute(edit.node, "pads", pads)

    def _operand(self, node: Node, slot: int, tensor: Tensor, edits: Sequence[Edit]) -> list[tuple[Value, str]]:
        """Give one input of a node its new contents; the answer is what may take an old name once that is free."""
        graph, value = self.graph, node.input(slot)
        assert value is not None
        changed, indices = tensor, {}
        for edit in edits:
            changed = _changed(changed, edit, node)
            if isinstance(edit, Slice):
                indices[edit.axis] = edit.indices
        if changed is tensor and not is_computed(value):
            return []
        if is_computed(value) and node.op_type == "Conv" and slot == 2 and not changed.numpy().any():
            graph.set_input(node, slot, None)  # some exporters compute a bias of zeros from the shape of the weight
            return []
        self.tensors += 1
        source = initializer_of(value)
        if indices and source is not None:
            self._record(source, indices)
        rename = give_operand(graph, node, slot, changed)
        if rename is None:
            self._in_place.add(value)
            return []
        return [rename]

    def _record(self, source: Value, indices: dict[int, Indices]) -> None:
        said = {str(axis): [int(index) for index in kept] for axis, kept in sorted(indices.items())}
        self._records[source] = said if self._records.get(source, said) == said else None


def take_names(graph: Graph, renames: Iterable[tuple[Value, str]]) -> None:
    """Give values the names that became free."""
    for value, name in renames:
        if not graph.has_value(name):
            graph.rename(value, name)


def _changed(tensor: Tensor, edit: Edit, node: Node) -> Tensor:
    """The tensor after one edit; itself where that changes nothing."""
    match edit:
        case Slice():
            return _sliced(tensor, edit)
        case Kernel():
            return _shrunk(tensor, edit)
        case Scalar():
            return _scalar(tensor, edit)
        case Shape():
            return _shape(tensor, edit)
    raise AssertionError(f"{edit} has no operand at {node.label}")


def _sliced(tensor: Tensor, edit: Slice) -> Tensor:
    if edit.axis >= len(tensor.shape):
        raise SupernetError(f"input {edit.slot} of {edit.node.label} has the shape {list(tensor.shape)}, and no axis {edit.axis}")
    size, indices = tensor.shape[edit.axis], edit.indices
    if len(indices) and int(indices.max()) >= size:
        raise SupernetError(
            f"input {edit.slot} of {edit.node.label} has {size} along axis {edit.axis}, and {int(indices.max()) + 1} or more are to be kept"
        )
    count = len(indices)
    prefix = bool((indices == np.arange(count)).all())
    if prefix and count == size:
        return tensor
    shape = (*tensor.shape[: edit.axis], count, *tensor.shape[edit.axis + 1 :])
    if prefix:
        part = (slice(None),) * edit.axis + (slice(count),)
        return LazyTensor(tensor.elem_type, shape, lambda: np.ascontiguousarray(tensor.numpy()[part]))
    return LazyTensor(tensor.elem_type, shape, lambda: tensor.numpy().take(indices, axis=edit.axis))


def _shrunk(tensor: Tensor, edit: Kernel) -> Tensor:
    def compute() -> Array:
        return np.ascontiguousarray(transformed(tensor.numpy(), edit.sizes, edit.wanted, edit.matrices))

    return LazyTensor(tensor.elem_type, (*tensor.shape[:2], edit.wanted, edit.wanted), compute)


def _scalar(tensor: Tensor, edit: Scalar) -> Tensor:
    if tensor.size != 1:
        raise SupernetError(f"input {edit.slot} of {edit.node.label} should be one number, and has the shape {list(tensor.shape)}")
    array = tensor.numpy()
    new = np.full(tensor.shape, edit.number).astype(array.dtype)
    return tensor if (new == array).all() else ArrayTensor(new, tensor.elem_type)


def _shape(tensor: Tensor, edit: Shape) -> Tensor:
    array = tensor.numpy().copy()
    if array.ndim != 1 or array.dtype.kind != "i" or max(edit.sizes, default=0) >= array.size:
        raise SupernetError(
            f"input {edit.slot} of {edit.node.label} should be a list of more than {max(edit.sizes, default=0)} sizes, and is "
            f"{array.dtype} of shape {list(array.shape)}"
        )
    for place, size in edit.sizes.items():
        array[place] = size
    return tensor if (array == tensor.numpy()).all() else ArrayTensor(array, tensor.elem_type)
