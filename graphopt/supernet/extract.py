"""Extraction: a supernet's graph and a configuration become the subnet's graph."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from graphopt.errors import SupernetError
from graphopt.ir import Graph
from graphopt.supernet.config import Config
from graphopt.supernet.document import read_json
from graphopt.supernet.edits import Change, Kernel
from graphopt.supernet.family import RESNET, Supernet, parse_family
from graphopt.supernet.family import SCHEMA as FAMILY_SCHEMA
from graphopt.supernet.generic import SCHEMA as GENERIC_SCHEMA
from graphopt.supernet.generic import ElasticGraph, generic_changes, parse_generic
from graphopt.supernet.mbconv import mbconv_changes
from graphopt.supernet.places import Places
from graphopt.supernet.resnet import resnet_changes
from graphopt.supernet.resolution import needs_resize, resize
from graphopt.supernet.rewrite import Kept, Rewriter
from graphopt.supernet.transforms import Transforms, load_transforms


@dataclass(frozen=True)
class Extraction:
    """What an extraction did: figures, the indices that each initializer kept (as in PassResult), and remarks for people."""

    changed: bool
    summary: dict[str, int | float | str]
    kept: Kept
    notes: tuple[str, ...]


def load_supernet(path: str | os.PathLike[str]) -> Supernet | ElasticGraph:
    """Read a side file of either form. Raises SupernetError."""
    document = read_json(path, "supernet description")
    match document.get("schema"):
        case str(schema) if schema == FAMILY_SCHEMA:
            return parse_family(document, path)
        case str(schema) if schema == GENERIC_SCHEMA:
            return parse_generic(document, path)
    raise SupernetError(f'{os.fspath(path)}: schema must be "{FAMILY_SCHEMA}" or "{GENERIC_SCHEMA}", not {document.get("schema")!r}')


def transforms_beside(supernet: Supernet | ElasticGraph) -> Transforms | None:
    """The transforms that a side file names, if that file lies beside it. Raises SupernetError for a name that leads elsewhere."""
    if supernet.transforms is None:
        return None
    if Path(supernet.transforms).name != supernet.transforms:
        raise SupernetError(f"{supernet.source}: transforms must be the name of a file beside it, not {supernet.transforms!r}")
    path = Path(supernet.source).parent / supernet.transforms
    return load_transforms(path) if path.is_file() else None


def extract(
    graph: Graph,
    supernet: Supernet | ElasticGraph,
    config: Config,
    transforms: Transforms | None = None,
    permit: Callable[[str], bool] = lambda where: True,
) -> Extraction:
    """Turn the root `graph`, a supernet, into the subnet of `config`, in place.

    `permit` is asked before each change. Raises SupernetError where names or numbers do not fit; the graph may be half changed then.
    """
    version, notes = graph.version, list[str]()
    size = config.image_size
    resized = False
    if size is not None:
        if supernet.input is None:
            raise SupernetError(f"{supernet.source}: input is missing, and the configuration has an image_size")
        if needs_resize(graph, supernet.input, size) and permit(f"set the input's height and width to {size}"):
            resize(graph, supernet.input, size)
            resized = True
    places = Places(graph, supernet.source)
    changes = [change for change in _changes(supernet, places, config, transforms, notes) if permit(change.where)]
    edits = [edit for change in changes for edit in change.edits]
    if transforms is None and any(isinstance(edit, Kernel) for edit in edits):
        notes.append("smaller kernels are plain centre crops: the supernet's description names no transforms")
    rewriter = Rewriter(graph, places.operands)
    if edits:
        rewriter.apply(edits)
    kept_bn = any(node.op_type == "BatchNormalization" and not node.domain for node in graph.nodes)
    summary: dict[str, int | float | str] = {"blocks_left_out": rewriter.dropped, "tensors_changed": rewriter.tensors}
    if resized and size is not None:
        summary["image_size"] = size
    if isinstance(supernet, Supernet):
        summary["batch_normalization"] = "kept" if kept_bn else "folded"
    return Extraction(graph.version != version, summary, rewriter.kept, tuple(dict.fromkeys(notes)))


def _changes(
    supernet: Supernet | ElasticGraph, places: Places, config: Config, transforms: Transforms | None, notes: list[str]
) -> list[Change]:
    match supernet:
        case ElasticGraph():
            if config.sort_channels is not None:
                raise config.error("sort_channels is known for the Once-for-All families only")
            return generic_changes(supernet, places, config, transforms)
        case Supernet(family=family) if family == RESNET:
            return resnet_changes(supernet, places, config, notes)
    return mbconv_changes(supernet, places, config, transforms, notes)
