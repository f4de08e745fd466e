"""The machine that is measured: its processor, the blocks of its runtime, the best processor to measure on."""

from __future__ import annotations

import platform
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

from graphopt.cost.attributes import NCHWC
from graphopt.cost.profile.clock import pinned, processors, repeat, timing
from graphopt.cost.profile.session import CPU, Bound, open_session
from graphopt.errors import TargetError


@dataclass(frozen=True)
class Host:
    """All that times depend on, beside the kernels: measurements of two different hosts are never mixed."""

    cpu: str
    runtime_version: str
    provider: str
    precision: str
    threads: int
    block: int

    @property
    def own_thread(self) -> bool:
        """Whether the thread that calls the runtime computes, and alone, so that its processor time says something."""
        return self.threads == 1 and self.provider == CPU

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def check(self, other: Host, where: Path) -> None:
        """Raise TargetError, which names what differs, if `other`, with which the folder was measured, is not this."""
        words = {"runtime_version": "onnxruntime", "cpu": "processor", "block": "blocks of channels"}
        for name, mine in self.to_json().items():
            theirs = other.to_json()[name]
            if mine != theirs:
                raise TargetError(
                    f"{where} was measured with {words.get(name, name)} {theirs!r}, and this is {mine!r}: the times do not go together; "
                    "write to another folder"
                )


def this_host(provider: str, threads: int, precision: str) -> Host:
    """The machine as it is now."""
    return Host(cpu_name(), ort.__version__, provider, precision, threads, channel_block(provider))


def cpu_name() -> str:
    """The processor's model as the system names it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() in ("model name", "Model", "cpu model"):
                    return " ".join(value.split())
    except OSError:
        pass  # no Linux
    return platform.processor() or platform.machine() or "unknown"


def channel_block(provider: str = CPU) -> int:
    """The channels that ONNX Runtime holds side by side in its blocked layout, 1 where it uses none: what it pads one filter to."""
    weight = np.ones((1, 64, 3, 3), np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], "conv", kernel_shape=[3, 3])],
        "probe",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 64, 8, 8])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 1, 6, 6])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    with tempfile.TemporaryDirectory(prefix="graphopt-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "optimized.onnx"
        open_session(model.SerializeToString(), 1, provider, optimize=True, optimized_path=str(path))
        if not path.exists():
            return 1
        optimized = onnx.load(path, load_external_data=False)
    sizes = {tensor.name: tensor.dims[0] for tensor in optimized.graph.initializer}
    return max((sizes.get(node.input[1], 1) for node in optimized.graph.node if node.domain == NCHWC and node.op_type == "Conv"), default=1)


def best_processor(most: int = 16) -> int | None:
    """The processor on which a small product runs fastest; None where processes cannot be pinned to one."""
    candidates = processors()[:most]
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    rng = np.random.default_rng(0)
    a = rng.normal(size=(96, 96)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "x"], ["y"])],
        "probe",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [96, 96])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [96, 96])],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()
    call = Bound(open_session(model, 1, optimize=False), {"x": a})
    times = {}
    for processor in candidates:
        with pinned(processor):
            times[processor] = timing(repeat(call, 0.005, 5, 50)).ms
    return min(candidates, key=lambda processor: times[processor])
