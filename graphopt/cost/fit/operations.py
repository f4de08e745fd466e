"""Published times of single kernels, found again among the kernels that the fusion rules make of the same network.

The table (qed_tflite_gpu_ops.csv) names an operator, its sizes, and the chain that was fused into it. A row and a kernel belong together
where these sizes agree; several alike are paired in the order of execution, those with the same chain first.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, pstdev

from graphopt.cost.fit.tables import Row, rows
from graphopt.cost.kernel import Signature
from graphopt.cost.target import MeasuredKernel

_FILE = "qed_tflite_gpu_ops.csv"
_OPERATORS = {
    "conv_2d": "conv",
    "conv_2d_group": "grouped",
    "depthwise_conv_2d": "depthwise",
    "concatenation": "concat",
    "mean": "mean",
    "average_pool_2d": "average",
    "max_pool_2d": "max",
    "fully_connected": "fc",
}
_POOLS = {"AveragePool": "average", "MaxPool": "max", "GlobalAveragePool": "mean"}
_UNSAID = frozenset({"winograd"})  # of such kernels the table does not tell what follows

Sizes = tuple[str | int, ...]


@dataclass
class Matching:
    """Kernels with their published times by network, and how far the table and the fusion rules agree."""

    ms: dict[Signature, list[float]] = field(default_factory=lambda: defaultdict(list))
    by_network: dict[str, dict[Signature, list[float]]] = field(default_factory=dict)
    rows: int = 0
    anchors: int = 0  # rows whose kernel was found
    chains: int = 0  # and what is fused into it agrees
    differing: Counter[tuple[str, str]] = field(default_factory=Counter)  # (chain of the table, chain of the rules)
    missing: Counter[str] = field(default_factory=Counter)  # rows without a kernel, by operator

    def measured(self, without: str | None = None) -> tuple[MeasuredKernel, ...]:
        """The table of kernels, `without` the times from one network."""
        times: dict[Signature, list[float]] = defaultdict(list)
        for name, kernels in self.by_network.items():
            if name != without:
                for sig, ms in kernels.items():
                    times[sig] += ms
        return tuple(MeasuredKernel(sig, fmean(ms), pstdev(ms), len(ms)) for sig, ms in times.items())


def match(data: Path, column: str, chains: str, networks: Iterable[tuple[str, Sequence[Signature]]]) -> Matching:
    """The kernels of `networks` (name, kernels in order) with the times of the table's `column`; `chains` is the column of fused chains."""
    by_model: dict[str, list[Row]] = defaultdict(list)
    for row in rows(data, _FILE):
        if row[column]:
            by_model[row["model"]].append(row)
    found = Matching()
    for name, kernels in networks:
        mine: dict[Signature, list[float]] = defaultdict(list)
        for row, sig, said in _pairs(by_model.get(name, []), kernels, chains, found):
            mine[sig].append(float(row[column]))
            found.anchors += 1
            own = chain(sig)
            if said in _UNSAID or _normal(said) == _normal(own):
                found.chains += 1
            else:
                found.differing[said, own] += 1
        found.by_network[name] = dict(mine)
    return found


def _pairs(table: Sequence[Row], kernels: Sequence[Signature], chains: str, found: Matching) -> list[tuple[Row, Signature, str]]:
    """Rows with the kernels that they are about."""
    waiting: dict[Sizes, list[Signature]] = defaultdict(list)
    for sig in kernels:
        sizes = kernel_sizes(sig)
        if sizes is not None:
            waiting[sizes].append(sig)
    open_: list[tuple[Row, Sizes, str]] = []
    pairs = []
    for row in table:
        found.rows += 1
        sizes, said = _row_sizes(row), _said(row, chains)
        alike = next((sig for sig in waiting[sizes] if _normal(chain(sig)) == _normal(said)), None)
        if alike is None:
            open_.append((row, sizes, said))
        else:
            waiting[sizes].remove(alike)
            pairs.append((row, alike, said))
    for row, sizes, said in open_:
        if waiting[sizes]:
            pairs.append((row, waiting[sizes].pop(0), said))
        else:
            found.missing[row["op"]] += 1
    return pairs


