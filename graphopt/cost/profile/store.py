"""What was measured so far, in a file of the target's folder: a profile that was ended goes on where it was."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from graphopt.cost.kernel import Signature
from graphopt.cost.profile.canary import Look, as_look, undisturbed, usual_least
from graphopt.cost.profile.clock import Run, timing
from graphopt.cost.profile.host import Host
from graphopt.cost.profile.two_way import Floats, usual_session
from graphopt.cost.target import MeasuredKernel, MeasuredNetwork
from graphopt.errors import TargetError
from graphopt.ir.files import write_atomically

FILE = "profile.json"

_DISTURBED = 1.1  # a pass of one kernel that takes so much longer than its best was disturbed, whatever the canary says
_UNIT = 1e-7  # seconds: runs are kept as whole numbers of these


@dataclass
class KernelPasses:
    """Milliseconds of one kernel in each pass, with the number of runs, and the canary beside them."""

    ms: list[float] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)
    canary: list[Look] = field(default_factory=list)


@dataclass
class NetworkRuns:
    """How often a network launches each kernel, its runs in each session, and the canary beside them."""

    kernels: dict[str, int]
    sessions: list[list[Run]] = field(default_factory=list)
    canary: list[Look] = field(default_factory=list)

    def add(self, runs: list[Run], canary: Look) -> None:
        self.sessions.append(runs)
        self.canary.append(canary)


class Record:
    """The measurements of one host."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.kernels: dict[str, KernelPasses] = {}
        self.skipped: dict[str, str] = {}  # kernels that cannot be measured, and why
        self.networks: dict[str, NetworkRuns] = {}
        self.sessions = 0  # processes that have measured
        self.spent: dict[str, float] = {}  # seconds of measuring by campaign
        self.commands: list[str] = []

    # ---- growing

    def add_kernel(self, text: str, ms: float, runs: int, canary: Look) -> None:
        passes = self.kernels.setdefault(text, KernelPasses())
        passes.ms.append(ms)
        passes.runs.append(runs)
        passes.canary.append(canary)

    def skip(self, text: str, why: str) -> None:
        self.skipped[text] = why

    def expect_network(self, name: str, kernels: Mapping[Signature, int]) -> None:
        """A network that is going to be measured. Runs of another network of that name are forgotten."""
        counts = {str(sig): count for sig, count in kernels.items()}
        known = self.networks.get(name)
        if known is None or known.kernels != counts:
            self.networks[name] = NetworkRuns(counts)

    # ---- what is there

    def passes(self) -> Counter[str]:
        """Undisturbed passes over each kernel."""
        quiet = self.quiet
        return Counter({text: len(undisturbed(found.ms, found.canary, quiet)) for text, found in self.kernels.items()})

    @property
    def quiet(self) -> Look | None:
        """What the canary shows where nothing disturbs; None before anything was measured."""
        looks = [look for measured in (self.kernels, self.networks) for found in measured.values() for look in found.canary]
        return usual_least(looks) if looks else None

    def measured_kernels(self) -> tuple[MeasuredKernel, ...]:
        """The usual time of the undisturbed passes, or of all where none was; their spread, relative, and how many there were.

        Not the least itself: it falls with the number of passes, so that kernels measured often would seem faster than their neighbours.
        """
        quiet = self.quiet
        found = []
        for text, passes in self.kernels.items():
            each = undisturbed(passes.ms, passes.canary, quiet) or passes.ms
            found.append(MeasuredKernel(Signature.parse(text), usual(each), max(each) / min(each) - 1, len(each)))
        return tuple(found)

    def measured_networks(self) -> tuple[MeasuredNetwork, ...]:
        """What each takes in the usual session, and the standard deviation by which its sessions moved all networks, relative, as the spread.

        What moves one network alone is no drift of the machine: its prediction is that much off, which the networks that are held out tell.
        """
        each = self._session_ms()
        if not each:
            return ()
        usual_ms, moved = usual_session(np.array(list(each.values())))
        found = []
        for (name, times), ms in zip(each.items(), usual_ms.tolist(), strict=True):
            own = moved[~np.isnan(times)]
            if not len(own):
                continue
            network = self.networks[name]
            kernels = tuple((Signature.parse(text), count) for text, count in network.kernels.items())
            spread = float(np.std(own, ddof=1)) if len(own) > 1 else 0.0
            found.append(MeasuredNetwork(name, ms, spread, kernels, len(own)))
        return tuple(found)

    def network_ms(self, part: slice = slice(None)) -> dict[str, float]:
        """Milliseconds of each network in the usual one of the sessions, or of a part of them; NaN for one that was not measured there.

        A session's time is its tenth percentile. Not a percentile of all runs together: as with kernels, it would fall with the number of sessions.
        No session is left out but for those in which a network found no quiet moment: what is left is the drift of the machine, which is to be
        in the mean.
        """
        each = self._session_ms()
        if not each:
            return {}
        return dict(zip(each, usual_session(np.array(list(each.values()))[:, part]).ms.tolist(), strict=True))

    def _session_ms(self) -> dict[str, Floats]:
        """Milliseconds of each network in each session; NaN where nothing was undisturbed, unless that was never."""
        quiet = self.quiet
        sessions = max((len(network.sessions) for network in self.networks.values()), default=0)
        found = {}
        for name, network in self.networks.items():
            places = [place for place, runs in enumerate(network.sessions) if runs]
            looks = [network.canary[place] for place in places]
            times = np.full(sessions, np.nan)
            for place in undisturbed(places, looks, quiet) or places:
                times[place] = timing(network.sessions[place], self.host.own_thread).ms
            found[name] = times
        return found

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
            "sessions": self.sessions,
            "signatures": texts,
            "kernels": [[place[text], k.ms, k.runs, k.canary] for text, k in self.kernels.items()],
            "skipped": [[place[text], why] for text, why in self.skipped.items()],
            "networks": [
                {
                    "name": name,
                    "kernels": [[place[text], count] for text, count in network.kernels.items()],
                    "sessions": [[[round(wall / _UNIT), round(cpu / _UNIT)] for wall, cpu in runs] for runs in network.sessions],
                    "canary": network.canary,
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
        record.sessions = int(document["sessions"])
        for place, ms, runs, canary in document["kernels"]:
            record.kernels[texts[place]] = KernelPasses(_floats(ms), [int(n) for n in runs], [as_look(pair) for pair in canary])
        record.skipped = {texts[place]: str(why) for place, why in document["skipped"]}
        for network in document["networks"]:
            sessions = [[(wall * _UNIT, cpu * _UNIT) for wall, cpu in runs] for runs in network["sessions"]]
            kernels = {texts[place]: int(n) for place, n in network["kernels"]}
            record.networks[str(network["name"])] = NetworkRuns(kernels, sessions, [as_look(pair) for pair in network["canary"]])
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


def usual(times: Sequence[float]) -> float:
    """The geometric mean of the times that are not far above the least."""
    return float(np.exp(np.mean(np.log([ms for ms in times if ms <= min(times) * _DISTURBED]))))


def _floats(values: Iterable[Any]) -> list[float]:
    return [float(value) for value in values]
