"""Pictures as arrays for a model's input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from graphopt.errors import DataError
from graphopt.quality.arrays import AnyArray
from graphopt.quality.imports import imported, is_function_name

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_IMAGENET = "resize=256,crop=224,mean=0.485:0.456:0.406,std=0.229:0.224:0.225"
_LAYOUTS = ("nchw", "nhwc")


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes one row of an array.

    The text is `imagenet`, `module:function` (called with the file's path, returns the row), or steps such as
    `resize=256,crop=224,mean=0.485:0.456:0.406,std=0.229:0.224:0.225,layout=nhwc,dtype=float32`: the shorter side is scaled to `resize`
    (or to `WIDTHxHEIGHT` exactly), the middle `crop` pixels are cut out, pixels are scaled to 0..1 (`scale=255` leaves 0..255), then
    `mean` is subtracted and divided by `std`, one number or one per channel. `gray=1` makes one channel instead of three.
    """

    resize: tuple[int, ...] = ()
    crop: int = 0
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    gray: int = 0
    layout: str = "nchw"
    dtype: str = "float32"
    function: Callable[..., Any] | None = None

    @classmethod
    def parse(cls, text: str | None) -> Preprocess:
        """The preprocessing of a text; without one, pixels of 0..1 as they are. Raises DataError."""
        if text is None:
            return cls()
        if text == "imagenet":
            return cls.parse(_IMAGENET)
        if is_function_name(text):
            return cls(function=imported("preprocessing", text))
        given: dict[str, Any] = {}
        for step in text.split(","):
            name, equals, value = step.partition("=")
            reader = _READERS.get(name.strip())
            if reader is None or not equals:
                known = ", ".join(field.name for field in fields(cls) if field.name != "function")
                raise DataError(f"--preprocess: {step!r} is no step; there are imagenet, module:function, and {known}, each as name=value")
            try:
                given[name.strip()] = reader(value.strip())
            except ValueError as error:
                raise DataError(f"--preprocess: {step!r}: {error}") from None
        return cls(**given)

    def __call__(self, path: Path) -> AnyArray:
        """The row of one file. Raises DataError, which names it."""
        try:
            if self.function is not None:
                return np.asarray(self.function(path))
            return self._row(path)
        except DataError:
            raise
        except Exception as error:  # of the user's function, or of the library on a broken file
            raise DataError(f"cannot make an input of {path}: {type(error).__name__}: {error}") from error

    def _row(self, path: Path) -> AnyArray:
        image = _pillow()
        with image.open(path) as opened:
            picture = opened.convert("L" if self.gray else "RGB")
        if len(self.resize) == 1:
            ratio = self.resize[0] / min(picture.size)
            picture = picture.resize((round(picture.width * ratio), round(picture.height * ratio)), image.Resampling.BILINEAR)
        elif self.resize:
            picture = picture.resize(self.resize, image.Resampling.BILINEAR)
        if self.crop:
            left, top = (picture.width - self.crop) // 2, (picture.height - self.crop) // 2
            picture = picture.crop((left, top, left + self.crop, top + self.crop))
        pixels: AnyArray = np.asarray(picture, np.float32).reshape(picture.height, picture.width, -1) * np.float32(self.scale / 255)
        pixels = (pixels - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return (pixels.transpose(2, 0, 1) if self.layout == "nchw" else pixels).astype(self.dtype)


@dataclass(frozen=True)
class Pictures:
    """The files of a folder, in order, and their classes where it has sub-folders."""

    files: tuple[Path, ...]
    labels: AnyArray | None
    preprocess: Preprocess

    @property
    def count(self) -> int:
        return len(self.files)

    def arrays(self) -> Iterator[AnyArray]:
        """One array of one row per picture. Raises DataError where a picture cannot be read or has another size than the first."""
        first: AnyArray | None = None
        for file in self.files:
            row = self.preprocess(file)
            first = row if first is None else first
            if row.shape != first.shape or row.dtype != first.dtype:
                raise DataError(
                    f"{file} becomes {list(row.shape)}, but {self.files[0]} {list(first.shape)}; give --preprocess resize=..,crop=.. to make them alike"
                )
            yield row[np.newaxis]


def read_pictures(folder: Path, preprocess: Preprocess) -> Pictures | None:
    """The pictures of a folder; those in its sub-folders, sorted by name, are of class 0, 1, ...; None where it has none."""
    files = _pictures(folder)
    if files:
        return Pictures(tuple(files), None, preprocess)
    classes = [_pictures(inner) for inner in sorted(path for path in folder.iterdir() if path.is_dir())]
    files = [file for members in classes for file in members]
    labels = [label for label, members in enumerate(classes) for _ in members]
    return Pictures(tuple(files), np.asarray(labels, np.int64), preprocess) if files else None


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def _pillow() -> Any:
    try:
        from PIL import Image  # only pictures need it: an extra
    except ImportError:
        raise DataError("reading pictures needs Pillow: pip install 'graphopt[images]'") from None
    return Image


def _sizes(text: str) -> tuple[int, ...]:
    sizes = tuple(_positive(size) for size in text.split("x"))
    if len(sizes) > 2:
        raise ValueError("must be one number or WIDTHxHEIGHT")
    return sizes


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError("must be at least 1")
    return number


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(number) for number in text.split(":"))


def _layout(text: str) -> str:
    if text.lower() not in _LAYOUTS:
        raise ValueError(f"must be one of {', '.join(_LAYOUTS)}")
    return text.lower()


def _dtype(text: str) -> str:
    try:
        return np.dtype(text).name
    except TypeError as error:
        raise ValueError(str(error)) from None


_READERS: dict[str, Callable[[str], Any]] = {
    "resize": _sizes,
    "crop": _positive,
    "scale": float,
    "mean": _numbers,
    "std": _numbers,
    "gray": int,
    "layout": _layout,
    "dtype": _dtype,
}
