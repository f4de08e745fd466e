"""How much memory and time `reconstruct` takes on a ResNet-50 at 224 x 224, pictures streamed from a file.

    python benchmarks/repair_memory.py [--pictures 128] [--pipeline "prune-channels{ratio=0.5}"] [--threads N] [--folder DIR]

The network is made here, with random weights; so are the pictures, written to a .npy file that the run maps as `--data` does. The run is a
process of its own, whose largest resident memory counts: interpreter, libraries, model, original and all. Exits with status 1 where that is
not below twice the model's bytes plus 500 MB. `--folder` is where pictures and the walk's temporary file are put.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from _machine import machine
from cost_speed import resnet50

import graphopt
from graphopt.ir import Graph, load, save

MB = 1_000_000
PICTURE = (3, 224, 224)


def limit(model_bytes: int) -> int:
    return 2 * model_bytes + 500 * MB


def network() -> Graph:
    """With weights of such a size that values neither grow nor vanish from layer to layer, and any number of pictures at a time."""
    graph = resnet50()
    for node in graph.nodes:
        weight = graph.constant(node.input(1)) if node.op_type in ("Conv", "Gemm") else None
        if weight is None:
            continue
        before, bias = node.input(1), node.input(2)
        assert before is not None
        assert bias is not None
        graph.set_tensor(before, weight * np.float32(np.sqrt(1.0 / weight[0].size)))
        graph.set_tensor(bias, np.zeros(graph.shape(bias), np.float32))
    proto = graph.to_proto()
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    return Graph.from_proto(proto)


def write_pictures(path: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    array = np.lib.format.open_memmap(path, "w+", np.float32, (count, *PICTURE))
    for start in range(0, count, 16):
        some = array[start : start + 16]
        coarse = rng.standard_normal((len(some), 3, 28, 28), np.float32)  # neighbouring pixels are alike, as in pictures
        some[:] = coarse.repeat(8, axis=2).repeat(8, axis=3) + 0.3 * rng.standard_normal(some.shape, np.float32)
    array.flush()


def work(model: Path, pictures: Path, pipeline: str) -> None:
    """The run whose memory counts."""
    graph = load(model)
    done = graphopt.run(graph, f"{pipeline},reconstruct", data={"x": np.load(pictures, mmap_mode="r")})
    last = done.steps[-1]
    print(json.dumps({"seconds": last.seconds, "peak": largest_resident(), "summary": dict(done.results[-1].summary)}))


def largest_resident() -> int:
    """Bytes. Linux's `ru_maxrss` begins with that of the process which started this one, and that one wrote all of the pictures."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=128)
    parser.add_argument("--pipeline", default="prune-channels{ratio=0.5}")
    parser.add_argument("--threads", type=int, help="processors that the run may use (all)")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--work", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        if options.threads and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
        work(*options.work, options.pipeline)
        return 0
    with tempfile.TemporaryDirectory(prefix="graphopt-", dir=options.folder) as folder:
        model, pictures = Path(folder) / "resnet50.onnx", Path(folder) / "pictures.npy"
        save(network(), model)
        write_pictures(pictures, options.pictures)
        command = [sys.executable, __file__, "--work", str(model), str(pictures), "--pipeline", options.pipeline]
        command += ["--threads", str(options.threads)] if options.threads else []
        threads = {name: str(options.threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")} if options.threads else {}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "TMPDIR": folder, **threads})
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            return 1
        found, size = json.loads(done.stdout.splitlines()[-1]), model.stat().st_size
    most = limit(size)
    print(f"{machine('onnxruntime', 'numpy', 'scipy')}; {options.threads or 'all'} processors used")
    print(f"ResNet-50 of {size / MB:.0f} MB, {options.pictures} pictures of {options.pictures * 4 * np.prod(PICTURE) / MB:.0f} MB together")
    print(f"{options.pipeline},reconstruct: {found['summary']}")
    print(f"time of reconstruct {found['seconds']:.1f} s, {found['seconds'] / options.pictures:.2f} s for each picture")
    print(
        f"{'PASS' if found['peak'] < most else 'FAIL'}  largest resident memory {found['peak'] / MB:.0f} MB (goal: below {most / MB:.0f} MB)"
    )
    return int(found["peak"] >= most)


if __name__ == "__main__":
    sys.exit(main())
