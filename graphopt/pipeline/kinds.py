"""The kinds of value that a parameter may have: how each is checked, written as text, and read from a syntax tree.

`kind_of(hint, limits)` makes one from a type annotation: bool, int, float, str, `X | None`, `tuple[X, ...]`, `tuple[X, X]`,
`X | tuple[X, ...]`, `Mapping[str, X]`, and `X | Literal["word", ...]` for a number or one of some words. A value that does not fit raises
MisfitError, which `Pass` and `parse_pipeline` turn into a PassParameterError.
"""

from __future__ import annotations

import collections.abc
import math
import numbers
import re
import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from graphopt.pipeline.limits import Limits
from graphopt.pipeline.syntax import Entries, Items, Tree, Word, write_key, write_word

_NOUNS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
_INT = re.compile(r"[+-]?[0-9]+")
_FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


class MisfitError(ValueError):
    """A value is not of its parameter's kind: what was needed, what was got, and where (None when it did not come from a text)."""

    def __init__(self, needed: str, got: object, tree: Tree | None = None) -> None:
        super().__init__(needed)
        self.needed, self.got, self.tree = needed, got, tree


class FrozenMap(Mapping[str, object]):
    """A mapping that cannot change, so that a pass with a map among its parameters is hashable; equal to a dict of the same items."""

    def __init__(self, items: Mapping[str, object]) -> None:
        self._items = dict(items)

    def __getitem__(self, key: str) -> object:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return repr(self._items)


class Kind(ABC):
    """What a parameter's values are."""

    @property
    @abstractmethod
    def type_words(self) -> str:
        """The type alone, for listings: "list of int"."""

    @property
    @abstractmethod
    def needed(self) -> str:
        """What a value must be, for messages: "a whole number, at least 1"."""

    @abstractmethod
    def check(self, value: object) -> object:
        """A Python value in its normal form (float, tuple, FrozenMap...); raises MisfitError."""

    @abstractmethod
    def text(self, value: typing.Any) -> str:
        """A checked value as text that `read` reads back."""

    @abstractmethod
    def read(self, tree: Tree) -> object:
        """The value that a syntax tree means; raises MisfitError at the innermost place that is wrong."""


@dataclass(frozen=True)
class Scalar(Kind):
    """bool, int, float (finite) or str."""

    type: type[bool] | type[int] | type[float] | type[str]
    limits: Limits

    @property
    def type_words(self) -> str:
        return self.type.__name__

    @property
    def needed(self) -> str:
        if self.limits.choices or not self.limits.words:
            return self.limits.words or _NOUNS[self.type]
        return f"{_NOUNS[self.type]}, {self.limits.words}"

    def check(self, value: object) -> object:
        fitted = _fit(self.type, value)
        if fitted is None or not self.limits.hold(fitted):
            raise MisfitError(self.needed, value)
        return fitted

    def text(self, value: typing.Any) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        return write_word(value) if isinstance(value, str) else repr(value)

    def read(self, tree: Tree) -> object:
        try:
            return self.check(_scalar(self.type, tree))
        except MisfitError:
            raise MisfitError(self.needed, None, tree) from None


@dataclass(frozen=True)
class Maybe(Kind):
    """A kind, or None, written `none`."""

    item: Kind

    @property
    def type_words(self) -> str:
        return f"{self.item.type_words} or none"

    @property
    def needed(self) -> str:
        return f"{self.item.needed}, or none"

    def check(self, value: object) -> object:
        try:
            return None if value is None else self.item.check(value)
        except MisfitError as misfit:
            raise MisfitError(self.needed if misfit.got is value else misfit.needed, misfit.got) from None

    def text(self, value: typing.Any) -> str:
        return "none" if value is None else self.item.text(value)

    def read(self, tree: Tree) -> object:
        none = isinstance(tree, Word) and tree.text == "none" and not tree.quoted
        try:
            return None if none else self.item.read(tree)
        except MisfitError as misfit:
            raise MisfitError(self.needed if misfit.tree is tree else misfit.needed, None, misfit.tree) from None


@dataclass(frozen=True)
class OrWord(Kind):
    """A scalar, or one of some words, written as they are."""

    item: Scalar
    words: tuple[str, ...]

    @property
    def type_words(self) -> str:
        return " or ".join((self.item.type_words, *self.words))

    @property
    def needed(self) -> str:
        return f"{self.item.needed}, or {' or '.join(self.words)}"

    def check(self, value: object) -> object:
        if isinstance(value, str) and value in self.words:
            return str(value)
        try:
            return self.item.check(value)
        except MisfitError:
            raise MisfitError(self.needed, value) from None

    def text(self, value: typing.Any) -> str:
        return write_word(value) if isinstance(value, str) else self.item.text(value)

    def read(self, tree: Tree) -> object:
        if isinstance(tree, Word) and tree.text in self.words:
            return tree.text
        try:
            return self.item.read(tree)
        except MisfitError:
            raise MisfitError(self.needed, None, tree) from None


