"""Making the folder of a target from published tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from graphopt.cost.fit.definitions import DEFINITIONS, Definition
from graphopt.cost.fit.operations import Matching, match
from graphopt.cost.fit.rebuild import export
from graphopt.cost.fit.tables import Published
from graphopt.cost.fusion import kernels, load_rules
from graphopt.cost.kernel import Signature
from graphopt.cost.target import MeasuredNetwork, Target
from graphopt.errors import TargetError
from graphopt.ir import load


@dataclass(frozen=True)
class Made:
    """A target from published tables, not yet fitted, with what was found on the way."""

    target: Target
    matching: Matching | None  # of single kernels, where the tables have some


def definition(name: str) -> Definition:
    """Raises TargetError where no target of that name is made from published tables."""
    if name not in DEFINITIONS:
        raise TargetError(f"no target {name!r} is made from published tables; there are {', '.join(DEFINITIONS)}")
    return DEFINITIONS[name]


def make(name: str, data: Path, graphs: Path) -> Made:
    """The target `name` from the tables in `data`; networks are exported into `graphs` unless they lie there."""
    defined = definition(name)
    published = list(defined.published(data))
    if not published:
        raise TargetError(f"the tables in {data} have no network of target {name!r}")
    found = dict(_kernels(defined, published, graphs))
    return _made(defined, data, published, found)


def _kernels(defined: Definition, published: Iterable[Published], graphs: Path) -> Iterator[tuple[str, Sequence[Signature]]]:
    rules = load_rules(defined.target.rules)
    for network in published:
        graph = load(export(network.recipe, graphs))
        yield network.name, [kernel.signature for kernel in kernels(graph, rules)]


def _made(defined: Definition, data: Path, published: Sequence[Published], found: Mapping[str, Sequence[Signature]]) -> Made:
    networks = tuple(
        MeasuredNetwork(network.name, network.ms, network.spread / network.ms, tuple(Counter(found[network.name]).items()))
        for network in published
    )
    target = replace(defined.target, networks=networks)
    matching = None
    if defined.operations is not None:
        matching = match(data, *defined.operations, found.items())
        target = replace(target, kernels=matching.measured())
    return Made(target, matching)
