"""Three-way merge of ONNX messages: what a lossy tool changed is taken from it, everything else from the original."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import onnx
from google.protobuf.message import Message

from graphopt.ir.tensors import DATA_FIELDS

# How entries of repeated messages are told apart. Lists of other messages, and of scalars, are taken as a whole.
_KEYS: dict[str, Callable[[Any], Hashable]] = {
    "NodeProto": lambda m: tuple(filter(None, m.output)) or (m.op_type, m.name, *m.input),
    "FunctionProto": lambda m: (m.domain, m.name),  # the tool may not know overloads; their order tells them apart
    "OperatorSetIdProto": lambda m: m.domain,
    "SparseTensorProto": lambda m: m.values.name,
    "StringStringEntryProto": lambda m: m.key,
    "TensorAnnotation": lambda m: m.tensor_name,
} | dict.fromkeys(("AttributeProto", "TensorProto", "ValueInfoProto"), lambda m: m.name)
_WHOLE = {"TypeProto", "TensorShapeProto"}  # mixing two of these would say what neither does


def merge(original: Message, before: Message, after: Message) -> Any:
    """`original` with the changes from `before` (what the tool makes of it untouched) to `after`."""
    result = type(original)()
    if same(before, after):
        result.CopyFrom(original)
        return result
    name = original.DESCRIPTOR.name
    result.CopyFrom(after if name in _WHOLE else original)
    if name in _WHOLE:
        return result
    # The storage of a tensor goes together: raw bytes from one side and typed data from the other would contradict each other.
    storage = (*DATA_FIELDS, "dims", "data_type") if name == "TensorProto" else ()
    stored_anew = any(_field(before, field) != _field(after, field) for field in storage)
    for field in original.DESCRIPTOR.fields:
        if field.name in storage:
            if stored_anew:
                _take(result, after, field)
        elif storage:
            continue  # graphsurgeon drops documentation and metadata of a tensor together with its old contents
        elif field.is_repeated and field.message_type is not None and field.message_type.name in _KEYS:
            lists = [getattr(message, field.name) for message in (original, before, after)]
            merged = _merge_lists(lists[0], lists[1], lists[2], field.message_type.name)
            result.ClearField(field.name)
            getattr(result, field.name).extend(merged)
        elif _field(before, field.name) == _field(after, field.name):
            continue
        elif field.message_type is not None and not field.is_repeated and all(m.HasField(field.name) for m in (original, before, after)):
            getattr(result, field.name).CopyFrom(merge(*(getattr(message, field.name) for message in (original, before, after))))
        else:
            _take(result, after, field)
    return result


def same(one: Message, other: Message) -> bool:
    return one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)


def _merge_lists(original: Iterable[Any], before: Iterable[Any], after: Iterable[Any], kind: str) -> list[Message]:
    originals, befores, afters = (_by_key(messages, kind) for messages in (original, before, after))
    # What the tool adds by itself was not added by the user.
    afters = {key: m for key, m in afters.items() if key in originals or key not in befores or not same(befores[key], m)}
    merged = {
        key: merge(originals[key], befores[key], message) if key in originals and key in befores else message
        for key, message in afters.items()
    }
    # What the tool drops by itself was not dropped by the user, and its own order is no edit either.
    kept = [key for key in originals if key in afters or key not in befores]
    merged = {key: originals[key] for key in kept if key not in afters} | merged
    moved = [key for key in befores if key in afters] != [key for key in afters if key in befores]
    if kind == "NodeProto" or moved:
        order = [*afters, *(key for key in kept if key not in afters)]
    else:
        order = [*kept, *(key for key in afters if key not in originals)]
    return [merged[key] for key in order]


def _by_key(messages: Iterable[Any], kind: str) -> dict[Hashable, Any]:
    """By key and occurrence: lists may name one thing twice."""
    seen: Counter[Hashable] = Counter()
    result: dict[Hashable, Any] = {}
    for message in messages:
        key = _KEYS[kind](message)
        seen[key] += 1
        result[key, seen[key]] = message
    return result


def _field(message: Any, name: str) -> object:
    field = message.DESCRIPTOR.fields_by_name[name]
    value = getattr(message, name)
    if field.is_repeated:
        return [m.SerializeToString(deterministic=True) for m in value] if field.message_type is not None else list(value)
    if not message.HasField(name):
        return None
    return value.SerializeToString(deterministic=True) if field.message_type is not None else value


def _take(result: Any, source: Any, field: Any) -> None:
    """Make `field` of `result` that of `source`."""
    value = getattr(source, field.name)
    result.ClearField(field.name)
    if field.is_repeated:
        getattr(result, field.name).extend(value)
    elif source.HasField(field.name):
        getattr(result, field.name).CopyFrom(value) if field.message_type is not None else setattr(result, field.name, value)


def changed_names(before: onnx.GraphProto, after: onnx.GraphProto) -> set[str]:
    """The values that differently made nodes or other contents, types or inputs define in `after`."""
    changed: set[str] = set()
    for old, new, names in (
        (before.node, after.node, lambda m: m.output),
        (before.initializer, after.initializer, lambda m: [m.name]),
        (before.input, after.input, lambda m: [m.name]),
    ):
        known = {tuple(names(message)): message.SerializeToString(deterministic=True) for message in old}
        for message in new:
            if known.get(tuple(names(message))) != message.SerializeToString(deterministic=True):
                changed.update(names(message))
    return changed
