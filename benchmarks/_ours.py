"""One model through `prune-channels`, timed and checked; prints one line of JSON. Started by coverage.py.

python benchmarks/_ours.py MODEL.onnx [--ratio 0.5] [--repeats 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import _masked
import onnx

import graphopt
from graphopt.channels import analyse, prunable_parameters
from graphopt.cost import parameters
from graphopt.ir import Graph
from graphopt.pipeline import Context, PassResult
from graphopt.report import installed_passes

_PRUNE = installed_passes().get("prune-channels")
_ENOUGH = 10.0  # seconds: no further repeat after so long
SENSITIVE = 1e-3  # relative change of every output between two inputs, at least, for a comparison that means something


def prune(graph: Graph, ratio: float, include_inexact: bool = False) -> PassResult:
    return _PRUNE(ratio=ratio, criterion="l2", include_inexact=include_inexact).apply(graph, Context())


def materialise(graph: Graph) -> None:
    """Evaluate the slices that the pass left to the saving of the model, so that their time counts."""
    for value in graph.initializers:
        if value.tensor is not None:
            value.tensor.numpy()


def times(path: str, ratio: float, repeats: int) -> dict[str, float]:
    """Median seconds of the analysis alone, and of the whole pass (analysis, scores, cut) with the weights sliced; loading not included."""
    alone, whole = [], []
    began = time.perf_counter()
    while len(whole) < repeats and time.perf_counter() - began < _ENOUGH:
        graph = graphopt.load(path)
        start = time.perf_counter()
        analyse(graph)
        alone.append(time.perf_counter() - start)
        graph = graphopt.load(path)
        start = time.perf_counter()
        prune(graph, ratio)
        materialise(graph)
        whole.append(time.perf_counter() - start)
    return {"analysis_s": statistics.median(alone), "total_s": statistics.median(whole)}


def coverage(path: str) -> dict[str, Any]:
    graph = graphopt.load(path)
    analysis = analyse(graph)
    total = parameters(graph)
    return {
        "nodes": len(graph.nodes),
        "groups": sum(group.prunable for group in analysis.groups),
        "parameters": total,
        "exact": prunable_parameters(analysis) / total,
        "inexact": prunable_parameters(analysis, include_inexact=True) / total,
    }


def operators(graph: Graph) -> Counter[tuple[str, str]]:
    return Counter((node.domain, node.op_type) for node in graph.walk())


def interface(graph: Graph) -> list[Any]:
    return [(value.name, graph.types().get(value)) for value in (*graph.inputs, *graph.outputs)]


def load(path: str, ratio: float, strength: float | None) -> Graph:
    """The model, its weights stirred if there is a `strength` (see `_masked.stir`)."""
    graph = graphopt.load(path)
    if strength is not None:
        _masked.stir(graph, ratio, strength)
    return graph


def masked_outputs(path: str, ratio: float, strength: float | None, inputs: list[_masked.Arrays]) -> _masked.Outputs:
    """What the original gives with everything that the cut removes set to zero."""
    masked = load(path, ratio, strength)
    _masked.mask(masked, prune(masked.copy(), ratio).kept)
    return _masked.run(masked.to_proto().SerializeToString(), inputs)


def checks(path: str, ratio: float, include_inexact: bool = False) -> dict[str, Any]:
    """Cut, save, check the file and run it; without inexact groups, also compare it with the masked original."""
    original, cut = graphopt.load(path), graphopt.load(path)
    inputs = [_masked.random_inputs(original, seed) for seed in (1, 2)]
    prune(cut, ratio, include_inexact)
    found: dict[str, Any] = {
        "left": parameters(cut) / parameters(original),
        "new_operators": sum((operators(cut) - operators(original)).values()),
        "interface": interface(cut) == interface(original),
    }
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "cut.onnx")
        graphopt.save(cut, file)
        found["checker"] = checker(file)
        try:
            outputs = _masked.run(file, inputs)
        except Exception as error:  # a fact of the table; onnxruntime's errors have no common base
            return found | {"runs": False, "shapes": False, "why": one_line(error)}
    found |= {"runs": True, "shapes": [output.shape for output in outputs[0]] == output_shapes(original, outputs[0])}
    if not include_inexact:
        found |= compare(masked_outputs(path, ratio, None, inputs), outputs)
    return found


def stirred_checks(path: str, ratio: float) -> dict[str, float]:
    """Masked equality from stirred weights, only as much as it takes to make the outputs depend on the inputs."""
    inputs = [_masked.random_inputs(graphopt.load(path), seed) for seed in (1, 2)]
    for strength in (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        expected = masked_outputs(path, ratio, strength, inputs)
        if _masked.response(expected) >= SENSITIVE:
            break
    cut = load(path, ratio, strength)
    prune(cut, ratio)
    return compare(expected, _masked.run(cut.to_proto().SerializeToString(), inputs)) | {"strength": strength}


def compare(expected: _masked.Outputs, outputs: _masked.Outputs) -> dict[str, float]:
    return {"error": _masked.relative_error(expected, outputs), "response": _masked.response(expected)}


def output_shapes(graph: Graph, outputs: list[Any]) -> list[Any]:
    """The shapes that the graph states for its outputs, free sizes as in `outputs`."""
    shapes = []
    for value, output in zip(graph.outputs, outputs, strict=True):
        stated = graph.shape(value) or output.shape
        shapes.append(tuple(size if isinstance(size, int) else found for size, found in zip(stated, output.shape, strict=True)))
    return shapes


def checker(file: str, full: bool = True) -> str:
    """Empty, or what the ONNX checker, by default with full shape inference, says against the file."""
    try:
        onnx.checker.check_model(file, full_check=full)
    except Exception as error:  # ValidationError, InferenceError or what they wrap
        return one_line(error)
    return ""


def one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--ratio", type=float, default=0.5)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    found = coverage(options.model) | times(options.model, options.ratio, options.repeats)
    found["as_is"] = checks(options.model, options.ratio)
    found["stirred"] = stirred_checks(options.model, options.ratio)
    found["with_inexact"] = checks(options.model, options.ratio, include_inexact=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
