"""Time of extracting subnets from full-size supernets, apart from loading and saving.

    python benchmarks/extract.py [--folder DIR] [--repeats 5] [--json FILE]

Needs torch and the package `ofa` (`pip install ofa`), from which the supernets of the published spaces are exported with random weights,
unless they are already in DIR from an earlier run. Three subnets of each, the largest, the middle and the smallest, and of MobileNetV3 1.0
every exporter, with BatchNormalization kept and folded. What is timed is the reading of side file and transforms, the extraction and the
computing of every weight; the median of the repeats, wall clock. Exits with status 1 where a subnet of MobileNetV3 1.0 takes over 0.5 s,
or where parameters or Conv nodes are not those that are published.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _machine import machine

import graphopt
from graphopt.supernet import extract, load_supernet, parse_config, transforms_beside

MOST_SECONDS = 0.5
MBCONV: tuple[dict[str, Any], ...] = ({}, {"ks": 5, "e": 4, "d": 3}, {"ks": 3, "e": 3, "d": 2})
RESNET: tuple[dict[str, Any], ...] = ({}, {"d": 1, "e": 0.25, "w": 1}, {"d": 0, "e": 0.2, "w": 0})
# Trainable parameters and Conv nodes of the published spaces with 1000 classes.
PUBLISHED = {
    "mbv3-1.0": ((7_664_760, 89), (4_551_792, 68), (3_410_792, 47)),
    "mbv3-1.2": ((10_701_632, 89), (6_245_312, 68), (4_602_456, 47)),
    "proxyless-1.3": ((7_942_056, 67), (5_053_864, 52), (3_718_832, 37)),
    "resnet": ((48_105_992, 61), (15_860_768, 48), (6_539_280, 36)),
}
EXPORTS = [("mbv3-1.0", exporter, bn) for exporter in ("torchscript", "dynamo") for bn in (True, False)]
EXPORTS += [(space, "torchscript", True) for space in PUBLISHED if space != "mbv3-1.0"]


def module(space: str) -> Any:
    from ofa.imagenet_classification.elastic_nn.networks import OFAMobileNetV3, OFAProxylessNASNets, OFAResNets

    if space == "resnet":
        return OFAResNets(dropout_rate=0, depth_list=[0, 1, 2], expand_ratio_list=[0.2, 0.25, 0.35], width_mult_list=[0.65, 0.8, 1.0])
    name, width = space.split("-")
    kind = OFAMobileNetV3 if name == "mbv3" else OFAProxylessNASNets
    return kind(dropout_rate=0, width_mult=float(width), ks_list=[3, 5, 7], expand_ratio_list=[3, 4, 6], depth_list=[2, 3, 4])


def exported(folder: Path, space: str, exporter: str, keep_bn: bool) -> Path:
    place = folder / f"{space}.{exporter}.{'kept' if keep_bn else 'folded'}"
    if not (place / "supernet.json").exists():
        from graphopt.torch import export_supernet

        print(f"exporting {place.name}", file=sys.stderr)
        export_supernet(module(space), place, exporter=exporter, keep_bn=keep_bn)
    return place


def trained(graph: graphopt.Graph) -> int:
    """Trainable parameters: weights and biases, scales and shifts of normalizations."""
    slots = {"Conv": (1, 2), "BatchNormalization": (1, 2), "Gemm": (1, 2)}
    read = [
        graph.constant(node.input(slot)) for node in graph.nodes for slot in slots.get(node.op_type, ()) if node.input(slot) is not None
    ]
    return sum(array.size for array in read if array is not None)


def timed(whole: graphopt.Graph, place: Path, config: dict[str, Any]) -> tuple[float, graphopt.Graph]:
    graph = whole.copy()
    start = time.perf_counter()
    supernet = load_supernet(place / "supernet.json")
    extract(graph, supernet, parse_config(config), transforms_beside(supernet))
    for value in graph.initializers:
        if value.tensor is not None:
            value.tensor.numpy()
    return time.perf_counter() - start, graph


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="keep the exported supernets there")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    about = machine("graphopt", "onnx", "numpy", "torch", "ofa")
    rows, failed = [], []
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        print(
            f"{about}\n\n| supernet | exporter | BN | subnet | parameters | Conv | seconds |\n| --- | --- | --- | --- | ---: | ---: | ---: |"
        )
        for space, exporter, keep_bn in EXPORTS:
            place = exported(folder, space, exporter, keep_bn)
            whole = graphopt.load(place / "supernet.onnx")
            for size, config, expected in zip(
                ("largest", "middle", "smallest"), RESNET if space == "resnet" else MBCONV, PUBLISHED[space], strict=True
            ):
                clocks = [timed(whole, place, config) for _ in range(options.repeats)]
                seconds, graph = statistics.median(clock for clock, _ in clocks), clocks[-1][1]
                found = trained(graph), sum(node.op_type == "Conv" for node in graph.nodes)
                row = [space, exporter, "kept" if keep_bn else "folded", size, *found, round(seconds, 3)]
                rows.append(row)
                print("| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row) + " |", flush=True)
                if (found if keep_bn else found[1:]) != (expected if keep_bn else expected[1:]):  # folding leaves fewer parameters
                    failed.append(f"{space}, {size}: {found}, published {expected}")
                if space == "mbv3-1.0" and seconds > MOST_SECONDS:
                    failed.append(f"{' '.join(map(str, row[:4]))} takes {seconds:.2f} s (at most {MOST_SECONDS})")
    print(
        "\n"
        + ("\n".join(f"FAIL  {line}" for line in failed) or "PASS  parameters and Conv nodes as published, MobileNetV3 1.0 within 0.5 s")
    )
    if options.json:
        options.json.write_text(json.dumps({"machine": about, "rows": rows}, indent=1))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