def _said(row: Row, chains: str) -> str:
    return row["fused_adreno640"] if row[chains] == "=" else row[chains]


def _row_sizes(row: Row) -> Sizes:
    kind = _OPERATORS[row["op"]]
    whole = {key: int(row[key] or 0) for key in ("h_in", "cin", "h_out", "stride", "kernel", "cout")}
    if kind in ("conv", "grouped"):
        return kind, whole["cin"], whole["cout"], whole["kernel"], whole["stride"], whole["h_out"]
    if kind == "depthwise":
        return kind, whole["cin"], whole["kernel"], whole["stride"], whole["h_out"]
    if kind == "concat":
        return kind, whole["kernel"], whole["h_in"]
    if kind == "mean" or (kind == "average" and whole["h_out"] == 1 and whole["kernel"] == whole["h_in"]):
        return "mean", whole["h_in"], whole["cin"]
    if kind == "fc":
        return kind, whole["cin"], whole["cout"]
    return kind, whole["cin"], whole["kernel"], whole["stride"], whole["h_out"]


def kernel_sizes(sig: Signature) -> Sizes | None:
    """What the table says of a kernel like this; None for one that it does not list."""
    data, weight = sig.operand(0), sig.operand(1)
    if data is None:
        return None
    out = sig.outputs[0].shape
    stride = _first(sig, "strides", 1)
    if sig.operator == "Conv" and weight is not None and len(out) == 4:
        group, (made, inner, side, _) = sig.attribute("group", 1), weight.shape
        if group == 1:
            return "conv", inner, made, side, stride, out[2]
        if group == data.shape[1]:
            return "depthwise", data.shape[1], side, stride, out[2]
        return "grouped", data.shape[1], made, side, stride, out[2]
    if sig.operator in ("Gemm", "MatMul") and weight is not None and weight.constant:
        transposed = sig.attribute("transB", 0)
        return "fc", weight.shape[1 if transposed else 0], weight.shape[0 if transposed else 1]
    if sig.operator == "Concat" and len(out) == 4:
        return "concat", len(sig.operands), out[2]
    if sig.operator in _POOLS and len(out) == 4:
        side = _first(sig, "kernel_shape", data.shape[2])
        if _POOLS[sig.operator] == "mean" or (sig.operator == "AveragePool" and out[2] == 1 and side == data.shape[2]):
            return "mean", data.shape[2], data.shape[1]
        return _POOLS[sig.operator], data.shape[1], side, stride, out[2]
    return None


def chain(sig: Signature) -> str:
    """What is fused, in the words of the table: `conv+add+relu`."""
    sizes = kernel_sizes(sig)
    kind = "" if sizes is None else str(sizes[0])
    small = sig.operator == "Conv" and sig.outputs[0].shape[2:] == (1, 1)
    words = [
        {"depthwise": "dw", "grouped": "conv_grouped", "average": "pooling_2d", "max": "pooling_2d"}.get(kind, "fc" if small else kind)
    ]
    if sig.operator == "Conv" and sig.operand(3) is not None:
        words.append("add")
    activation = sig.attribute("activation")
    if isinstance(activation, str):
        words.append({"Clip": "relu", "HardSwish": "hard_swish", "HardSigmoid": "relu+mul"}.get(activation, activation.lower()))
    return "+".join(words)


def _normal(text: str) -> str:
    """Without what does not depend on the graph alone: normalisations spelled out, the bound of a clipped Relu."""
    text = text.replace("+minimum+relu", "+relu").replace("+mul+add+relu", "+relu")
    return re.sub(r"\+add(?:\+add)+", "+add", text)


def _first(sig: Signature, name: str, default: int) -> int:
    value = sig.attribute(name)
    return value[0] if isinstance(value, tuple) and value and isinstance(value[0], int) else default
