"""A campaign of measuring: passes over kernels and sessions of whole networks in turn, saved as they go, and fitted at the end."""

from __future__ import annotations

import datetime
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphopt.cost.fitting import fit_target
from graphopt.cost.fusion import load_rules
from graphopt.cost.kernel import Signature
from graphopt.cost.open_shapes import FixedSizes
from graphopt.cost.profile.agreement import Agreement
from graphopt.cost.profile.asking import Source, asked, fixed_file
from graphopt.cost.profile.canary import as_look
from graphopt.cost.profile.clock import processors
from graphopt.cost.profile.host import best_processor
from graphopt.cost.profile.session import CPU
from graphopt.cost.profile.store import Record
from graphopt.cost.profile.workers import kernel_results, network_results
from graphopt.cost.target import Target
from graphopt.errors import RuntimeRefusedError
from graphopt.ir import Graph, load

# Fresh processes that measure a network: machines drift within a minute, which moves all times of a session by 1 to 8 %, and what is left of
# that is less the more sessions there are. Fewer where loading the networks would take too much of the time.
SESSIONS, _FEWEST_SESSIONS = 16, 4
_LOADING_SHARE = 1 / 3  # of the time of a session
_CHUNK = 120  # kernels that are measured in random order before the next, less worthy ones
_LEAST_KERNELS = 20  # of a pass that was begun: starting its process may take all of a short time
_SAVE_SECONDS = 5.0
_GROUP_BYTES = 2**30  # of model files that one process holds at a time
_RULES = "onnxruntime-cpu"
_START_SECONDS = 0.4  # of a worker process, about
_LOAD_BYTES_PER_SECOND = 6e8

Watch = Callable[[float, str], None]  # told which share of the time is over, and what is being done


@dataclass(frozen=True)
class Model:
    """A network to be measured: a name, its file, and the kernels of one run (None where the provider does not show them)."""

    name: str
    path: str
    kernels: Counter[Signature] | None


