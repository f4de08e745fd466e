"""Is the processor undisturbed just now? Two kernels that are always the same say so, beside every measurement.

What shares a core with us, such as another guest of the same server, takes no time from the calling thread, so that its runs look clean.
But it takes a part of the core: depthwise convolutions, copies and whatever else waits for the nearest cache were measured 1.4 to 1.8 times
as slow, matrix products hardly, for a tenth of a second or for minutes. A few depthwise convolutions show it within 0.2 ms. What shares the
last cache with us makes a product with 16 MB of weights take up to twice as long.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
import onnx
from onnx import helper, numpy_helper

from graphopt.cost.profile.clock import repeat, timing
from graphopt.cost.profile.session import Bound, open_session

T = TypeVar("T")
Look = tuple[float, float]  # milliseconds of the depthwise convolutions, and of the product

# Times the usual least. Undisturbed looks at the convolutions lie within 1.1 of it, disturbed ones above 1.35; those at the product mostly
# within 1.3, or about 2.
_DISTURBED = (1.3, 1.6)
_USUAL_LEAST = 5  # percentile of looks: a single one may be lucky
_KEPT_LOOKS = 400  # that the percentile is taken of

_CHANNELS, _ROWS, _KERNEL, _LAYERS = 64, 14, 3, 4
_WEIGHTS = 2048  # inputs and outputs of the product
_SECONDS = (0.0004, 0.001)  # of one look
_LEAST_RUNS, _MOST_RUNS = 3, 8
_PAUSE_SECONDS = 0.002
_PATIENCE = 2 / 3  # of the time since the beginning that may be spent waiting
_FIRST_SECONDS = 1.0  # that may be waited whatever the time so far
_LONGEST_SECONDS = 10.0  # of one wait


def as_look(pair: Iterable[Any]) -> Look:
    """A look that was written as JSON."""
    core, memory = pair
    return float(core), float(memory)


def usual_least(looks: Iterable[Look]) -> Look:
    """What looks show where nothing disturbs, if that is so now and then."""
    core, memory = np.percentile(np.array(list(looks)), _USUAL_LEAST, axis=0).tolist()
    return core, memory


def worse(one: Look, other: Look) -> Look:
    """The larger times of both."""
    return max(one[0], other[0]), max(one[1], other[1])


def disturbed(look: Look, quiet: Look) -> bool:
    """Whether something disturbs, where `quiet` is what looks show otherwise."""
    return any(ms > most * least for ms, most, least in zip(look, _DISTURBED, quiet, strict=True))


def undisturbed(measured: Sequence[T], looks: Sequence[Look], quiet: Look | None) -> list[T]:
    """What was measured beside looks at which nothing disturbed; all of it where `quiet` is not known."""
    return [what for what, look in zip(measured, looks, strict=True) if quiet is None or not disturbed(look, quiet)]


class Canary:
    """The same two kernels again and again; `quiet` is what other processes have seen where nothing disturbed.

    Without `own_thread`, where several threads or another device compute, it sees nothing: a clock around 20 us says little of these.
    """

    def __init__(self, own_thread: bool, quiet: Look | None = None) -> None:
        models = (_convolutions(), _product()) if own_thread else ()
        self._calls = [
            Bound(open_session(model.SerializeToString(), 1, optimize=True), {"x": np.ones(shape, np.float32)}) for model, shape in models
        ]
        self._known = quiet
        self._looks: deque[Look] = deque(maxlen=_KEPT_LOOKS)
        self._began = time.perf_counter()
        self._waited = 0.0
        self.look()

    @property
    def quiet(self) -> Look:
        """The least that looks usually show."""
        own = usual_least(self._looks)
        return own if self._known is None else (min(own[0], self._known[0]), min(own[1], self._known[1]))

    def look(self) -> Look:
        """Milliseconds that each takes now."""
        found = (self._measured(0), self._measured(1)) if self._calls else (0.0, 0.0)
        self._looks.append(found)
        return found

    def _measured(self, which: int) -> float:
        runs = repeat(self._calls[which], _SECONDS[which], _LEAST_RUNS, _MOST_RUNS)
        return timing(runs, enough=_LEAST_RUNS).ms

    def disturbs(self, look: Look) -> bool:
        """Whether something did."""
        return disturbed(look, self.quiet)

    def wait(self, until: float = float("inf")) -> Look:
        """What is seen when nothing disturbs; or now, if patience or the time `until` (of `perf_counter`) ends before that.

        Patience is two thirds of the time so far: where it is never quiet, measuring takes three times as long, and no more.
        """
        start = time.perf_counter()
        while True:
            found = self.look()
            now = time.perf_counter()
            allowed = min(_FIRST_SECONDS + _PATIENCE * (now - self._began) - self._waited, _LONGEST_SECONDS, until - start)
            if not self.disturbs(found) or now - start >= allowed:
                self._waited += now - start
                return found
            time.sleep(_PAUSE_SECONDS)


def _convolutions() -> tuple[onnx.ModelProto, list[int]]:
    """A few depthwise convolutions that the nearest caches hold."""
    weight = numpy_helper.from_array(np.full((_CHANNELS, 1, _KERNEL, _KERNEL), 0.1, np.float32), "w")
    pads = [_KERNEL // 2] * 4
    nodes = [
        helper.make_node("Conv", ["x" if place == 0 else f"y{place - 1}", "w"], [f"y{place}"], group=_CHANNELS, pads=pads)
        for place in range(_LAYERS)
    ]
    return _model(nodes, weight, [1, _CHANNELS, _ROWS, _ROWS])


def _product() -> tuple[onnx.ModelProto, list[int]]:
    """A product with weights that only a large cache holds."""
    weight = numpy_helper.from_array(np.ones((_WEIGHTS, _WEIGHTS), np.float32), "w")
    return _model([helper.make_node("MatMul", ["x", "w"], ["y"])], weight, [1, _WEIGHTS])


def _model(nodes: Sequence[onnx.NodeProto], weight: onnx.TensorProto, shape: list[int]) -> tuple[onnx.ModelProto, list[int]]:
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in ("x", nodes[-1].output[0])]
    graph = helper.make_graph(nodes, "canary", values[:1], values[1:], [weight])
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), shape
