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
from functools import reduce
from typing import Any

import numpy as np
import onnx
from onnx import helper

from graphopt.cost.kernel import Signature
from graphopt.cost.profile.build import SingleKernel, variants
from graphopt.cost.profile.canary import Canary, Look, undisturbed, worse
from graphopt.cost.profile.clock import Run, pinned, repeat, timed, timing
from graphopt.cost.profile.session import CPU, Bound, elem_type, open_session, static_inputs
from graphopt.errors import GraphoptError, RuntimeRefusedError
from graphopt.ir import Graph
from graphopt.quality.inputs import synthetic_inputs

_KERNEL_SECONDS = 0.012  # of timed runs, at least _LEAST of them and no more than _MOST clean ones
_LEAST, _MOST = 5, 12
_ENOUGH_CLEAN = 5
_TRIES = 3  # at a kernel, until nothing disturbs
_AT_ONCE = 12  # kernels that are loaded together
_VISIT = 3  # timed runs of a network in a row
_VISIT_SECONDS = 0.01  # or as many as take this long
_LEAST_SECONDS = 0.3  # after loading networks


def measure_kernels(job: Mapping[str, Any], report: Callable[[Mapping[str, Any]], None]) -> None:
    """Measure the job's signatures in its order; a result each.

    Some are loaded before the first of them is measured, as loading takes longer and an undisturbed moment may be short.
    """
    settings = _Settings(job)
    canary = settings.canary()
    canary.wait()
    overhead = _Overhead(settings)
    texts = job["signatures"]
    for start in range(0, len(texts), _AT_ONCE):
        loaded = []
        for text in texts[start : start + _AT_ONCE]:
            report({"signature": text, "start": True})
            try:
                loaded.append((text, *_loaded(Signature.parse(text), int(job["block"]), settings)))
            except GraphoptError as error:
                report({"signature": text, "error": str(error)})
        for text, single, call in loaded:
            report({"signature": text, "start": True})
            report({"signature": text} | _kernel(single, call, settings, overhead, canary))


def measure_networks(job: Mapping[str, Any], report: Callable[[Mapping[str, Any]], None]) -> None:
    """Measure the job's files in turns, in shuffled order, at least once each and for its seconds, those of loading among them; the undisturbed runs
    of each, if any.

    They are loaded in shuffled order, too: where a model's memory lies is decided by what was loaded before it, and changes its time by a tenth.
    """
    end = time.perf_counter() + float(job["seconds"])
    settings = _Settings(job)
    rng = np.random.default_rng(int(job.get("seed", 0)))
    calls: dict[str, Bound] = {}
    for path in rng.permutation(job["paths"]).tolist():
        report({"path": path, "start": True})
        try:
            calls[path] = _network(path, settings)
        except GraphoptError as error:
            report({"path": path, "error": str(error)})
    canary = settings.canary()
    report({"loaded": True})
    visits: dict[str, list[tuple[Look, list[Run]]]] = {path: [] for path in calls}  # with the canary beside each
    end = max(end, time.perf_counter() + _LEAST_SECONDS)
    rounds = 0
    while calls and (not rounds or time.perf_counter() < end):
        for path in rng.permutation(list(calls)):
            before = canary.wait(until=end)
            found = _visit(calls[path])
            visits[path].append((worse(before, canary.look()), found))
            if rounds and time.perf_counter() > end:
                break
        rounds += 1
    quiet = canary.quiet
    for path, made in visits.items():
        kept = undisturbed(made, [look for look, _ in made], quiet) or made
        report({"path": path, "runs": [run for _, runs in kept for run in runs], "canary": reduce(worse, [look for look, _ in kept])})


class _Settings:
    def __init__(self, job: Mapping[str, Any]) -> None:
        self.threads, self.provider = int(job["threads"]), str(job["provider"])
        self.own_thread = self.threads == 1 and self.provider == CPU
        self._quiet = job.get("quiet")  # of the canary, as other processes have seen it

    def canary(self) -> Canary:
        return Canary(self.own_thread, self._quiet)


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


def _kernel(single: SingleKernel, call: Bound, settings: _Settings, overhead: _Overhead, canary: Canary) -> dict[str, Any]:
    """What runs between two looks at the canary say; runs that were disturbed are made again, a few times."""
    for _ in range(_TRIES):
        before = canary.wait()
        runs = repeat(call, _KERNEL_SECONDS, _LEAST, _MOST, settings.own_thread)
        seen = worse(before, canary.look())
        if not canary.disturbs(seen):
            break
    found = timing(runs, settings.own_thread, _ENOUGH_CLEAN)
    ms = max(found.ms - overhead.ms(single.copies), 1e-5) / single.copies
    return {"ms": ms, "runs": found.runs, "canary": seen}


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