class Campaign:
    """Measuring for a record that lies in `folder`, for at most `seconds`.

    Everything measured before is kept: what has all its passes is not measured again, and the seconds that a campaign of the same `name`
    has spent count, so that one that was ended early goes on, and one that was not has nothing left to do.
    """

    def __init__(
        self, record: Record, folder: Path, seconds: float, name: str, watch: Watch = lambda share, text: None, seed: int = 0
    ) -> None:
        self.record, self.folder, self.seconds, self._name = record, folder, seconds, name
        self._watch = watch
        self._rng = np.random.default_rng([seed, record.sessions])
        self._saved = time.perf_counter()
        self.sessions = SESSIONS  # over the networks, one in each round
        self.rounds_left = 0  # that are to be made when the campaign goes on
        self.loading = 0.0  # seconds that loading the networks took in the last session
        host = record.host
        processor = best_processor() if host.own_thread and processors() else None
        self.agreement = Agreement(load_rules(_RULES).with_block(host.block))  # of the networks prepared so far, on the CPU
        self._settings = {"threads": host.threads, "provider": host.provider, "block": host.block, "processor": processor}

    # ---- networks to measure

    def prepare(self, name: str, source: Source, temporary: Path, sizes: FixedSizes | None = None) -> Model:
        """A network, its file in `temporary` unless it has one that will do; what the rules say of it is compared with the runtime.

        Raises RuntimeRefusedError where ONNX Runtime refuses it.
        """
        graph = source if isinstance(source, Graph) else load(source)
        inner = temporary / f"model{len(list(temporary.iterdir()))}"
        inner.mkdir()
        path = fixed_file(source, graph, sizes, inner)
        host = self.record.host
        kernels = None
        try:
            kernels = Counter(asked(source if isinstance(source, Graph) else path, sizes, host.threads, host.provider))
        except RuntimeRefusedError:
            if host.provider == CPU:
                raise
        if kernels is not None and host.provider == CPU:
            self.agreement.compare(graph, sizes, kernels)
        return Model(name, path, kernels)

    # ---- time

    @property
    def spent(self) -> float:
        """Seconds of measuring so far, those of earlier runs of this campaign included."""
        return self.record.spent.get(self._name, 0.0)

    @property
    def left(self) -> float:
        """Seconds of measuring that are left."""
        return self.seconds - self.spent

    def _took(self, seconds: float, text: str) -> None:
        self.record.spent[self._name] = self.spent + seconds
        self._watch(min(1 - self.left / self.seconds, 1.0), text)
        if time.perf_counter() - self._saved > _SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write what was measured so far."""
        self.record.save(self.folder)
        self._saved = time.perf_counter()

    # ---- measuring

    def kernel_pass(self, wanted: Sequence[Signature], passes: int, seconds: float) -> int:
        """Measure those of `wanted` that have fewer good passes than `passes`, the first ones first, for so long; how many were measured."""
        made = self.record.passes()
        lacking = [text for text in map(str, wanted) if text not in self.record.skipped and made[text] < passes]
        end = time.perf_counter() + min(seconds, self.left)
        number = 0
        for place in range(0, len(lacking) if end > time.perf_counter() else 0, _CHUNK * 4):
            # Chunks are shuffled inside; several share a process, whose start takes as long as thirty kernels.
            chunks = [lacking[start : start + _CHUNK] for start in range(place, min(place + _CHUNK * 4, len(lacking)), _CHUNK)]
            order = [chunk[i] for chunk in chunks for i in self._rng.permutation(len(chunk))]
            number += self._measure_kernels(order, end, f"kernels, pass {passes}")
            if time.perf_counter() >= end:
                break
        self.save()
        return number

    def _measure_kernels(self, texts: Sequence[str], end: float, text: str) -> int:
        self.record.sessions += 1
        before = time.perf_counter()
        number = 0
        with closing(kernel_results(texts, self._settings | {"quiet": self.record.quiet})) as results:
            for result in results:
                now = time.perf_counter()
                self._took(now - before, text)
                before = now
                if "error" in result:
                    self.record.skip(result["signature"], result["error"])
                else:
                    self.record.add_kernel(result["signature"], float(result["ms"]), int(result["runs"]), as_look(result["canary"]))
                    number += 1
                if now >= end and number >= _LEAST_KERNELS:
                    break
        self._took(time.perf_counter() - before, text)
        return number

    def rounds(self, models: Sequence[Model], seconds: float, most: int) -> range:
        """Those of the rounds, each of which ends with a session over the networks, that come next; at most `most`.

        All of them where all were made: there may be more time now than there was then. `seconds` are those of all sessions together.
        """
        self.sessions = int(np.clip(seconds * _LOADING_SHARE / _loading_seconds(models), _FEWEST_SESSIONS, SESSIONS))
        networks = self.record.networks
        done = min((len(networks[model.name].sessions) if model.name in networks else 0 for model in models), default=0)
        found = range(done, min(done + most, self.sessions)) if done < self.sessions else range(self.sessions)
        self.rounds_left = self.sessions - found.stop
        return found

    def network_session(self, models: Sequence[Model], session: int, seconds: float) -> None:
        """Measure the networks that have no more than `session` sessions, for so long, loading them included, each at least once."""
        lacking = []
        for model in models:
            self.record.expect_network(model.name, model.kernels or Counter())
            if len(self.record.networks[model.name].sessions) <= session:
                lacking.append(model)
        groups = _groups(lacking)
        self.loading = 0.0
        for group in groups:
            share = len(group) / max(len(lacking), 1)
            self._measure_networks(group, seconds * share, f"whole networks, session {session + 1}")
        self.save()

    def _measure_networks(self, models: Sequence[Model], seconds: float, text: str) -> None:
        by_path = {model.path: model for model in models}
        self.record.sessions += 1
        before = started = time.perf_counter()
        settings: dict[str, Any] = {
            **self._settings,
            "seconds": seconds - _START_SECONDS,
            "seed": self.record.sessions,
            "quiet": self.record.quiet,
        }
        with closing(network_results(list(by_path), settings)) as results:
            for result in results:
                now = time.perf_counter()
                self._took(now - before, text)
                before = now
                if "loaded" in result:
                    self.loading += now - started
                elif "error" in result:
                    raise RuntimeRefusedError(f"network {by_path[result['path']].name} cannot be measured: {result['error']}")
                else:
                    runs = [(float(wall), float(cpu)) for wall, cpu in result["runs"]]
                    self.record.networks[by_path[result["path"]].name].add(runs, as_look(result["canary"]))
        self._took(time.perf_counter() - before, text)

    # ---- the target

    @property
    def note(self) -> str:
        """How the fusion rules, by which the target will predict, differ from this runtime; empty where they do not."""
        return self.agreement.note(f"onnxruntime {self.record.host.runtime_version}")

    def finish(self, command: str, notes: str, description: str = "") -> Target:
        """Fit what was measured and write the folder."""
        if command not in self.record.commands:
            self.record.commands.append(command)
        self.save()
        self._watch(1.0, "fitting")
        return to_target(self.record, self.folder, "; ".join(filter(None, (notes, self.note))), description)


def to_target(record: Record, folder: Path, notes: str, description: str = "") -> Target:
    """The target of a record, fitted and written to `folder`. Raises TargetError where nothing was measured."""
    host = record.host
    name = folder.resolve().name
    target = Target(
        name=name,
        device=host.cpu if host.provider == CPU else f"{host.cpu}, {host.provider}",
        runtime="onnxruntime",
        rules=_RULES,
        description=description,
        runtime_version=host.runtime_version,
        provider=host.provider,
        precision=host.precision,
        threads=host.threads,
        block=host.block,
        align=host.block,
        provenance={
            "source": "measured on this machine by graphopt profile",
            "licence": "of whoever measured",
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "command": "; ".join(record.commands),
            "notes": notes,
            "seconds": round(sum(record.spent.values()), 1),
            "kernels_skipped": len(record.skipped),
            "canary_ms": list(record.quiet or ()),
        },
        kernels=record.measured_kernels(),
        networks=tuple(network for network in record.measured_networks() if network.kernels),
    )
    return fit_target(target).save(folder)


def _loading_seconds(models: Sequence[Model]) -> float:
    """About how long the processes of a session take until the networks are loaded."""
    total = sum(Path(model.path).stat().st_size for model in models)
    return len(_groups(models)) * _START_SECONDS + total / _LOAD_BYTES_PER_SECOND


def _groups(models: Sequence[Model]) -> list[list[Model]]:
    """The models in as few groups as memory allows."""
    groups: list[list[Model]] = []
    room = 0
    for model in models:
        size = Path(model.path).stat().st_size
        if not groups or room < size:
            groups.append([])
            room = _GROUP_BYTES
        groups[-1].append(model)
        room -= size
    return groups


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """Where networks are written to while they are measured."""
    return tempfile.TemporaryDirectory(prefix="graphopt-profile-", ignore_cleanup_errors=True)
