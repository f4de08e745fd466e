"""One job of measuring in a process of its own: `python -m graphopt.cost.profile.worker`, the job as JSON on stdin, results line by line.

A fresh process for every pass, because where its memory happens to lie changes times by a few percent; and a kernel that kills the process
does not kill the profile.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper

from graphopt.cost.kernel import Signature
from graphopt.cost.profile.build import SingleKernel, variants
from graphopt.cost.profile.clock import Run, pinned, repeat, timed, timing
from graphopt.cost.profile.session import CPU, Bound, elem_type, open_session, static_inputs
from graphopt.errors import GraphoptError, RuntimeRefusedError
from graphopt.ir import Graph
from graphopt.quality.inputs import synthetic_inputs

_KERNEL_SECONDS = 0.012  # of timed runs, at least _LEAST of them and no more than _MOST clean ones
_LEAST, _MOST = 5, 12
_ENOUGH_CLEAN = 5
_VISIT = 3  # timed runs of a network in a row
_VISIT_SECONDS = 0.01  # or as many as take this long


def measure_kernels(job: Mapping[str, Any], report: Callable[[Mapping[str, Any]], None]) -> None:
    """Measure the job's signatures in its order; a result each."""
    settings = _Settings(job)
    overhead = _Overhead(settings)
    report({"canary": _canary(settings)})
    for text in job["signatures"]:
        report({"signature": text, "start": True})
        try:
            report({"signature": text} | _kernel(Signature.parse(text), int(job["block"]), settings, overhead))
        except GraphoptError as error:
            report({"signature": text, "error": str(error)})
    report({"canary": _canary(settings)})


def measure_networks(job: Mapping[str, Any], report: Callable[[Mapping[str, Any]], None]) -> None:
    """Measure the job's files in turns, in shuffled order, for its seconds but at least twice each; the runs of each.

    They are loaded in shuffled order, too: where a model's memory lies is decided by what was loaded before it, and changes its time by a tenth.
    """
    settings = _Settings(job)
    rng = np.random.default_rng(int(job.get("seed", 0)))
    calls: dict[str, Bound] = {}
    for path in rng.permutation(job["paths"]).tolist():
        report({"path": path, "start": True})
        try:
            calls[path] = _network(path, settings)
        except GraphoptError as error:
            report({"path": path, "error": str(error)})
    canary = _canary(settings)
    report({"canary": canary})
    runs: dict[str, list[Run]] = {path: [] for path in calls}
    end = time.perf_counter() + float(job["seconds"])
    rounds = 0
    while calls and (rounds < 2 or time.perf_counter() < end):
        for path in rng.permutation(list(calls)):
            runs[path] += _visit(calls[path])
            if rounds >= 2 and time.perf_counter() > end:
                break
        rounds += 1
    for path, found in runs.items():
        report({"path": path, "runs": found})


class _Settings:
    def __init__(self, job: Mapping[str, Any]) -> None:
        self.threads, self.provider = int(job["threads"]), str(job["provider"])
        self.own_thread = self.threads == 1 and self.provider == CPU


def _network(path: str, settings: _Settings) -> Bound:
    session = open_session(path, settings.threads, settings.provider, optimize=True)
    shell = onnx.ModelProto(ir_version=8)
    shell.opset_import.extend([helper.make_opsetid("", 17)])
    shell.graph.name = "inputs"
    for name, (kind, shape) in static_inputs(session).items():
        shell.graph.input.append(helper.make_tensor_value_info(name, elem_type(kind), shape))
    return Bound(session, next(synthetic_inputs(Graph.from_proto(shell)).runs()), settings.provider)


def _visit(call: Bound) -> list[Run]:
    call()
    runs: list[Run] = []
    while len(runs) < _VISIT or sum(wall for wall, _ in runs) < _VISIT_SECONDS:
        runs.append(timed(call))
    return runs


