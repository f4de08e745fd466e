"""Passes that several test files use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import onnx
from onnx import TensorProto, helper

import graphopt.ir as ir
from graphopt.pipeline import Context, Pass, PassResult, Registry, parameter


@dataclass(frozen=True)
class Prune(Pass):
    """Every kind of parameter that a pass can have.

    Not the first line.
    """

    name: ClassVar[str] = "prune-channels"
    ratio: float = parameter(0.5, minimum=0, maximum=1, help="share of channels to remove")
    criterion: str = parameter("l2", choices=("l1", "l2", "random"))
    align: int = parameter(8, minimum=1)
    force: bool = False
    to: str | None = None
    ignore: tuple[str, ...] = ()
    size: tuple[int, int] = (224, 224)
    keep: Mapping[str, tuple[int, ...]] = parameter({}, minimum=0)
    ratios: Mapping[str, float] | None = parameter(None, above=0, below=1)

    def apply(self, graph: ir.Graph, context: Context) -> PassResult:
        return PassResult(changed=False)


@dataclass(frozen=True)
class DropIdentity(Pass):
    """Bypass Identity nodes, asking before each."""

    name: ClassVar[str] = "drop-identity"

    def apply(self, graph: ir.Graph, context: Context) -> PassResult:
        identities = [node for node in graph.nodes if node.op_type == "Identity"]
        done = [node.label for node in identities if context.permit(f"bypass {node.label}") and graph.bypass(node)]
        return PassResult(changed=bool(done), summary={"bypassed": len(done)})


@dataclass(frozen=True)
class Need(Pass):
    """A parameter that must be given."""

    name: ClassVar[str] = "need"
    count: int

    def apply(self, graph: ir.Graph, context: Context) -> PassResult:
        return PassResult(changed=False)


def registry(*classes: type[Pass]) -> Registry:
    made = Registry()
    for pass_class in classes:
        made.add(pass_class)
    return made


def identities(path: Path, names: Iterable[str] = ("one", "two", "three")) -> ir.Graph:
    """x → Relu → an Identity of each name → y, saved at `path` and loaded."""
    names = list(names)
    nodes = [helper.make_node("Relu", ["x"], ["v0"], "first")]
    nodes += [helper.make_node("Identity", [f"v{i}"], [f"v{i + 1}"], name) for i, name in enumerate(names)]
    nodes.append(helper.make_node("Sigmoid", [f"v{len(names)}"], ["y"], "last"))
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    graph = helper.make_graph(nodes, "identities", infos[:1], infos[1:], doc_string="kept by no bridge")
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), path)
    return ir.load(path)
