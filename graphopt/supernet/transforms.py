"""Kernel transformation matrices, which make a smaller depthwise kernel of a larger one."""

from __future__ import annotations

import itertools
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from graphopt.errors import SupernetError

Array = npt.NDArray[Any]


class Transforms:
    """Matrices by key, `<depthwise weight initializer>.7to5_matrix`, each of s*s x s*s with outputs as rows. `source` is for messages."""

    def __init__(self, matrices: Mapping[str, Array], source: str = "transforms") -> None:
        self.matrices, self.source = dict(matrices), source

    def chain(self, weight: str, steps: Sequence[tuple[int, int]]) -> tuple[Array, ...]:
        """The matrices of the steps (from size, to size) of one weight. Raises SupernetError for one that is missing or misshapen."""
        found = []
        for larger, smaller in steps:
            key, size = f"{weight}.{larger}to{smaller}_matrix", smaller**2
            matrix = self.matrices.get(key)
            if matrix is None:
                raise SupernetError(f"{self.source} has no {key!r}, which a kernel of size {smaller} or less needs")
            if matrix.shape != (size, size) or matrix.dtype.kind != "f":
                raise SupernetError(f"{self.source}: {key!r} must be {size} x {size} floats, not {matrix.dtype} {list(matrix.shape)}")
            found.append(matrix)
        return tuple(found)


def load_transforms(path: str | os.PathLike[str]) -> Transforms:
    """Read the matrices from an .npz file; nothing in it is executed. Raises SupernetError."""
    name = os.fspath(path)
    try:
        with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return Transforms({key: file[key] for key in file.files}, name)
    except OSError as error:
        raise SupernetError(f"cannot read transforms {name}: {error.strerror or error}") from None
    except (ValueError, EOFError, KeyError, AttributeError, TypeError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise SupernetError(f"cannot read transforms {name} as an .npz file of plain arrays: {error}") from None


def steps(sizes: Sequence[int], wanted: int) -> tuple[tuple[int, int], ...]:
    """The steps from the largest of the ascending `sizes` down to `wanted`: 7 to 5, 5 to 3."""
    descending = [size for size in reversed(sizes) if size >= wanted]
    return tuple(itertools.pairwise(descending))


def transformed(weight: Array, sizes: Sequence[int], wanted: int, matrices: Sequence[Array]) -> Array:
    """The (C, 1, wanted, wanted) kernel of a depthwise weight (C, 1, K, K): centre crops, each multiplied by its matrix if there are any."""
    for place, (larger, smaller) in enumerate(steps(sizes, wanted)):
        edge = (larger - smaller) // 2
        weight = weight[..., edge : edge + smaller, edge : edge + smaller]
        if matrices:
            flat = weight.reshape(-1, smaller**2)
            wide = flat if flat.dtype == np.float64 else flat.astype(np.float32)  # half precision would round every product
            weight = (wide @ matrices[place].astype(wide.dtype).T).reshape(weight.shape)
    return weight
