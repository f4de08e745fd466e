from __future__ import annotations

import pytest

from graphopt.cost.profile.canary import Canary, Look


class Clock:
    """Time that passes only when a canary looks or pauses, and looks that find what the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, looks: list[float]) -> None:
        self.now, self._looks = 0.0, looks
        monkeypatch.setattr("graphopt.cost.profile.canary.time", self)
        monkeypatch.setattr(Canary, "_measured", lambda _, which: self._look(which))

    def _look(self, which: int) -> float:
        if which:
            return 9.0
        self.now += 0.001
        return self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def canary(quiet: Look | None = None) -> Canary:
    return Canary(own_thread=True, quiet=quiet)


def test_what_takes_longer_than_usual_is_disturbed() -> None:
    found = canary()
    looks = [found.look() for _ in range(5)]
    core, memory = found.quiet
    assert all(0 < least <= max(each) for least, each in zip((core, memory), zip(*looks, strict=True), strict=True))
    assert not found.disturbs((core, memory))
    assert found.disturbs((2 * core, memory))
    assert found.disturbs((core, 2 * memory))
    assert canary((1e-6, 1e-5)).quiet == (1e-6, 1e-5)


def test_it_waits_until_nothing_disturbs(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, [1.6] * 50 + [1.01, 1.6])
    found = canary((1.0, 9.0))
    assert found.wait() == (1.01, 9.0)
    assert 0.1 < clock.now < 0.2


def test_where_it_is_never_quiet_two_thirds_of_the_time_are_waited_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, [1.6])
    found = canary((1.0, 9.0))
    for _ in range(1000):
        assert found.wait() == (1.6, 9.0)
        clock.now += 0.03
    assert clock.now == pytest.approx(1000 * 0.03 * 3, rel=0.1)


def test_it_waits_no_longer_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, [1.6])
    canary((1.0, 9.0)).wait(until=0.5)
    assert clock.now == pytest.approx(0.5, abs=0.01)


def test_several_threads_are_not_looked_at() -> None:
    found = Canary(own_thread=False)
    assert found.wait() == found.quiet == (0.0, 0.0)
    assert not found.disturbs(found.look())
