"""Kernels whose times follow a law that the tests know, and networks of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from graphopt.cost.features import describe
from graphopt.cost.kernel import Operand, Signature, signature
from graphopt.cost.target import MeasuredKernel, MeasuredNetwork, Target

BLOCK = 16
LAUNCH_MS, MAC_MS, BYTE_MS = 0.003, 1.2e-8, 5e-8
DEARER = {"nchwc.dense": 1.0, "nchwc.pointwise": 1.2, "nchwc.depthwise": 4.0, "nchwc.image": 2.0, "relu": 1.0}
SCALE, PER_KERNEL_MS, RUN_MS = 1.05, 0.0005, 0.03


def conv(cin: int, cout: int, size: int, kernel: int = 3, stride: int = 1, group: int = 1, operator: str = "nchwc.Conv") -> Signature:
    """A square convolution with Relu on the image [1, cin, size, size]."""
    made = size // stride
    attributes: list[tuple[str, int | str | tuple[int, ...]]] = [("kernel_shape", (kernel, kernel)), ("activation", "Relu")]
    attributes += [("strides", (stride, stride))] if stride > 1 else []
    attributes += [("group", group)] if group > 1 else []
    weights = [Operand((cout, cin // group, kernel, kernel), constant=True), Operand((cout,), constant=True)]
    return signature(operator, [Operand((1, cin, size, size)), *weights], [Operand((1, cout, made, made))], attributes)


def elementwise(operator: str, *shape: int, inputs: int = 1) -> Signature:
    return signature(operator, [Operand(shape)] * inputs, [Operand(shape)])


def gemm(rows: int, depth: int, made: int) -> Signature:
    weight = Operand((depth, made), constant=True)
    return signature("Gemm", [Operand((rows, depth)), weight], [Operand((rows, made))])


def law(sig: Signature, wave: float = 0.1) -> float:
    """Milliseconds: linear in operations and bytes, times a wave in log widths."""
    kernel = describe(sig, BLOCK)
    amounts = kernel.features
    ms = LAUNCH_MS + DEARER[kernel.family] * MAC_MS * amounts["macs"] + BYTE_MS * (amounts["in_bytes"] + amounts["out_bytes"])
    return float(ms * np.exp(wave * np.sin(2 * kernel.place.get("made", 0.0)) * np.cos(kernel.place.get("taken", 0.0))))


def network_ms(kernels: Sequence[Signature]) -> float:
    """What a network takes: more than the sum of its kernels."""
    return SCALE * sum(law(sig) for sig in kernels) + PER_KERNEL_MS * len(kernels) + RUN_MS


def random_network(rng: np.random.Generator) -> list[Signature]:
    """Kernels of a network of four stages, of dense, bottleneck and depthwise blocks."""
    width, size = int(rng.choice([16, 32, 48])), 112
    found = [conv(3, width, 224, stride=2)]
    for stage in range(4):
        made = max(16, int(rng.integers(2, 12)) * 16 * (stage + 1) // 2 // 16 * 16)
        for place in range(int(rng.integers(1, 4))):
            stride = 2 if place == 0 else 1
            match rng.integers(3):
                case 0:
                    found.append(conv(width, made, size, 3, stride))
                case 1:
                    found += [conv(width, made, size, 1, stride), conv(made, made, size // stride)]
                case _:
                    found += [conv(width, made, size, 1), conv(made, made, size, int(rng.choice([3, 5])), stride, group=made)]
                    found.append(elementwise("Relu", 1, made, size // stride, size // stride))
            width, size = made, size // stride
    return found


def measured_target(kernels_from: int = 8, networks: int = 40, noise: float = 0.01, seed: int = 0) -> Target:
    """A target as a profile would leave it: the kernels of a few networks, and whole other networks. Not fitted."""
    rng = np.random.default_rng(seed)
    others = [random_network(rng) for _ in range(networks)]
    seen = dict.fromkeys(sig for _ in range(kernels_from) for sig in random_network(rng))

    def noisy(ms: float) -> float:
        return float(ms * np.exp(rng.normal() * noise))

    return Target(
        "board",
        "a board",
        "onnxruntime",
        "onnxruntime-cpu",
        description="follows a law",
        block=BLOCK,
        align=BLOCK,
        aliases=("plank",),
        provenance={"source": "tests"},
        kernels=tuple(MeasuredKernel(sig, noisy(law(sig)), 0.01, 3) for sig in seen),
        networks=tuple(
            MeasuredNetwork(f"network {place}", noisy(network_ms(sigs)), 0.01, tuple((sig, sigs.count(sig)) for sig in dict.fromkeys(sigs)))
            for place, sigs in enumerate(others)
        ),
    )


def without_kernels(target: Target) -> Target:
    return replace(target, kernels=())
