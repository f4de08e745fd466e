"""Pipeline text to a plain syntax tree, and the errors that point into the text.

    fuse-bn,prune-channels{ratio=0.3 criterion=l2 ignore=[a,b] keep={conv1:[0,1,2]}}

Steps are separated by commas, parameters by spaces (a comma is fine too). A value is a bare word, a string in JSON's double quotes,
a list or a map. White space is free between tokens, and `#` starts a comment that runs to the end of the line. What a bare word
means (a number, `none`, a name) is decided later by the type of the parameter: nothing here knows a single pass.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import NoReturn

from graphopt.errors import PipelineSyntaxError

_CHARS = r"[\w.*?/+-]+"
_SPACE = re.compile(r"(?:\s|#[^\n]*)*")
_WORD = re.compile(rf"{_CHARS}(?:::?{_CHARS})*")  # module:function and onnx::Conv_12 are words
_KEY = re.compile(rf"{_CHARS}(?:::{_CHARS})*")  # in a key a single colon ends the word
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SPECIAL = re.compile(r"none|true|false|[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_DEEPEST = 20  # nested lists and maps: far more than any pass needs, far less than Python's stack
_WIDEST = 100  # characters of a long line that an error shows


@dataclass(frozen=True)
class Word:
    """A bare word or, if `quoted`, a string; `text[start:end]` is where it stands."""

    text: str
    quoted: bool
    start: int
    end: int


@dataclass(frozen=True)
class Items:
    """`[a,b]`"""

    items: tuple[Tree, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Entries:
    """`{key:value,...}`; every key stands once."""

    entries: tuple[tuple[str, Tree], ...]
    start: int
    end: int


Tree = Word | Items | Entries


@dataclass(frozen=True)
class Setting:
    """`name=value` of a step."""

    name: str
    value: Tree
    start: int


@dataclass(frozen=True)
class Step:
    """A pass name with its settings; every setting stands once."""

    name: str
    settings: tuple[Setting, ...]
    start: int


def point(text: str, at: int, message: str) -> str:
    """`message`, and below it the line of `text` that holds position `at`, with a caret under the place."""
    begin = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    line, column = text[begin : len(text) if end < 0 else end], at - begin
    if len(line) > _WIDEST:
        cut = min(max(0, column - _WIDEST // 2), len(line) - _WIDEST)
        head, tail = "..." if cut else "", "..." if cut + _WIDEST < len(line) else ""
        line, column = head + line[cut : cut + _WIDEST] + tail, column - cut + len(head)
    margin = "".join("\t" if c == "\t" else " " for c in line[:column])  # a tab is as wide below as above
    return f"{message}\n  {line}\n  {margin}^"


def write_word(text: str) -> str:
    """`text` as a value: bare where that reads back as the same text, otherwise quoted."""
    return text if _WORD.fullmatch(text) and not _SPECIAL.fullmatch(text) else _quote(text)


def write_key(text: str) -> str:
    """`text` as the key of a map."""
    return text if _KEY.fullmatch(text) else _quote(text)


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=not text.isprintable())  # control characters and lone surrogates are escaped


def parse(text: str) -> tuple[Step, ...]:
    """The steps of a pipeline text; PipelineSyntaxError shows the place that does not parse. Empty text has no steps."""
    return _Parser(text).steps()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def steps(self) -> tuple[Step, ...]:
        steps: list[Step] = []
        while not self.ends():
            if steps:
                self.expect(",", "',' between two passes")
            steps.append(self.step())
        return tuple(steps)

    def step(self) -> Step:
        name = self.word(_WORD, "the name of a pass")
        settings: list[Setting] = []
        if self.take("{"):
            while not self.take("}"):
                if settings:
                    self.take(",")
                setting = self.setting()
                if any(setting.name == other.name for other in settings):
                    self.fail(f"parameter '{setting.name}' is given twice", setting.start)
                settings.append(setting)
        return Step(name.text, tuple(settings), name.start)

    def setting(self) -> Setting:
        name = self.word(_WORD, "a parameter or '}'")
        self.expect("=", f"'=' after '{name.text}'")
        return Setting(name.text, self.value(0), name.start)

    def value(self, depth: int) -> Tree:
        self.skip()
        start = self.at
        if depth > _DEEPEST:
            self.fail("lists and maps are nested too deep", start)
        if self.take("["):
            items: list[Tree] = []
            while not self.take("]"):
                if items:
                    self.expect(",", "',' or ']'")
                items.append(self.value(depth + 1))
            return Items(tuple(items), start, self.at)
        if self.take("{"):
            entries: dict[str, Tree] = {}
            while not self.take("}"):
                if entries:
                    self.expect(",", "',' or '}'")
                key = self.string() or self.word(_KEY, "a key")
                if key.text in entries:
                    self.fail(f"key '{key.text}' is given twice", key.start)
                self.expect(":", f"':' after key '{key.text}'")
                entries[key.text] = self.value(depth + 1)
            return Entries(tuple(entries.items()), start, self.at)
        return self.string() or self.word(_WORD, "a value")

    def word(self, pattern: re.Pattern[str], what: str) -> Word:
        """The next bare word; fails with "expected {what}"."""
        self.skip()
        start = self.at
        match = pattern.match(self.text, start)
        if match is None:
            self.unexpected(what)
        self.at = match.end()
        return Word(match[0], False, start, self.at)

    def string(self) -> Word | None:
        """The string that comes next, if one does."""
        self.skip()
        start = self.at
        if not self.text.startswith('"', start):
            return None
        match = _STRING.match(self.text, start)
        if match is None:
            self.fail("this string is not closed", start)
        try:
            content = json.loads(match[0], strict=False)  # a line break inside a string is harmless
        except json.JSONDecodeError as error:
            self.fail(f"not a JSON string: {error.msg}", start + error.pos)
        self.at = match.end()
        return Word(content, True, start, self.at)

    def take(self, mark: str) -> bool:
        """Step over `mark` if it comes next."""
        self.skip()
        found = self.text.startswith(mark, self.at)
        self.at += len(mark) if found else 0
        return found

    def expect(self, mark: str, what: str) -> None:
        if not self.take(mark):
            self.unexpected(what)

    def skip(self) -> None:
        match = _SPACE.match(self.text, self.at)
        assert match is not None  # the pattern matches nothing, too
        self.at = match.end()

    def ends(self) -> bool:
        self.skip()
        return self.at == len(self.text)

    def unexpected(self, what: str) -> NoReturn:
        if self.ends():
            self.fail(f"expected {what}, but the text ends", len(self.text.rstrip()))
        self.fail(f"expected {what}, found {self.text[self.at]!r}", self.at)

    def fail(self, message: str, at: int) -> NoReturn:
        raise PipelineSyntaxError(point(self.text, at, message))
