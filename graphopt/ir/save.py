"""Writing a model file: whole or not at all, and never without its data.

A model without external data is one file. A model with external data that is untouched keeps its data files, which go along into another
folder. Once a weight in external data was edited or removed, or the model would pass protobuf's 2 GB, all its large tensors are written,
one at a time, to a new data file named after the model. Data is in place before the model that names it, and an old data file goes only
after the new model is there: a process killed at any point leaves the old model or the new one, with its data.
"""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import onnx
from google.protobuf.message import EncodeError

from graphopt.errors import OutputError, UnsupportedError
from graphopt.ir.emit import inline_tensor, model_pieces, reference_tensor
from graphopt.ir.external import DataFile
from graphopt.ir.files import atomic_file
from graphopt.ir.graph import Graph
from graphopt.ir.node import Node
from graphopt.ir.scattered import scattered
from graphopt.ir.tensors import ExternalTensor, Tensor, tensor_header

_LARGEST_MESSAGE = 2**31 - 2**26  # bytes: protobuf's limit, less room for everything but the tensors
_LARGEST_FILE = 2**31 - 1
_SMALLEST_EXTERNAL = 1024  # bytes; shape constants and the like stay inside, where shape inference can read them
_PAGE = 4096


def save(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Write the root `graph` to `path`.

    Raises OutputError where the files cannot be written, UnsupportedError for a model of over 2 GB that has few large initializers.
    """
    target = Path(path)
    try:
        inside = sum(t.nbytes for t in _tensors(graph) if not isinstance(t, ExternalTensor))
        bring = _files_to_bring(graph, target.parent) if inside <= _LARGEST_MESSAGE and _is_untouched(graph) else None
        if bring is not None:
            _save_with_old_data(graph, target, bring)
        else:
            _save_with_new_data(graph, target)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error


def _tensors(graph: Graph) -> Iterator[Tensor]:
    """Every initializer's tensor, of the subgraphs too."""
    for value in graph.initializers:
        if value.tensor is not None:
            yield value.tensor
    for vertex in graph.nx:
        if isinstance(vertex, Node):
            for subgraph in vertex.subgraphs:
                yield from _tensors(subgraph)


def _is_untouched(graph: Graph) -> bool:
    """Whether exactly the external data that was loaded is still used."""
    used = {t.data for t in _tensors(graph) if isinstance(t, ExternalTensor)}
    if graph.folder.scattered:
        used |= {t.data for t in scattered(graph)}
    return used == graph.folder.ranges


def _files_to_bring(graph: Graph, folder: Path) -> dict[Path, DataFile] | None:
    """Data files to copy into `folder`, by destination; None where another file has one of their names."""
    bring: dict[Path, DataFile] = {}
    root = Path(os.path.realpath(folder))
    for data in graph.folder.ranges:
        destination = folder / data.location
        if os.path.lexists(destination):
            # The very file, and inside the folder, so that a load from there finds it as well.
            if not (data.file.is_at(destination) and Path(os.path.realpath(destination)).is_relative_to(root)):
                return None
        else:
            bring[destination] = data.file
    return bring


def _save_with_old_data(graph: Graph, target: Path, bring: dict[Path, DataFile]) -> None:
    brought: list[Path] = []
    try:
        for destination, data in bring.items():
            if destination.parent != target.parent:
                target.parent.stat()  # a folder of the data may be made, the model's own may not
                destination.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(destination) as copy:
                data.copy_to(copy)
            brought.append(destination)
        _write_model(target, model_pieces(graph, reference_tensor))
    except BaseException:
        for path in brought:
            with suppress(OSError):
                path.unlink()
        raise


def _save_with_new_data(graph: Graph, target: Path) -> None:
    data_path = _free_data_path(target)
    with atomic_file(data_path) as file:

        def write(tensor: Tensor, header: onnx.TensorProto | None, name: str) -> onnx.TensorProto:
            if tensor.nbytes < _SMALLEST_EXTERNAL:
                return inline_tensor(tensor, header, name)
            start = -(-file.tell() // _PAGE) * _PAGE
            file.seek(start)
            file.write(tensor.raw())
            return _external_proto(tensor, header, name, data_path.name, start)

        model = list(model_pieces(graph, write))
        written = file.tell() > 0
    try:
        replaced = _old_data_files(target, data_path)
        _write_model(target, model)
    except BaseException:
        with suppress(OSError):
            data_path.unlink()
        raise
    for old in replaced if written else (*replaced, data_path):  # no weight was large enough
        with suppress(OSError):
            old.unlink()


def _external_proto(tensor: Tensor, header: onnx.TensorProto | None, name: str, location: str, offset: int) -> onnx.TensorProto:
    proto = tensor_header(header, tensor, name)
    proto.data_location = onnx.TensorProto.EXTERNAL
    entries = {"location": location, "offset": str(offset), "length": str(tensor.nbytes)}
    if isinstance(tensor, ExternalTensor):
        entries |= {entry.key: entry.value for entry in tensor.proto.external_data if entry.key == "checksum"}
    for key, value in entries.items():
        proto.external_data.add(key=key, value=value)
    return proto


def _free_data_path(target: Path) -> Path:
    """`model.onnx.data`, or where that exists `model.onnx.1.data`, ...: the file in use is never written to."""
    names = (f"{target.name}.data", *(f"{target.name}.{i}.data" for i in range(1, 10_000)))
    for name in names:
        if not os.path.lexists(target.with_name(name)):
            return target.with_name(name)
    raise OutputError(f"{target.parent} holds 10,000 data files of {target.name}; remove the old ones")


def _old_data_files(target: Path, new: Path) -> list[Path]:
    """Data files that are named after `target` and that, once it is replaced, no model in its folder mentions any more."""
    pattern = re.compile(re.escape(target.name) + r"(\.\d+)?\.data")
    if not target.exists():
        return []
    candidates = [p for p in target.parent.iterdir() if p != new and pattern.fullmatch(p.name) and _mentions(target, p.name)]
    others = [p for p in target.parent.glob("*.onnx") if p != target]
    return [p for p in candidates if not any(_mentions(other, p.name) for other in others)]


def _mentions(model: Path, name: str) -> bool:
    try:
        with open(model, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as contents:
            return contents.find(os.fsencode(name)) >= 0
    except (OSError, ValueError):
        return True  # cannot be read: better one file too many


def _write_model(target: Path, model: Iterable[bytes]) -> None:
    try:
        pieces = list(model)
    except (EncodeError, ValueError) as error:
        raise UnsupportedError(f"{target}: what is left in the message without large initializers is over 2 GB ({error})") from error
    if sum(map(len, pieces)) > _LARGEST_FILE:
        raise UnsupportedError(f"{target}: what is left in the message without large initializers is over 2 GB")
    with atomic_file(target) as file:
        file.writelines(pieces)
