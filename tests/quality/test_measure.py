from __future__ import annotations

import numpy as np
import pytest
from onnx import parser

from graphopt.errors import RuntimeRefusedError
from graphopt.quality import measure, session
from graphopt.quality.measure import summary, take_turns


class Machine:
    """Functions that take a stated time on a clock of their own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def clock(self) -> float:
        return self.now

    def work(self, name: str, *seconds: float) -> object:
        def run() -> None:
            self.now += seconds[self.calls.count(name) % len(seconds)]
            self.calls.append(name)

        return run

    def turns(self, *runs: object, repeats: int = 4, limit: float = 10.0, precision: float = 0.01) -> list[list[float]]:
        return take_turns(runs, repeats, limit, precision, self.clock)  # type: ignore[arg-type]


def test_models_take_turns_in_alternating_order() -> None:
    machine = Machine()
    a, b = machine.turns(machine.work("a", 0.1), machine.work("b", 0.2))
    assert "".join(machine.calls) == "abbaabba"
    assert a == pytest.approx([0.1] * 4)
    assert b == pytest.approx([0.2] * 4)


def test_exact_times_end_as_soon_as_enough_time_has_passed() -> None:
    machine = Machine()
    (times,) = machine.turns(machine.work("a", 0.001), repeats=4)
    assert 300 <= len(times) < 500


def test_noisy_times_go_on_to_the_limit() -> None:
    machine = Machine()
    (times,) = machine.turns(machine.work("a", 0.1, 0.3), limit=5.0)
    assert len(times) == pytest.approx(25, abs=1)


def test_the_least_number_of_repeats_is_made_past_the_limit() -> None:
    machine = Machine()
    (times,) = machine.turns(machine.work("a", 60.0), repeats=5, limit=10.0)
    assert len(times) == 5


def test_nothing_to_measure() -> None:
    assert take_turns([], 3, 1, 0.01) == []


def test_a_summary_has_median_and_quartiles() -> None:
    latency = summary([0.001, 0.002, 0.003, 0.004, 0.100], threads=2)
    assert (latency.low_ms, latency.median_ms, latency.high_ms) == pytest.approx((2, 3, 4))
    assert (latency.repeats, latency.threads) == (5, 2)
    assert latency.noise == pytest.approx(2 / 3)


MODEL = parser.parse_model('<ir_version: 10, opset_import: ["" : 18]> g (float[n, 2] x) => (float[n, 2] y) { y = Relu(x) }')


def test_models_and_open_sessions_are_measured() -> None:
    feeds = {"x": np.ones((1, 2), np.float32)}
    found = measure([MODEL, session(MODEL, threads=1)], feeds, threads=1, min_repeats=5, max_seconds=0.01)
    assert len(found) == 2
    for latency in found:
        assert latency.repeats >= 5
        assert latency.threads == 1
        assert 0 < latency.low_ms <= latency.median_ms <= latency.high_ms


def test_inputs_that_do_not_fit_are_refused_before_measuring() -> None:
    with pytest.raises(RuntimeRefusedError):
        measure([MODEL], {"x": np.ones((1, 3), np.float32)})
