"""What is known of a value's type."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast


@dataclass(frozen=True)
class TensorType:
    """Element type (a value of `onnx.TensorProto.DataType`) and shape: ints, dimension names, None where unknown; None for unknown rank."""

    elem_type: int
    shape: tuple[int | str | None, ...] | None
    static: tuple[int, ...] | None = field(init=False, repr=False, compare=False)  # the shape if every dimension is a number

    def __post_init__(self) -> None:
        known = self.shape is not None and {*map(type, self.shape)} <= {int}
        vars(self)["static"] = cast(tuple[int, ...], self.shape) if known else None  # the way around `frozen`

    @property
    def plain(self) -> TensorType:
        """The type without names that were made up for unknown dimensions."""
        if self.shape is None or not any(_made_up(size) for size in self.shape):
            return self
        return TensorType(self.elem_type, tuple(None if _made_up(size) else size for size in self.shape))


def _made_up(size: int | str | None) -> bool:
    return isinstance(size, str) and size.startswith("?")
