"""Small objects that watch a pipeline run: time it, dump it, verify it, stop it.

Instruments nest: `before_pass` is called in the order given, `after_pass` in reverse, so the last one sits closest to the pass.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from graphopt import ir
from graphopt.errors import VerifyError
from graphopt.pipeline.base import Pass, PassResult

if TYPE_CHECKING:
    from graphopt.ir import Graph


class Instrument:
    """Does nothing; override what is needed."""

    def before_pass(self, pass_: Pass, graph: Graph) -> None: ...

    def after_pass(self, pass_: Pass, graph: Graph, result: PassResult) -> None: ...

    def permit(self, where: str) -> bool:
        """Whether the pass may do the rewrite that `where` describes."""
        return True


class Timing(Instrument):
    """Seconds per pass, in order: `seconds` holds (pass text, seconds); `str()` is a table. Give it last, so that it times nothing else."""

    def __init__(self) -> None:
        self.seconds: list[tuple[str, float]] = []
        self._started = 0.0

    def before_pass(self, pass_: Pass, graph: Graph) -> None:
        self._started = time.perf_counter()

    def after_pass(self, pass_: Pass, graph: Graph, result: PassResult) -> None:
        self.seconds.append((str(pass_), time.perf_counter() - self._started))

    def __str__(self) -> str:
        total = sum(seconds for _, seconds in self.seconds)
        return "\n".join(f"{seconds:9.3f} s  {text}" for text, seconds in [*self.seconds, ("total", total)])


class DumpGraphs(Instrument):
    """Saves the graph before the first pass and after each one into `folder`: 00-input.onnx, 01-fuse-bn.onnx, ..."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._count = 0

    def before_pass(self, pass_: Pass, graph: Graph) -> None:
        if self._count == 0:
            self._dump("input", graph)

    def after_pass(self, pass_: Pass, graph: Graph, result: PassResult) -> None:
        self._dump(pass_.name, graph)

    def _dump(self, name: str, graph: Graph) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        ir.save(graph, self.folder / f"{self._count:02}-{name}.onnx")
        self._count += 1


class VerifyEach(Instrument):
    """Verifies the graph after each pass that changed it, also when the pass does not say so; VerifyError names the pass."""

    def __init__(self, runtime: bool = True) -> None:
        self.runtime = runtime
        self._version = 0

    def before_pass(self, pass_: Pass, graph: Graph) -> None:
        self._version = graph.version

    def after_pass(self, pass_: Pass, graph: Graph, result: PassResult) -> None:
        if not result.changed and graph.version == self._version:
            return
        try:
            ir.verify(graph, runtime=self.runtime)
        except VerifyError as error:
            raise VerifyError(f"after {pass_}: {error}") from error


class StopAfter(Instrument):
    """Permits only the first `rewrites` rewrites of the whole pipeline, to find by bisection the one that goes wrong.

    `permitted` describes them in order; where n rewrites give a bad model and n - 1 a good one, the last of n is the culprit.
    `refused` counts the rest.
    """

    def __init__(self, rewrites: int) -> None:
        self.rewrites = rewrites
        self.permitted: list[str] = []
        self.refused = 0
        self._pass = ""

    def before_pass(self, pass_: Pass, graph: Graph) -> None:
        self._pass = pass_.name

    def permit(self, where: str) -> bool:
        if len(self.permitted) < self.rewrites:
            self.permitted.append(f"{self._pass}: {where}")
            return True
        self.refused += 1
        return False
