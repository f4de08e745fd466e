"""How far `prune-channels` reaches over the zoo, beside Torch-Pruning and onnxsim.

    python benchmarks/coverage.py --zoo DIR [--torch-python PYTHON --script export_zoo.py [--export]] [--only GLOB ...] [--json FILE]

DIR holds exported models, named like own.unet.torchscript.onnx (specification, exporter); with --export, SCRIPT writes them there first, in the
interpreter PYTHON. Every model goes through `prune-channels{ratio=0.5 criterion=l2}` with the default alignment, and through onnxsim's
`apply_structured_pruning` where onnxsim is installed; every architecture, built by SCRIPT, through Torch-Pruning where PYTHON is given. Each
run is a process of its own with a time limit. What the checks are is told in _ours.py and _masked.py. Exits with status 1 when a limit of the
summary is missed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import _coverage_table as table
from _machine import machine

HERE = Path(__file__).resolve().parent
EXPORTERS = ("torchscript", "dynamo")
_VERSIONS = """
from importlib.metadata import version
print(*(f"{name} {version(name)}" for name in ("torch", "torch-pruning", "torchvision", "timm", "transformers")), sep=", ")
"""


def work(command: Sequence[str], limit: float) -> dict[str, Any]:
    """The JSON object that a worker prints in its last line, or {"why": ...} where it fails or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"works": False, "why": f"more than {limit:.0f} s"}
    try:
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        lines = done.stderr.strip().splitlines()
        return {"works": False, "why": f"exit status {done.returncode}: {lines[-1] if lines else 'no message'}"}
    return found


def models(zoo: Path, patterns: Sequence[str]) -> Iterator[tuple[str, str, Path]]:
    """(architecture, exporter, file) of every model whose architecture matches a pattern."""
    for path in sorted(zoo.glob("*.onnx")):
        architecture, _, exporter = path.stem.rpartition(".")
        if exporter in EXPORTERS and any(fnmatchcase(architecture, pattern) for pattern in patterns):
            yield architecture, exporter, path


def export(python: str, script: str, zoo: Path) -> None:
    for exporter in EXPORTERS:
        subprocess.run([python, script, str(zoo), "--exporter", exporter], check=True)


def measure(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """{architecture: {exporter: {"graphopt": ..., "onnxsim": ...}, "torch-pruning": ...}}"""
    results: dict[str, dict[str, Any]] = {}
    began = time.perf_counter()
    for architecture, exporter, path in models(options.zoo, options.only):
        entry = results.setdefault(architecture, {})
        entry[exporter] = {"graphopt": work([sys.executable, str(HERE / "_ours.py"), str(path)], options.limit)}
        if "onnxsim" in options.peers:
            entry[exporter]["onnxsim"] = work([sys.executable, str(HERE / "_onnxsim.py"), str(path)], options.limit)
        if "torch-pruning" in options.peers and "torch-pruning" not in entry:
            spec = architecture.replace(".", ":", 1)
            command = [options.torch_python, str(HERE / "_torch_pruning.py"), options.script, spec]
            entry["torch-pruning"] = work(command, options.limit)
        failed = table.failed_checks(entry[exporter]["graphopt"])
        print(f"{time.perf_counter() - began:6.0f} s  {path.stem}: {', '.join(failed) or 'ok'}", file=sys.stderr, flush=True)
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True, help="folder of exported models")
    parser.add_argument("--script", help="script that defines build(spec) and exports: shared/zoo/export_zoo.py")
    parser.add_argument("--torch-python", help="interpreter with torch, torchvision, timm, transformers and torch-pruning")
    parser.add_argument("--export", action="store_true", help="export what is missing in the folder first")
    parser.add_argument("--only", nargs="+", default=["*"], metavar="GLOB", help="architectures, such as 'torchvision.*'")
    parser.add_argument(
        "--peers", nargs="*", default=["torch-pruning", "onnxsim"], choices=("torch-pruning", "onnxsim"), help="none: ours only"
    )
    parser.add_argument("--limit", type=float, default=120, help="seconds for one model in one tool")
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--from-json", type=Path, help="print the tables of an earlier run")
    options = parser.parse_args()
    if (options.export or "torch-pruning" in options.peers) and not (options.torch_python and options.script) and not options.from_json:
        parser.error("Torch-Pruning and --export need --torch-python and --script; leave Torch-Pruning out with --peers")
    if options.from_json:
        kept = json.loads(options.from_json.read_text())
        about, results = kept["about"], kept["results"]
    else:
        if options.export:
            export(options.torch_python, options.script, options.zoo)
        about = [machine("graphopt", "onnx", "onnxruntime", "numpy", "networkx", "onnxsim")]
        if options.torch_python:
            done = subprocess.run([options.torch_python, "-c", _VERSIONS], capture_output=True, text=True, check=False)
            about.append(f"torch modules: {done.stdout.strip() or done.stderr.strip()[-200:]}")
        results = measure(options)
    if options.json:
        options.json.write_text(json.dumps({"about": about, "results": results}, indent=1))
    print("  \n".join(about))
    print(f"\n{table.ours(results)}\n\n{table.peers(results)}\n")
    limits = table.limits(results)
    for line in table.remarks(results):
        print(line)
    print()
    for passed, text in limits:
        print(f"{'PASS' if passed else 'FAIL'}  {text}")
    return int(not all(passed for passed, _ in limits))


if __name__ == "__main__":
    sys.exit(main())
