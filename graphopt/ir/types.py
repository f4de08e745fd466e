"""What is known of a value's type."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import cast


@dataclass(frozen=True)
class TensorType:
    """Element type (a value of `onnx.TensorProto.DataType`) and shape: ints, dimension names, None where unknown; None for unknown rank."""

    elem_type: int
    shape: tuple[int | str | None, ...] | None

    @cached_property
    def static(self) -> tuple[int, ...] | None:
        """The shape if every dimension is a number."""
        if self.shape is None or not all(isinstance(size, int) for size in self.shape):
            return None
        return cast(tuple[int, ...], self.shape)

    @property
    def plain(self) -> TensorType:
        """The type without names that were made up for unknown dimensions."""
        if self.shape is None or not any(_made_up(size) for size in self.shape):
            return self
        return TensorType(self.elem_type, tuple(None if _made_up(size) else size for size in self.shape))


def _made_up(size: int | str | None) -> bool:
    return isinstance(size, str) and size.startswith("?")