@dataclass(frozen=True)
class Many(Kind):
    """A tuple of one kind, of any length or of exactly `length`; written `[a,b]`."""

    item: Kind
    length: int | None

    @property
    def type_words(self) -> str:
        return f"list of {'' if self.length is None else f'{self.length} '}{self.item.type_words}"

    @property
    def needed(self) -> str:
        return f"a list [...]{'' if self.length is None else f' of {self.length} values'}, each {self.item.needed}"

    def check(self, value: object) -> object:
        if not isinstance(value, (tuple, list)) or self.length not in (None, len(value)):
            raise MisfitError(self.needed, value)
        return tuple(self.item.check(item) for item in value)

    def text(self, value: typing.Any) -> str:
        return f"[{','.join(self.item.text(item) for item in value)}]"

    def read(self, tree: Tree) -> object:
        if not isinstance(tree, Items) or self.length not in (None, len(tree.items)):
            raise MisfitError(self.needed, None, tree)
        return tuple(self.item.read(item) for item in tree.items)


@dataclass(frozen=True)
class OneOrMany(Kind):
    """A tuple of one kind, of any length; one of a single item is written as that item, and `[a,b]` otherwise."""

    many: Many

    @property
    def item(self) -> Kind:
        return self.many.item

    @property
    def type_words(self) -> str:
        return f"{self.item.type_words} or {self.many.type_words}"

    @property
    def needed(self) -> str:
        return f"{self.item.needed}, or {self.many.needed}"

    def check(self, value: object) -> object:
        return self.many.check(value if isinstance(value, (tuple, list)) else (value,))

    def text(self, value: typing.Any) -> str:
        return self.item.text(value[0]) if len(value) == 1 else self.many.text(value)

    def read(self, tree: Tree) -> object:
        return self.many.read(tree) if isinstance(tree, Items) else (self.item.read(tree),)


@dataclass(frozen=True)
class Table(Kind):
    """A mapping from texts to one kind; written `{key:value,...}`."""

    item: Kind

    @property
    def type_words(self) -> str:
        return f"map of str to {self.item.type_words}"

    @property
    def needed(self) -> str:
        return f"a map {{key:value,...}}, each value {self.item.needed}"

    def check(self, value: object) -> object:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise MisfitError(self.needed, value)
        return FrozenMap({key: self.item.check(item) for key, item in value.items()})

    def text(self, value: typing.Any) -> str:
        return f"{{{','.join(f'{write_key(key)}:{self.item.text(item)}' for key, item in value.items())}}}"

    def read(self, tree: Tree) -> object:
        if not isinstance(tree, Entries):
            raise MisfitError(self.needed, None, tree)
        return FrozenMap({key: self.item.read(item) for key, item in tree.entries})


def kind_of(hint: typing.Any, limits: Limits) -> Kind:
    """The kind that a resolved annotation declares; TypeError if parameters cannot have that type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in _NOUNS:
        return Scalar(hint, limits)
    if origin in (typing.Union, types.UnionType) and len(arguments) == 2 and types.NoneType in arguments:
        return Maybe(kind_of(arguments[arguments[0] is types.NoneType], limits))
    if origin in (typing.Union, types.UnionType) and len(arguments) == 2 and typing.get_origin(arguments[1]) is typing.Literal:
        item, words = kind_of(arguments[0], limits), typing.get_args(arguments[1])
        if isinstance(item, Scalar) and item.type is not str and all(isinstance(word, str) for word in words):
            return OrWord(item, words)
    if origin in (typing.Union, types.UnionType) and len(arguments) == 2 and typing.get_args(arguments[1]) == (arguments[0], Ellipsis):
        return OneOrMany(Many(kind_of(arguments[0], limits), None))
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return Many(kind_of(arguments[0], limits), None)
    if origin is tuple and arguments and len(set(arguments)) == 1:
        return Many(kind_of(arguments[0], limits), len(arguments))
    if origin is collections.abc.Mapping and arguments[0] is str:
        return Table(kind_of(arguments[1], limits))
    raise TypeError(
        f"a parameter is bool, int, float, str, X | None, X | Literal[...], tuple[X, ...], X | tuple[X, ...] or Mapping[str, X], not {hint}"
    )


def _fit(wanted: type, value: object) -> object:
    """`value` as exactly `wanted` (NumPy's numbers are taken, a bool is no number), or None."""
    if wanted is bool or isinstance(value, bool):
        return value if wanted is bool and isinstance(value, bool) else None
    if wanted is int and isinstance(value, numbers.Integral):
        return int(value)
    if wanted is float and isinstance(value, numbers.Real):
        try:
            return float(value) if math.isfinite(value) else None  # JSON reports hold neither inf nor nan
        except OverflowError:  # a whole number beyond the largest float
            return None
    return str(value) if wanted is str and isinstance(value, str) else None


def _scalar(wanted: type, tree: Tree) -> object:
    """The Python value of a word, or None where it cannot be one of type `wanted`."""
    if not isinstance(tree, Word):
        return None
    if wanted is str:
        return tree.text  # bare numbers too: ONNX likes to name values 123
    if tree.quoted:
        return None
    if wanted is bool:
        return {"true": True, "false": False}.get(tree.text)
    pattern = _INT if wanted is int else _FLOAT
    try:
        return wanted(tree.text) if pattern.fullmatch(tree.text) else None
    except ValueError:  # Python reads no whole number of more than 4300 digits
        return None
