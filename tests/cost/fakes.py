"""A machine whose kernels take a stated time, in place of the processes that measure."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from graphopt.cost.features import describe
from graphopt.cost.fitting import fit_target
from graphopt.cost.kernel import Signature
from graphopt.cost.profile.asking import asked


def fake_ms(text: str, block: int = 16) -> float:
    """Milliseconds of a kernel, by a law that a linear model can find."""
    features = describe(Signature.parse(text), block).features
    return 0.002 + features["macs"] / 4e7 + (features["in_bytes"] + features["out_bytes"] + features["weight_bytes"]) / 2e7


class FakeMachine:
    """Stands in for the workers: `kernels` and `networks` count what was measured; `fail` names operators that cannot be; `stop` ends it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kernels: list[str] = []
        self.networks: list[str] = []
        self.fail: set[str] = set()
        self.stop: Callable[[], None] = lambda: None
        monkeypatch.setattr("graphopt.cost.profile.campaign.kernel_results", self._kernels)
        monkeypatch.setattr("graphopt.cost.profile.campaign.network_results", self._networks)
        # Leaving each network out in turn is not what these tests are about, and takes most of the time.
        monkeypatch.setattr("graphopt.cost.profile.campaign.fit_target", partial(fit_target, held_out=False))
        monkeypatch.setattr("graphopt.cost.profile.profiles.POOL_PER_FAMILY", 1)

    @staticmethod
    def fuse_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
        """A runtime that makes one kernel more of each network than ONNX Runtime does."""

        def shown(*arguments: Any) -> list[Signature]:
            found = asked(*arguments)
            return [*found, Signature("Relu", found[-1].outputs, found[-1].outputs)]

        monkeypatch.setattr("graphopt.cost.profile.campaign.asked", shown)

    def _kernels(self, signatures: Sequence[str], settings: Mapping[str, Any]) -> Generator[Mapping[str, Any], None, None]:
        for text in signatures:
            self.stop()
            self.kernels.append(text)
            if Signature.parse(text).operator in self.fail:
                yield {"signature": text, "error": "cannot be measured here"}
            else:
                yield {"signature": text, "ms": fake_ms(text, settings["block"]), "runs": 12, "canary": [0.02, 0.2]}

    def _networks(self, paths: Sequence[str], settings: Mapping[str, Any]) -> Generator[Mapping[str, Any], None, None]:
        yield {"loaded": True}
        for path in paths:
            self.networks.append(path)
            seconds = 1e-4 + Path(path).stat().st_size / 1e9
            yield {"path": path, "runs": [[seconds, seconds]] * 12, "canary": [0.02, 0.2]}
