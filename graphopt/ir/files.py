"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file for writing that takes `path`'s place when the block ends, and vanishes when the block raises.

    It lies beside `path` until then (renaming is atomic only within a file system). A killed process leaves the old file as it was; the
    contents are not forced to the disk, so this is no promise about a power failure.
    """
    target = Path(path)
    partial = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.partial")
    file = os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666), "wb")
    try:
        with file:
            yield file
        os.replace(partial, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(partial)
        raise


def write_atomically(path: str | os.PathLike[str], contents: bytes) -> None:
    """Write `contents` to `path`, whole or not at all."""
    with atomic_file(path) as file:
        file.write(contents)
