"""`graphopt check`: a gate for CI."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from graphopt.cli.console import notes, print_json, print_table
from graphopt.cli.files import read_model
from graphopt.cli.options import (
    batch_option,
    data_option,
    debug_option,
    json_option,
    metric_option,
    model_argument,
    options,
    seed_option,
    threads_option,
)
from graphopt.cli.pairs import check_same_inputs, inputs_for
from graphopt.cli.values import COUNT, FACTOR, MILLISECONDS, SHARE, SIZE
from graphopt.cost import count
from graphopt.errors import BudgetError, DataError
from graphopt.ir import Graph
from graphopt.quality import Data, Fidelity, default_threads, find_metric, needs_original, predict, session
from graphopt.report.words import amount, data_size, milliseconds, score, times
from graphopt.search import CpuBench
from graphopt.search.bench import FINAL, SURE, Effort, Timing


@dataclass(frozen=True)
class Gate:
    """One limit and the value that is held against it; `at_most` or at least."""

    name: str
    value: float
    limit: float
    at_most: bool
    words: Callable[[float], str]

    @property
    def ok(self) -> bool:
        return self.value <= self.limit if self.at_most else self.value >= self.limit


@click.command("check", short_help="Fail where a model misses a limit (for CI).")
@options(
    model_argument,
    click.option("--max-latency", type=MILLISECONDS, metavar="TIME", help="At most so long per run, such as 8ms."),
    click.option("--max-params", type=COUNT, metavar="COUNT", help="At most so many parameters, such as 2.5M."),
    click.option("--max-macs", type=COUNT, metavar="COUNT", help="At most so many multiply-accumulates, such as 300M."),
    click.option("--max-size", type=SIZE, metavar="SIZE", help="At most so many bytes, such as 900kB."),
    click.option("--min-fidelity", type=SHARE, metavar="SHARE", help="At least so like the outputs of --reference, such as 99% or 0.99."),
    click.option("--min-speedup", type=FACTOR, metavar="FACTOR", help="At least so many times as fast as --reference, such as 1.5."),
    click.option("--min-quality", type=float, metavar="NUMBER", help="At least so much of --metric on --data."),
    click.option("--reference", type=click.Path(path_type=Path), help="The model to compare with."),
    data_option,
    metric_option,
    seed_option,
    threads_option,
    batch_option,
    json_option,
    debug_option,
)
def check(
    model: Path,
    max_latency: float | None,
    max_params: float | None,
    max_macs: float | None,
    max_size: float | None,
    min_fidelity: float | None,
    min_speedup: float | None,
    min_quality: float | None,
    reference: Path | None,
    data: str | None,
    preprocess: str | None,
    metric: str | None,
    seed: int,
    threads: int | None,
    batch: int,
    as_json: bool,
) -> None:
    """Hold MODEL against limits: exit status 0 where it keeps all of them, 1 where it misses one.

    Latency is measured on this machine with ONNX Runtime; a latency near its limit is measured longer.
    """
    against_reference = [name for name, given in (("--min-fidelity", min_fidelity), ("--min-speedup", min_speedup)) if given is not None]
    if against_reference and reference is None:
        raise click.UsageError(f"{against_reference[0]} needs --reference, the model to compare with.")
    if min_quality is not None and data is None:
        raise click.UsageError("--min-quality needs --data.")
    if all(given is None for given in (max_latency, max_params, max_macs, max_size, min_quality)) and not against_reference:
        raise click.UsageError("Give at least one limit, such as --max-latency 8ms.")
    graph = read_model(model)
    gates = list(_counted(graph, max_params, max_macs, max_size))
    remarks: tuple[str, ...] = ()
    if max_latency is not None or min_quality is not None or against_reference:
        original = read_model(reference) if reference is not None else None
        if original is not None and reference is not None:
            check_same_inputs(original, graph, (reference, model))
        inputs, remarks = inputs_for(data, preprocess, graph, seed, batch)
        if min_fidelity is None:
            remarks = ()
        judge = _Judge(graph, original, inputs, threads or default_threads(), batch)
        gates += judge.timed(max_latency, min_speedup)
        if min_fidelity is not None:
            gates.append(Gate("fidelity", judge.fidelity(), min_fidelity, False, score))
        if min_quality is not None:
            gates.append(Gate(metric or "top1", judge.quality(metric or "top1"), min_quality, False, score))
    _print(gates, remarks, as_json)


def _counted(graph: Graph, params: float | None, macs: float | None, size: float | None) -> Iterator[Gate]:
    counts = count(graph)
    if params is not None:
        yield Gate("parameters", counts.params, params, True, amount)
    if macs is not None:
        yield Gate("MACs", counts.macs, macs, True, amount)
    if size is not None:
        yield Gate("size", counts.bytes, size, True, data_size)


class _Judge:
    """What has to be run to know."""

    def __init__(self, graph: Graph, reference: Graph | None, data: Data, threads: int, batch: int) -> None:
        self._graph, self._data = graph, data
        self._session = session(graph, threads)
        self._reference = session(reference, threads) if reference is not None else None
        beside = self._reference or self._session
        self._bench = CpuBench(beside, data, Fidelity({}), threads=threads, batch=batch)

    def timed(self, max_latency: float | None, min_speedup: float | None) -> Iterator[Gate]:
        if max_latency is None and min_speedup is None:
            return
        gates = self._time(SURE, max_latency, min_speedup)
        if any(abs(gate.value / gate.limit - 1) <= 0.05 for gate in gates):
            gates = self._time(FINAL, max_latency, min_speedup)
        yield from gates

    def _time(self, effort: Effort, max_latency: float | None, min_speedup: float | None) -> list[Gate]:
        timing: Timing = self._bench.time([self._graph], effort)[0]
        gates = [] if max_latency is None else [Gate("latency", timing.latency.median_ms, max_latency, True, milliseconds)]
        return gates if min_speedup is None else [*gates, Gate("speedup", timing.speedup, min_speedup, False, times)]

    def fidelity(self) -> float:
        assert self._reference is not None
        return Fidelity(predict(self._reference, self._data)).of(predict(self._session, self._data))

    def quality(self, metric: str) -> float:
        if metric == "fidelity":
            raise DataError("--min-quality with the metric fidelity is --min-fidelity; give that with --reference")
        if needs_original(metric) and self._reference is None:
            raise DataError(f"the metric {metric} compares with the original's outputs: give the original with --reference")
        reference = predict(self._reference, self._data) if self._reference is not None and needs_original(metric) else None
        return find_metric(metric, reference)(self._session, self._data)


def _print(gates: list[Gate], remarks: tuple[str, ...], as_json: bool) -> None:
    missed = [gate for gate in gates if not gate.ok]
    if as_json:
        records = [
            {"gate": gate.name, "value": gate.value, "limit": gate.limit, "bound": "max" if gate.at_most else "min", "ok": gate.ok}
            for gate in gates
        ]
        print_json({"ok": not missed, "gates": records, "notes": list(remarks)})
    else:
        rows = [
            (
                gate.name,
                gate.words(gate.value),
                f"{'at most' if gate.at_most else 'at least'} {gate.words(gate.limit)}",
                "ok" if gate.ok else "MISSED",
            )
            for gate in gates
        ]
        print_table(["gate", "value", "limit", ""], rows, right=(1,))
    notes(remarks)
    if missed:
        names = ", ".join(gate.name for gate in missed)
        raise BudgetError(f"{len(missed)} of {len(gates)} gates missed: {names}")
