"""The option that fixes what a model leaves open: `--shape input=1x3x224x224`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from graphopt.errors import OpenShapeError
from graphopt.ir import Graph

shape_option = click.option(
    "--shape",
    multiple=True,
    metavar="NAME=SIZES",
    help="Shape of an input, as in input=1x3x224x224, or size of an open dimension, as in height=224; may be repeated. An open batch is 1.",
)


def sizes_for(graph: Graph, given: Sequence[str]) -> dict[str, int | tuple[int, ...]]:
    """What the option says, by input or dimension. Raises OpenShapeError for what does not read like it."""
    inputs = {value.name for value in graph.inputs}
    found: dict[str, int | tuple[int, ...]] = {}
    for text in given:
        name, equals, sizes = text.rpartition("=")
        try:
            numbers = tuple(int(size) for size in sizes.replace(",", "x").lower().split("x"))
        except ValueError:
            numbers = ()
        if not (name and equals and numbers):
            raise OpenShapeError(f"--shape {text!r} does not read like input=1x3x224x224 or dimension=224")
        if name in found:
            raise OpenShapeError(f"--shape gives {name!r} twice")
        found[name] = numbers[0] if len(numbers) == 1 and name not in inputs else numbers
    return found
