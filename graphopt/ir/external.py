"""Reading external data under onnx's security rules (docs/ExternalDataSecurity.md of onnx).

A location is relative, stays inside the model's folder once every symlink is resolved, names a regular file with one hard link, and its
offset and length lie inside that file. One more folder is allowed, as in ONNX Runtime: the real folder of a model that is itself a
symlink, which is how the Hugging Face cache lays files out.
"""

from __future__ import annotations

import mmap
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO

import onnx

from graphopt.errors import ExternalDataError

_CHUNK = 1 << 20
_KNOWN_KEYS = {"location", "offset", "length", "checksum", "basepath"}


class DataFile:
    """An open data file. The descriptor is kept, so that what was checked is what is read, even if the file is replaced meanwhile."""

    def __init__(self, path: Path, where: str) -> None:
        try:
            self._descriptor = os.open(
                path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
            )
        except OSError as error:
            raise ExternalDataError(
                f"{where}: cannot open external data file {str(path)!r}: {error.strerror}; put the file beside the model"
            ) from error
        status = os.fstat(self._descriptor)
        self.path, self.size = path, status.st_size
        if not stat.S_ISREG(status.st_mode):
            raise ExternalDataError(f"{where}: external data {str(path)!r} is not a regular file")
        if status.st_nlink > 1:
            raise ExternalDataError(
                f"{where}: external data file {str(path)!r} has {status.st_nlink} hard links, so it may be a file of somewhere else; copy it instead of linking it"
            )

    def view(self, offset: int, length: int) -> memoryview:
        """The bytes [offset, offset + length), mapped until the view is released."""
        if length == 0:
            return memoryview(b"")
        start = offset - offset % mmap.ALLOCATIONGRANULARITY
        try:
            mapped = mmap.mmap(self._descriptor, offset - start + length, access=mmap.ACCESS_READ, offset=start)
        except ValueError as error:  # mmap checks the size: reading beyond the end of a mapped file would end the process
            raise ExternalDataError(
                f"external data file {str(self.path)!r} was cut off after it was loaded; load the model again"
            ) from error
        return memoryview(mapped)[offset - start :]

    def is_at(self, path: Path) -> bool:
        """Whether `path` is this very file, or one of the same contents; what was opened may have been replaced or removed since."""
        try:
            there, here = path.stat(), os.fstat(self._descriptor)
            if os.path.samestat(there, here):
                return True
            if not stat.S_ISREG(there.st_mode) or there.st_nlink > 1 or there.st_size != here.st_size:
                return False
            with open(path, "rb") as file:
                return all(file.read(_CHUNK) == os.pread(self._descriptor, _CHUNK, offset) for offset in range(0, self.size, _CHUNK))
        except OSError:
            return False

    def copy_to(self, file: BinaryIO) -> None:
        """Write the whole contents to `file`, an empty one."""
        done = 0
        with suppress(OSError, AttributeError):  # by the kernel, where it and the file systems can
            while done < self.size and (count := os.copy_file_range(self._descriptor, file.fileno(), self.size - done, done, done)):
                done += count
        file.seek(done)
        for offset in range(done, self.size, _CHUNK):
            file.write(os.pread(self._descriptor, _CHUNK, offset))

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


@dataclass(frozen=True)
class DataRange:
    """Where one tensor lies in a data file, in bytes. `location` is the path as the model writes it."""

    file: DataFile
    location: str
    offset: int
    length: int

    def view(self) -> memoryview:
        return self.file.view(self.offset, self.length)


class DataFolder:
    """The folder that a model's external data must lie in; opens each file once."""

    def __init__(self, model: Path | None) -> None:
        self._files: dict[str, DataFile] = {}
        self.ranges: set[DataRange] = set()  # every range that was asked for
        self.scattered = False  # whether tensors other than initializers have external data
        if model is None:
            self._folder, self._allowed = None, []
            return
        self._folder = Path(os.path.abspath(model)).parent
        self._allowed = list(dict.fromkeys((Path(os.path.realpath(self._folder)), Path(os.path.realpath(model)).parent)))

    def resolve(self, proto: onnx.TensorProto) -> DataRange:
        """The range that `proto`'s external_data names.

        Raises ExternalDataError for a location that leaves the folder or numbers that leave the file.
        """
        where = f"tensor {proto.name!r}"
        entries: dict[str, Any] = {}
        for entry in proto.external_data:
            if entry.key not in _KNOWN_KEYS:
                raise ExternalDataError(f"{where}: unknown external data key {entry.key!r}; ONNX knows {', '.join(sorted(_KNOWN_KEYS))}")
            entries[entry.key] = entry.value
        location = entries.get("location", "")
        if not isinstance(location, str):  # protobuf hands out bytes where a string is not UTF-8
            raise ExternalDataError(f"{where}: external data location {location!r} is not UTF-8")
        if not location:
            raise ExternalDataError(f"{where}: external data has no location; export the model again")
        if location not in self._files:
            self._files[location] = DataFile(self._contained(location, where), where)
        file = self._files[location]
        offset = _whole_number(entries, "offset", 0, where)
        length = _whole_number(entries, "length", max(file.size - offset, 0), where)
        if offset + length > file.size:
            raise ExternalDataError(
                f"{where}: external data [{offset}, {offset + length}) reaches beyond the {file.size} bytes of {location!r}; the file is incomplete"
            )
        found = DataRange(file, location, offset, length)
        self.ranges.add(found)
        return found

    def _contained(self, location: str, where: str) -> Path:
        if self._folder is None:
            raise ExternalDataError(
                f"{where}: the data is in file {location!r}, but the model did not come from a file; load it from its path"
            )
        path = PurePosixPath(location.replace("\\", "/"))
        if path.is_absolute() or PureWindowsPath(location).anchor or ".." in path.parts or "\0" in location:
            raise ExternalDataError(f"{where}: external data location {location!r} must be a relative path inside the model's folder")
        real = Path(os.path.realpath(self._folder / path))
        if not any(real.is_relative_to(folder) for folder in self._allowed):
            raise ExternalDataError(
                f"{where}: external data {location!r} is a link to {str(real)!r}, outside the model's folder {str(self._allowed[0])!r}; copy the file into the folder"
            )
        return real


def _whole_number(entries: dict[str, Any], key: str, default: int, where: str) -> int:
    text = entries.get(key)
    if text is None:
        return default
    # int() would also take "1_000", " 7 " and "-1"; ONNX writes plain digits.
    if not (text.isascii() and text.isdigit()) or len(text) > 19:
        raise ExternalDataError(f"{where}: external data {key} {text!r} is not a whole number of bytes")
    return int(text)
