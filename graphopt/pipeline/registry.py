"""Where passes come from: the entry-point group `graphopt.passes`, plug-in files, and classes that a program adds.

A built-in pass and a stranger's come through the same door. Names are known at once; a pass is imported when it is asked for.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from graphopt.errors import PassClashError, PluginError, UnknownPassError
from graphopt.pipeline.base import Pass
from graphopt.pipeline.parameters import Parameter, parameters_of
from graphopt.pipeline.plugins import import_plugin
from graphopt.pipeline.text import suggestion

GROUP = "graphopt.passes"


@dataclass(frozen=True)
class PassInfo:
    """What a listing shows of a pass: the first line of its docstring, where it comes from, its parameters; or why it does not load."""

    name: str
    source: str
    summary: str = ""
    parameters: tuple[Parameter, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class _Entry:
    source: str  # for people: "graphopt 0.1.0", "/home/me/my_pass.py"
    identity: str  # two entries with one identity are the same pass, listed twice
    load: Callable[[], object]


class Registry:
    """Pass classes by name."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._classes: dict[str, type[Pass]] = {}
        self._plugins: dict[Path, tuple[str, ...]] = {}

    @classmethod
    def installed(cls) -> Registry:
        """A registry of what is installed in this Python; PassClashError if two distributions claim one name."""
        registry = cls()
        for point in entry_points(group=GROUP):
            registry._add_all({point.name: _entry_of(point)})
        return registry

    def names(self) -> tuple[str, ...]:
        """Every name, in alphabetical order."""
        return tuple(sorted(self._entries))

    def get(self, name: str) -> type[Pass]:
        """The pass class of that name; UnknownPassError, or PluginError if it does not load."""
        if name not in self._entries:
            near = suggestion(name, self._entries)
            raise UnknownPassError(f"there is no pass '{name}'{near or '; `graphopt passes` lists what there is'}")
        if name not in self._classes:
            self._classes[name] = _load(name, self._entries[name])
        return self._classes[name]

    def add(self, pass_class: type[Pass], source: str = "this program") -> None:
        """Register one class; PluginError if it is not a proper pass, PassClashError if its name is taken."""
        self._add_all({_checked(pass_class, source).name: _entry_of_class(pass_class, source)})

    def load_plugin(self, path: str | Path) -> tuple[str, ...]:
        """Run a Python file and register the passes that are defined in it; their names. Loading a file again does nothing.

        PluginError if the file does not run, or defines no pass or a wrong one; PassClashError if a name is taken.
        """
        file = Path(path).resolve()
        if file not in self._plugins:
            classes = [_checked(found, str(path)) for found in _passes_defined_in(import_plugin(file, str(path)))]
            if not classes:
                raise PluginError(
                    f"plug-in {path} defines no pass: it needs a class derived from graphopt.Pass, or a @surgeon_pass function"
                )
            entries: dict[str, _Entry] = {}
            for pass_class in classes:
                entry = _entry_of_class(pass_class, str(path))
                _refuse_clash(pass_class.name, entries.get(pass_class.name), entry)
                entries[pass_class.name] = entry
            self._add_all(entries)
            self._plugins[file] = tuple(entries)
        return self._plugins[file]

    def describe(self) -> tuple[PassInfo, ...]:
        """Every pass for a listing. One that does not load says so in its `problem`, and does not hide the others."""
        return tuple(self._info(name) for name in self.names())

    def _info(self, name: str) -> PassInfo:
        source = self._entries[name].source
        try:
            pass_class = self.get(name)
        except PluginError as error:
            return PassInfo(name, source, problem=str(error))
        doc = inspect.cleandoc(pass_class.__doc__ or "")
        generated = doc.startswith(f"{pass_class.__name__}(")  # @dataclass writes the signature where there is no docstring
        return PassInfo(name, source, "" if generated else doc.partition("\n")[0], parameters_of(pass_class))

    def _add_all(self, entries: dict[str, _Entry]) -> None:
        for name, entry in entries.items():
            _refuse_clash(name, self._entries.get(name), entry)
        self._entries = {**entries, **self._entries}  # the first of two identical entries stays


def _refuse_clash(name: str, one: _Entry | None, other: _Entry) -> None:
    if one is not None and one.identity != other.identity:
        raise PassClashError(f"two passes are named '{name}': one from {one.source}, one from {other.source}; remove or rename one of them")


def _entry_of(point: EntryPoint) -> _Entry:
    package = point.dist.metadata["Name"] if point.dist else "an unknown distribution"
    version = f" {point.dist.version}" if point.dist else ""
    # One distribution can be found twice (sys.path lists a folder twice, or a build folder beside the installation).
    return _Entry(f"{package}{version} ({point.value})", f"{package} {point.value}", point.load)


def _entry_of_class(pass_class: type[Pass], source: str) -> _Entry:
    return _Entry(f"{source} (class {pass_class.__qualname__})", f"class {id(pass_class)}", lambda: pass_class)


def _load(name: str, entry: _Entry) -> type[Pass]:
    try:
        found = entry.load()
    except Exception as error:
        raise PluginError(f"pass '{name}' of {entry.source} does not load: {type(error).__name__}: {error}") from error
    pass_class = _checked(found, entry.source)
    if pass_class.name != name:
        raise PluginError(f"{entry.source} is registered as '{name}', but its class {pass_class.__qualname__} is named '{pass_class.name}'")
    return pass_class


def _checked(found: object, source: str) -> type[Pass]:
    """`found` if it is a pass class that can be made and written as text; else PluginError."""
    if not (isinstance(found, type) and issubclass(found, Pass)):
        raise PluginError(f"{source}: {found!r} is no class derived from graphopt.Pass")
    if missing := sorted(getattr(found, "__abstractmethods__", ())):
        raise PluginError(f"{source}: {found.__qualname__} does not define {', '.join(missing)}")
    try:
        parameters_of(found)
    except (TypeError, NameError) as error:  # NameError: an annotation that only a type checker can resolve
        raise PluginError(f"{source}: {error}") from error
    if not isinstance(getattr(found, "name", None), str):
        raise PluginError(f'{source}: {found.__qualname__} has no name; write `name: ClassVar[str] = "..."`')
    return found


def _passes_defined_in(module: ModuleType) -> list[type[Pass]]:
    """The pass classes of a module, each once, without those that it imported and without nameless abstract bases."""
    classes = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Pass)]
    own = [value for value in classes if value.__module__ == module.__name__]
    return list(dict.fromkeys(value for value in own if "name" in vars(value) or not inspect.isabstract(value)))