def _kernel(sig: Signature, block: int, settings: _Settings, overhead: _Overhead) -> dict[str, Any]:
    single, call = _loaded(sig, block, settings)
    runs = repeat(call, _KERNEL_SECONDS, _LEAST, _MOST, settings.own_thread)
    found = timing(runs, settings.own_thread, _ENOUGH_CLEAN)
    ms = max(found.ms - overhead.ms(single.copies), 1e-5) / single.copies
    return {"ms": ms, "spread": found.spread, "runs": found.runs, "clean": found.clean}


_PLACEMENT: dict[tuple[str, int], int] = {}  # which variant worked for an operator with so many inputs


def _loaded(sig: Signature, block: int, settings: _Settings) -> tuple[SingleKernel, Bound]:
    """The first variant that runs and gives what the signature says."""
    first = _PLACEMENT.get((sig.operator, len(sig.operands)), 0)
    errors: list[str] = []
    for place, single in enumerate(variants(sig, block)):
        if place < first:
            continue
        try:
            call = Bound(open_session(single.model, settings.threads, settings.provider, optimize=False), single.feeds, settings.provider)
        except RuntimeRefusedError as error:
            errors.append(str(error))
            continue
        _PLACEMENT[sig.operator, len(sig.operands)] = place
        return single, call
    if first:
        del _PLACEMENT[sig.operator, len(sig.operands)]
        return _loaded(sig, block, settings)
    raise RuntimeRefusedError(errors[0] if errors else "ONNX Runtime does not run it")


class _Overhead:
    """Milliseconds of a run of a model with so many kernels that compute next to nothing: that of starting the run and handing out."""

    def __init__(self, settings: _Settings) -> None:
        counts = [1, 8, 16]
        times = [timing(repeat(_idle(count, settings), 0.01, 20, 200), settings.own_thread).ms for count in counts]
        # The kernels themselves take time, which stays theirs: what counts is that of the first, and of binding one more output.
        slope = max((times[-1] - times[0]) / (counts[-1] - counts[0]), 0.0)
        self._fixed, self._each = max(times[0] - slope, 0.0), slope * _BINDING_SHARE

    def ms(self, copies: int) -> float:
        return self._fixed + self._each * copies


_BINDING_SHARE = 0.5  # of what one more idle kernel takes: the other half is launching it, which a kernel in a network pays too


def _idle(count: int, settings: _Settings) -> Bound:
    nodes = [helper.make_node("Relu", ["x"], [f"y{place}"]) for place in range(count)]
    outputs = [helper.make_tensor_value_info(f"y{place}", onnx.TensorProto.FLOAT, [1]) for place in range(count)]
    graph = helper.make_graph(nodes, "idle", [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])], outputs)
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()
    session = open_session(model, settings.threads, settings.provider, optimize=False)
    return Bound(session, {"x": np.ones(1, np.float32)}, settings.provider)


_CANARIES = (
    "Conv(float[1,64,28,28], *float[64,64,3,3], *float[64]) -> float[1,64,28,28] {kernel_shape=[3,3] pads=[1,1,1,1]}",
    "Add(float[1,64,64,64], float[1,64,64,64]) -> float[1,64,64,64]",
)


def _canary(settings: _Settings) -> list[float]:
    """Milliseconds of two kernels that are the same in every pass: one that computes, one that moves memory."""
    found = []
    for text in _CANARIES:
        single, call = _loaded(Signature.parse(text), 1, settings)
        runs = repeat(call, 0.03, 10, 40, settings.own_thread)
        found.append(timing(runs, settings.own_thread).ms / single.copies)
    return found


def main() -> None:
    """Do the job on stdin."""
    job = json.loads(sys.stdin.read())
    stream = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")

    def report(result: Mapping[str, Any]) -> None:
        stream.write(json.dumps(result) + "\n")
        stream.flush()

    with pinned(job.get("processor")):
        {"kernels": measure_kernels, "networks": measure_networks}[job["do"]](job, report)
    report({"done": True})


if __name__ == "__main__":
    main()
