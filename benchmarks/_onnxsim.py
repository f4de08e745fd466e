"""One model through onnxsim's `apply_structured_pruning`, timed and checked; prints one line of JSON. Started by coverage.py.

    python benchmarks/_onnxsim.py MODEL.onnx [--ratio 0.5]

Its answer does not say which channels it kept, so they are looked up: the values of a smaller weight are searched in the original one.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import _masked
import numpy as np
import onnx
from _ours import checker, one_line
from onnx import numpy_helper
from onnxsim import apply_structured_pruning

import graphopt
from graphopt.cost import parameters


def kept_indices(before: np.ndarray[Any, Any], after: np.ndarray[Any, Any]) -> dict[str, list[int]] | None:
    """Which indices of each axis of `before` are left in `after`; None if `after` is no slice of it."""
    order = np.argsort(before, axis=None)
    ordered = before.reshape(-1)[order]
    kept = []
    for axis, size in enumerate(after.shape):  # equal values make single look-ups wrong: the majority of a slice decides
        rows = np.moveaxis(after, axis, 0).reshape(size, -1)
        rows = rows[:, :: max(1, rows.shape[1] // 64)]
        places = order[np.minimum(np.searchsorted(ordered, rows.reshape(-1)), before.size - 1)]
        found = np.unravel_index(places, before.shape)[axis].reshape(rows.shape)
        kept.append([Counter(row.tolist()).most_common(1)[0][0] for row in found])
    if any(len(set(indices)) < len(indices) for indices in kept) or not np.array_equal(before[np.ix_(*kept)], after):
        return None
    return {str(axis): indices for axis, indices in enumerate(kept) if len(indices) < before.shape[axis]}


def kept_by_weight(before: onnx.ModelProto, after: onnx.ModelProto) -> tuple[dict[str, dict[str, list[int]]], list[str]]:
    """The indices that stay by initializer, for those of two axes or more that became smaller, and the names of those that are no slices."""
    originals = {tensor.name: tensor for tensor in before.graph.initializer}
    kept, unknown = {}, []
    for tensor in after.graph.initializer:
        original = originals.get(tensor.name)
        if original is None or len(tensor.dims) < 2 or list(original.dims) == list(tensor.dims) or math.prod(tensor.dims) == 0:
            continue
        found = kept_indices(numpy_helper.to_array(original), numpy_helper.to_array(tensor))
        if found is None:
            unknown.append(tensor.name)
        else:
            kept[tensor.name] = found
    return kept, unknown


def check(path: str, ratio: float, found: dict[str, Any]) -> None:
    """Fill `found`. A model works if the checker takes it and ONNX Runtime runs it; `strict` is what full shape inference says against it."""
    model = onnx.load(path)
    original = graphopt.load(path)
    inputs = [_masked.random_inputs(original, seed) for seed in (1, 2)]
    start = time.perf_counter()
    pruned = apply_structured_pruning(model, sparsity=ratio)
    found["seconds"] = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "pruned.onnx")
        onnx.save(pruned, file)
        found["checker"], found["strict"] = checker(file, full=False), checker(file)
        found["left"] = parameters(graphopt.load(file)) / parameters(original)
        outputs = _masked.run(file, inputs)
    found["works"] = not found["checker"]
    kept, unknown = kept_by_weight(model, pruned)
    if unknown:
        found["error"] = math.nan
        return
    _masked.mask(original, kept)
    found["error"] = _masked.relative_error(_masked.run(original.to_proto().SerializeToString(), inputs), outputs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--ratio", type=float, default=0.5)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    found: dict[str, Any] = {"works": False}
    try:
        check(options.model, options.ratio, found)
    except Exception as error:  # a fact of the table
        found["why"] = one_line(error)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
