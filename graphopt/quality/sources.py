"""Arrays by name, from what `--data` may be: an .npz file, a folder of batches or of pictures, or a function of the user's."""

from __future__ import annotations

import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from graphopt.errors import DataError
from graphopt.quality.arrays import AnyArray
from graphopt.quality.images import SUFFIXES, Preprocess, read_pictures
from graphopt.quality.imports import imported, is_function_name

LABELS = "labels"  # the array of a data source that is no input
_LARGEST_IN_MEMORY = 2**28  # bytes; larger batches go through a temporary file, so that only what is read is in memory

Source = str | os.PathLike[str] | Mapping[str, AnyArray]
Batch = dict[str, AnyArray]


def read_arrays(source: Source, inputs: Sequence[str], preprocess: str | None = None) -> Batch:
    """The arrays of `source` by name. `inputs` are the model's, whose only one gets what has no name: .npy batches, pictures.

    - a mapping of arrays, as it is;
    - an .npz file; nothing in it is executed (no pickles);
    - a folder of .npz files, each a batch of all arrays, joined in the order of their names;
    - a folder of .npy files, each an array called like an input or `labels`, else batches of the only input;
    - a folder of pictures, made into arrays as `preprocess` says (graphopt.quality.images); sub-folders are classes and give `labels`;
    - `module:function`, called without arguments: it returns a mapping of arrays, or an iterable of such mappings, one per batch.

    Raises DataError, which names the file.
    """
    if isinstance(source, Mapping):
        return {name: np.asarray(array) for name, array in source.items()}
    text = os.fspath(source)
    path = Path(source)
    if is_function_name(text) and not path.exists():
        _refuse_preprocess(preprocess, "a function's arrays")
        return _called(text)
    if not path.is_dir():
        _refuse_preprocess(preprocess, "an .npz file")
        return _npz(path)
    if found := _named(path, ".npz"):
        _refuse_preprocess(preprocess, "a folder of .npz files")
        return _joined(text, (_npz(file) for file in found), [str(file) for file in found])
    if found := _named(path, ".npy"):
        _refuse_preprocess(preprocess, "a folder of .npy files")
        return _npy_folder(text, found, inputs)
    name = _only(inputs, text, "pictures are")
    pictures = read_pictures(path, Preprocess.parse(preprocess))
    if pictures is None:
        raise DataError(f"{text} holds no .npz or .npy file and no picture ({', '.join(sorted(SUFFIXES))})")
    array = gathered(pictures.arrays(), pictures.count)
    return {name: array} if pictures.labels is None else {name: array, LABELS: pictures.labels}


def gathered(parts: Iterable[AnyArray], rows: int | None = None) -> AnyArray:
    """The parts joined along axis 0. Where they are large and the number of `rows` is known, in a temporary file that goes with the array."""
    whole: AnyArray | None = None
    kept: list[AnyArray] = []
    done = 0
    for part in parts:
        if whole is None and rows is not None and done == 0 and part.nbytes // max(len(part), 1) * rows > _LARGEST_IN_MEMORY:
            file = tempfile.TemporaryFile(prefix="graphopt-")  # noqa: SIM115  the array holds it open
            whole = np.memmap(file, part.dtype, "w+", shape=(rows, *part.shape[1:]))
        if whole is None:
            kept.append(part)
        else:
            whole[done : done + len(part)] = part
        done += len(part)
    return whole if whole is not None else kept[0] if len(kept) == 1 else np.concatenate(kept)


def _named(folder: Path, suffix: str) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix == suffix)


def _refuse_preprocess(preprocess: str | None, what: str) -> None:
    if preprocess is not None:
        raise DataError(f"--preprocess is for a folder of pictures; {what} must be ready for the model")


def _only(inputs: Sequence[str], where: str, what: str) -> str:
    if len(inputs) != 1:
        raise DataError(
            f"{where}: {what} for a model with one input, but this one has {', '.join(map(repr, inputs)) or 'none'}; give .npz files"
        )
    return inputs[0]


def _npz(path: Path) -> Batch:
    try:
        with path.open("rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise DataError(f"{path} is not an .npz file; write one with numpy.savez(path, input_name=array, ...)")
            with file:
                return {key: file[key] for key in file.files}
    except FileNotFoundError:
        raise DataError(f"there is no data file {path}") from None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise DataError(f"cannot read {path} as an .npz file of plain arrays: {error}") from error


def _npy(path: Path) -> AnyArray:
    """The array of a file, mapped: only what is used of it comes into memory."""
    try:
        array: AnyArray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"cannot read {path} as an .npy file of a plain array: {error}") from error
    return array


def _npy_folder(text: str, files: Sequence[Path], inputs: Sequence[str]) -> Batch:
    by_name = {file.stem: file for file in files}
    if any(name in by_name for name in inputs):
        return {name: _npy(file) for name, file in by_name.items() if name in inputs or name == LABELS}
    labels = by_name.pop(LABELS, None)
    name = _only(inputs, text, ".npy batches are")
    batches = [{name: _npy(file)} for file in by_name.values()]
    arrays = _joined(text, iter(batches), [str(file) for file in by_name.values()])
    return arrays if labels is None else {**arrays, LABELS: _npy(labels)}


def _joined(text: str, batches: Iterator[Batch], names: Sequence[str]) -> Batch:
    """Batches with the same arrays, joined along axis 0."""
    found = list(zip(names, batches, strict=False))
    if not found:
        raise DataError(f"{text} gives no batch")
    first_name, first = found[0]
    for name, batch in found:
        if batch.keys() != first.keys():
            raise DataError(
                f"{name} holds {_listed(batch)}, but {first_name} holds {_listed(first)}; all batches must hold the same arrays"
            )
        for key, array in batch.items():
            if array.ndim == 0 or array.shape[1:] != first[key].shape[1:] or array.dtype != first[key].dtype:
                raise DataError(
                    f"{name}: {key!r} is {array.dtype} {list(array.shape)}, but {first[key].dtype} {list(first[key].shape)} in {first_name}; "
                    f"batches may differ in axis 0 alone"
                )
    return {key: gathered((batch[key] for _, batch in found), sum(len(batch[key]) for _, batch in found)) for key in first}


def _called(name: str) -> Batch:
    function = imported("data function", name)
    try:
        result = function()
        batches = [result] if isinstance(result, Mapping) else list(result)
        arrays = [{str(key): np.asarray(array) for key, array in batch.items()} for batch in batches]
    except Exception as error:  # whatever a user's function raises, or returns instead of arrays
        raise DataError(
            f"data function {name!r} failed: {type(error).__name__}: {error}; it must return a mapping of arrays by input name, or several"
        ) from error
    return _joined(name, iter(arrays), [f"batch {place} of {name}" for place in range(len(arrays))])


def _listed(batch: Batch) -> str:
    return ", ".join(map(repr, batch)) or "nothing"
