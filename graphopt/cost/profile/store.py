"""What was measured so far, in a file of the target's folder: a profile that was ended goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from graphopt.cost.kernel import Signature
from graphopt.cost.profile.clock import Run, timing
from graphopt.cost.profile.host import Host
from graphopt.cost.target import MeasuredKernel, MeasuredNetwork
from graphopt.errors import TargetError
from graphopt.ir.files import write_atomically

FILE = "profile.json"

# A pass in which a kernel that is always the same takes so much longer than in the best pass was disturbed all along.
_BAD_CANARY = 1.10
_DISTURBED = 1.1  # a pass of one kernel that takes so much longer than its best was disturbed
_UNIT = 1e-7  # seconds: runs are kept as whole numbers of these


@dataclass
class KernelPasses:
    """Milliseconds of one kernel in each pass, with the number of runs, and whether the pass was a good one."""

    ms: list[float] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)
    session: list[int] = field(default_factory=list)


@dataclass
class NetworkRuns:
    """How often a network launches each kernel, and its runs in each session."""

    kernels: dict[str, int]
    sessions: list[list[Run]] = field(default_factory=list)


class Record:
    """The measurements of one host."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.kernels: dict[str, KernelPasses] = {}
        self.skipped: dict[str, str] = {}  # kernels that cannot be measured, and why
        self.networks: dict[str, NetworkRuns] = {}
        self.canaries: list[float] = []  # milliseconds of the canary by session
        self.spent: dict[str, float] = {}  # seconds of measuring by campaign
        self.commands: list[str] = []

    # ---- growing

    def begin_session(self) -> int:
        """The number of a new session, whose canary is not known yet."""
        self.canaries.append(0.0)
        return len(self.canaries) - 1

    def saw_canary(self, session: int, ms: float) -> None:
        """The smaller of what a session shows: its other canaries may have been disturbed for a moment only."""
        known = self.canaries[session]
        self.canaries[session] = min(known, ms) if known else ms

    def add_kernel(self, session: int, text: str, ms: float, runs: int) -> None:
        passes = self.kernels.setdefault(text, KernelPasses())
        passes.ms.append(ms)
        passes.runs.append(runs)
        passes.session.append(session)

    def skip(self, text: str, why: str) -> None:
        self.skipped[text] = why

    def expect_network(self, name: str, kernels: Mapping[Signature, int]) -> None:
        """A network that is going to be measured. Runs of another network of that name are forgotten."""
        counts = {str(sig): count for sig, count in kernels.items()}
        known = self.networks.get(name)
        if known is None or known.kernels != counts:
            self.networks[name] = NetworkRuns(counts)

    # ---- what is there

    def passes(self, text: str) -> int:
        """Good passes over a kernel."""
        found = self.kernels.get(text)
        return 0 if found is None else sum(self._good(session) for session in found.session)

    def _good(self, session: int) -> bool:
        best = min((ms for ms in self.canaries if ms), default=0.0)
        return self.canaries[session] <= best * _BAD_CANARY

    def measured_kernels(self) -> tuple[MeasuredKernel, ...]:
        """The usual time of the passes; a pass far above the least was disturbed and does not count. The spread is that of all passes, relative.

        Not the least itself: it falls with the number of passes, so that kernels measured often would seem faster than their neighbours.
        """
        return tuple(
            MeasuredKernel(Signature.parse(text), usual(found.ms), max(found.ms) / min(found.ms) - 1, len(found.ms))
            for text, found in self.kernels.items()
        )

    def measured_networks(self) -> tuple[MeasuredNetwork, ...]:
        """The geometric mean of the sessions' times, each its tenth percentile, and their standard deviation, relative, as the spread.

        Not a percentile of all runs together: as with kernels, it would fall with the number of sessions. No session is left out: what
        disturbs for a moment is out already, and what is left is the drift of the machine, which is to be in the mean.
        """
        own = self.host.threads == 1 and self.host.provider == "CPUExecutionProvider"
        found = []
        for name, network in self.networks.items():
            sessions = [runs for runs in network.sessions if runs]
            if not sessions:
                continue
            each = [timing(runs, own).ms for runs in sessions]
            kernels = tuple((Signature.parse(text), count) for text, count in network.kernels.items())
            spread = float(np.std(np.log(each), ddof=1)) if len(each) > 1 else 0.0
            found.append(MeasuredNetwork(name, mean(each), spread, kernels))
        return tuple(found)

    # ---- the file

    def save(self, folder: Path) -> None:
        """Write the record, whole or not at all."""
        texts = list(
            dict.fromkeys([*self.kernels, *self.skipped, *(text for network in self.networks.values() for text in network.kernels)])
        )
        place = {text: index for index, text in enumerate(texts)}
        document = {
            "host": self.host.to_json(),
            "spent": {name: round(seconds, 2) for name, seconds in self.spent.items()},
            "commands": self.commands,
            "canaries": self.canaries,
            "signatures": texts,
            "kernels": [[place[text], k.ms, k.runs, k.session] for text, k in self.kernels.items()],
            "skipped": [[place[text], why] for text, why in self.skipped.items()],
            "networks": [
                {
                    "name": name,
                    "kernels": [[place[text], count] for text, count in network.kernels.items()],
                    "sessions": [[[round(wall / _UNIT), round(cpu / _UNIT)] for wall, cpu in runs] for runs in network.sessions],
                }
                for name, network in self.networks.items()
            ],
        }
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / FILE, json.dumps(document).encode())

    @classmethod
    def load(cls, folder: Path) -> Record | None:
        """The record in a folder, None where there is none. Raises TargetError for one that cannot be read."""
        path = folder / FILE
        if not path.exists():
            return None
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            return cls._from_json(document)
        except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, IndexError) as error:
            raise TargetError(f"{path} cannot be read ({type(error).__name__}: {error}); delete it to measure anew") from error

    @classmethod
    def _from_json(cls, document: Mapping[str, Any]) -> Record:
        record = cls(Host(**document["host"]))
        texts = [str(text) for text in document["signatures"]]
        record.spent = {str(name): float(seconds) for name, seconds in document["spent"].items()}
        record.commands = [str(command) for command in document["commands"]]
        record.canaries = [float(ms) for ms in document["canaries"]]
        for place, ms, runs, session in document["kernels"]:
            record.kernels[texts[place]] = KernelPasses(_floats(ms), [int(n) for n in runs], [int(n) for n in session])
        record.skipped = {texts[place]: str(why) for place, why in document["skipped"]}
        for network in document["networks"]:
            sessions = [[(wall * _UNIT, cpu * _UNIT) for wall, cpu in runs] for runs in network["sessions"]]
            record.networks[str(network["name"])] = NetworkRuns({texts[place]: int(n) for place, n in network["kernels"]}, sessions)
        return record


def open_record(folder: Path, host: Host) -> Record:
    """The record in the folder, or an empty one. Raises TargetError where the folder was measured on another host."""
    record = Record.load(folder)
    if record is None:
        if (folder / "target.toml").exists():
            raise TargetError(f"{folder} holds a target that was not measured by `graphopt profile`; write to another folder")
        return Record(host)
    host.check(record.host, folder)
    return record


def mean(times: Sequence[float]) -> float:
    """The geometric mean."""
    return float(np.exp(np.mean(np.log(times))))


def usual(times: Sequence[float]) -> float:
    """The geometric mean of the times that are not far above the least."""
    return mean([ms for ms in times if ms <= min(times) * _DISTURBED])


def _floats(values: Iterable[Any]) -> list[float]:
    return [float(value) for value in values]
