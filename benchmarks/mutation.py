"""Whether the tests notice: flips one index map at a time in graphopt/channels and runs the tests on it.

    python benchmarks/mutation.py [FILE ...] [--all] [--sample N] [--seed 0] [--jobs 1] [--list] [--listed] [--json FILE]

FILEs are paths inside graphopt/channels (`labels.py`, `rules/conv.py`). An index map says which index goes where: a mutant reads another
slot or axis, turns an order round, shifts an offset or the bound of a slice, exchanges arguments, forgets a relation. `--all` makes
everything else wrong too: comparisons, conditions, flags, reasons to freeze.

The tests are collected once, in a copy of the tree, so that the tree can be worked on meanwhile. A first run without any change notes which
lines each test runs. Each mutant is then put into a fork of that process, which runs the tests that come by its line, quick ones and those
that caught its neighbours first, up to the first failure. That needs Linux or macOS.

Prints each mutant with its line and `caught` or `SURVIVED`; exits with status 1 when mutants survive that benchmarks/equivalent_mutants.txt
does not explain. Those that it explains are not run; `--listed` runs only them, and names those that the tests do catch.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import json
import os
import pickle
import random
import resource
import shutil
import sys
import tempfile
import threading
import time
import types
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any

from _mutants import Mutant, mutants

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path("graphopt/channels")
_TESTS = ("tests/channels", "tests/passes/test_prune_channels.py")
_WORDS_ONLY = {"__init__.py", "dot.py", "coverage.py"}  # lists of names, a picture, a figure for people
_OF_MAPS = {"labels.py", "operator.py", "cut.py", "rewrite.py"}  # and the rules
_ROOM = 8 << 30  # bytes that a mutant may use more


@dataclass(frozen=True)
class Result:
    file: str
    function: str
    line: int
    what: str
    before: str
    caught_by: str  # a test, "time", or "" for a survivor
    seconds: float


@dataclass
class Run:
    """What the tests do without any change."""

    failed: str
    seconds: list[float]  # of each test
    lines: list[set[tuple[str, int]]]  # (file, line) that each test runs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="*")
    parser.add_argument("--all", action="store_true", help="not only index maps")
    parser.add_argument("--sample", type=int, help="that many mutants, at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--list", action="store_true", help="only say which mutants there are")
    parser.add_argument("--listed", action="store_true", help="only those that equivalent_mutants.txt lists")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    started = time.monotonic()
    known = equivalents()
    chosen = list(select(options.files, everything=options.all))
    if options.sample is not None:
        chosen = sorted(random.Random(options.seed).sample(chosen, min(options.sample, len(chosen))), key=lambda one: (one[0], one[1].line))
    if options.list:
        for file, mutant in chosen:
            print(f"{file}:{mutant.line} {mutant.function}: {mutant.what}: {mutant.before}")
        print(f"{len(chosen)} mutants")
        return 0
    listed = [one for one in chosen if key(*one) in known]
    todo = listed if options.listed else [one for one in chosen if key(*one) not in known]

    def say(result: Result) -> None:
        said = "caught" if result.caught_by else "survived" if options.listed else "SURVIVED"
        print(f"{said:9} {result.file}:{result.line} {result.function}: {result.what}: {result.before}", file=out, flush=True)

    with os.fdopen(os.dup(1), "w") as out:
        results = Mutations(todo, options.jobs, say).run()
    caught = sum(bool(result.caught_by) for result in results)
    if options.listed:
        print(f"{len(listed)} mutants listed as equivalent: {caught} of them caught")
        return 1 if caught else 0
    kind = "mutants" if options.all else "index maps flipped"
    seconds = round(time.monotonic() - started)
    print(f"{len(chosen)} {kind}: {caught} caught, {len(listed)} equivalent, {len(results) - caught} survived; {seconds} s")
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(result) for result in results], indent=1))
    return 0 if caught == len(results) else 1


def select(files: Iterable[str], *, everything: bool) -> Iterator[tuple[str, Mutant]]:
    folder = ROOT / PACKAGE
    paths = [folder / file for file in files] or [path for path in sorted(folder.rglob("*.py")) if path.name not in _WORDS_ONLY]
    for path in paths:
        if files or everything or path.parent.name == "rules" or path.name in _OF_MAPS:
            for mutant in mutants(path.read_text()):
                if everything or mutant.is_map:
                    yield path.relative_to(folder).as_posix(), mutant


def equivalents() -> set[tuple[str, str, str, str]]:
    """Mutants that change nothing that could be noticed, from lines `file function | what | line as it is | why`."""
    path = Path(__file__).with_name("equivalent_mutants.txt")
    found = set()
    for line in path.read_text().splitlines() if path.exists() else []:
        if line.strip() and not line.startswith("#"):
            place, what, rest = line.split(" | ", 2)
            file, _, function = place.partition(" ")
            found.add((file, function, what, rest.rpartition(" | ")[0]))
    return found


def key(file: str, mutant: Mutant) -> tuple[str, str, str, str]:
    return file, mutant.function, mutant.what, mutant.before


# ---- running


class Mutations:
    """A plugin of pytest that, instead of running the collected tests, runs them on one mutant after the other."""

    def __init__(self, chosen: list[tuple[str, Mutant]], jobs: int, say: Callable[[Result], None]) -> None:
        self.chosen, self.jobs, self.say = chosen, jobs, say
        self.sources: dict[str, str] = {}
        self.results: list[Result] = []
        self.error: BaseException | None = None
        self.session: Any = None
        self.failed = ""

    def run(self) -> list[Result]:
        """The result of each mutant. What pytest prints goes nowhere."""
        with tempfile.TemporaryDirectory(prefix="mutation") as folder, Path(os.devnull).open("w") as nowhere:
            tree = copy_tree(Path(folder) / "tree")
            self.sources = {file: (tree / PACKAGE / file).read_text() for file, _ in self.chosen}
            os.chdir(tree)
            sys.path.insert(0, str(tree))
            sys.dont_write_bytecode = True
            before = [os.dup(number) for number in (1, 2)]
            try:
                for number in (1, 2):
                    os.dup2(nowhere.fileno(), number)
                _pytest(self)
            finally:
                for number, was in zip((1, 2), before, strict=True):
                    os.dup2(was, number)
                os.chdir(ROOT)
        if self.error is not None:
            raise self.error
        if self.session is None:
            raise SystemExit("the tests cannot be collected")
        return self.results

    # ---- what pytest calls

    def pytest_runtestloop(self, session: Any) -> bool:
        self.session = session
        try:
            if session.testsfailed:
                raise SystemExit("the tests cannot be collected")
            self._run_all(session.items)
        except BaseException as error:
            self.error = error
        return True

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.failed = report.nodeid

    # ---- the mutants

    def _run_all(self, tests: list[Any]) -> None:
        run = self._unchanged(tests)
        if run.failed:
            raise SystemExit(f"a test fails without any change: {run.failed}")
        gc.freeze()  # forks share what is never touched
        caught: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)  # by (file, function): which tests caught mutants
        waiting, running = list(reversed(self.chosen)), dict[Connection, tuple[str, Mutant, float]]()
        while waiting or running:
            while waiting and len(running) < self.jobs:
                file, mutant = waiting.pop()
                places = [place for place in range(len(tests)) if _comes_by(run.lines[place], file, mutant)]
                times = caught[file, mutant.function]
                ranks = sorted((-times[tests[place].nodeid], run.seconds[place], place) for place in places)
                order = [(tests[place], 30 + 20 * seconds) for _, seconds, place in ranks]
                running[self._start(file, mutant, order)] = (file, mutant, time.monotonic())
            for reader in wait(list(running)):
                assert isinstance(reader, Connection)
                file, mutant, started = running.pop(reader)
                caught_by = _last_word(reader)
                caught[file, mutant.function][caught_by] += bool(caught_by)
                seconds = round(time.monotonic() - started, 2)
                result = Result(file, mutant.function, mutant.line, mutant.what, mutant.before, caught_by, seconds)
                self.results.append(result)
                self.say(result)

    def _unchanged(self, tests: list[Any]) -> Run:
        """Run all tests as they are, in a fork, so that this process stays as it is."""
        reader, writer = Pipe(duplex=False)
        if os.fork() == 0:
            run = Run("", [], [])
            for test in tests:
                started = time.monotonic()
                with _noted_lines() as lines:
                    self._run_test(test)
                run.seconds.append(time.monotonic() - started)
                run.lines.append(lines)
            run.failed = self.failed
            writer.send_bytes(pickle.dumps(run))
            os._exit(0)
        writer.close()
        run = pickle.loads(reader.recv_bytes())
        os.wait()
        assert isinstance(run, Run)
        return run

    def _run_test(self, test: Any) -> None:
        test.config.hook.pytest_runtest_protocol(item=test, nextitem=None)

    def _start(self, file: str, mutant: Mutant, tests: list[tuple[Any, float]]) -> Connection:
        """Run the tests on the mutant in a fork; each may take its number of seconds. It says which fails, if one does."""
        reader, writer = Pipe(duplex=False)
        if os.fork() == 0:
            limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + _ROOM if sys.platform == "linux" else -1
            resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
            deadline = [time.monotonic() + 60]
            threading.Thread(target=_watch, args=(deadline, writer), daemon=True).start()
            try:
                put_in(file, self.sources[file], mutant.source(self.sources[file]))
            except Exception as error:
                self.failed = f"import ({type(error).__name__})"
            for test, seconds in tests:
                if self.failed:
                    break
                deadline[0] = time.monotonic() + seconds
                self._run_test(test)
            writer.send(self.failed)
            os._exit(0)
        writer.close()
        return reader


def copy_tree(tree: Path) -> Path:
    """What the tests need, with passes/ and hw_models/ where an installation has them."""
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    for name in ("graphopt", "tests", "examples", "docs"):
        shutil.copytree(ROOT / name, tree / name, ignore=ignored)
    for name in ("passes", "hw_models"):
        shutil.copytree(ROOT / name, tree / "graphopt" / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tree)
    return tree


def _pytest(plugin: Mutations) -> None:
    """Import what is slow, settle what is random, and let pytest collect."""
    import hypothesis
    import hypothesis.internal.conjecture.engine as engine
    import pytest
    from onnx.backend.test import loader

    engine.MAX_SHRINKING_SECONDS = 0  # that a test fails is enough
    hypothesis.settings.register_profile("mutation", derandomize=True, database=None)
    hypothesis.settings.load_profile("mutation")
    cases = loader.load_model_tests(kind="node")
    loader.load_model_tests = lambda *_, **__: cases
    pytest.main(["-q", "-s", "-p", "no:cacheprovider", "-W", "ignore", *_TESTS], plugins=[plugin])


@contextlib.contextmanager
def _noted_lines() -> Iterator[set[tuple[str, int]]]:
    """Notes the lines of graphopt/channels that run meanwhile, as (file, line)."""
    lines: set[tuple[str, int]] = set()
    mark = f"/{PACKAGE.as_posix()}/"
    files: dict[str, str | None] = {}

    def enter(frame: types.FrameType, event: str, _: Any) -> Any:
        name = frame.f_code.co_filename
        if name not in files:
            files[name] = name.rpartition(mark)[2] if mark in name else None
        if (file := files[name]) is None:
            return None

        def note(frame: types.FrameType, event: str, _: Any) -> Any:
            lines.add((file, frame.f_lineno))
            return note

        return note

    sys.settrace(enter)
    try:
        yield lines
    finally:
        sys.settrace(None)


def _comes_by(lines: set[tuple[str, int]], file: str, mutant: Mutant) -> bool:
    if mutant.lines is None:
        return any(name == file for name, _ in lines)
    return any((file, line) in lines for line in range(mutant.lines[0], mutant.lines[1] + 1))


def _watch(deadline: list[float], writer: Connection) -> None:
    while time.monotonic() < deadline[0]:
        time.sleep(0.5)
    writer.send("time")
    os._exit(0)


def _last_word(reader: Connection) -> str:
    try:
        said = str(reader.recv())
    except EOFError:
        said = "crash"
    reader.close()
    os.wait()
    return said


# ---- a mutant in place of a module that is imported already


def put_in(file: str, original: str, source: str) -> None:
    """Let the functions and constants of a module be those of another source."""
    name = ".".join([*PACKAGE.parts, *Path(file).with_suffix("").parts])
    module = sys.modules[name]
    as_it_was, changed = _executed(module, original), _executed(module, source)
    for key, new in changed.items():
        old, was = vars(module).get(key), as_it_was.get(key)
        if isinstance(new, types.FunctionType) and isinstance(old, types.FunctionType):
            _turn_into(old, new)
        elif isinstance(new, type) and new.__module__ == name:
            _turn_class_into(old, new)
        elif not key.startswith("__") and not isinstance(new, types.ModuleType) and repr(new) != repr(was):
            for other in [other for other in sys.modules.values() if getattr(other, "__name__", "").startswith("graphopt.channels")]:
                for alias in [alias for alias, value in vars(other).items() if value is old and alias == key]:
                    setattr(other, alias, new)


def _executed(module: types.ModuleType, source: str) -> dict[str, Any]:
    names = {key: vars(module)[key] for key in ("__name__", "__file__", "__package__", "__spec__", "__builtins__")}
    exec(compile(source, str(module.__file__), "exec"), names)
    return names


def _turn_into(old: types.FunctionType, new: types.FunctionType) -> None:
    if new.__module__ == old.__module__:
        old.__code__, old.__defaults__, old.__kwdefaults__ = new.__code__, new.__defaults__, new.__kwdefaults__


def _turn_class_into(old: Any, new: type) -> None:
    for key, value in vars(new).items():
        was = vars(old).get(key)
        inner, was_inner = _function_of(value), _function_of(was)
        if isinstance(inner, types.FunctionType) and isinstance(was_inner, types.FunctionType):
            if inner.__code__.co_filename == was_inner.__code__.co_filename and not inner.__code__.co_freevars:
                _turn_into(was_inner, inner)
        elif not key.startswith("_") and not isinstance(value, types.MemberDescriptorType) and repr(value) != repr(was):
            setattr(old, key, value)


def _function_of(member: Any) -> Any:
    if isinstance(member, property):
        return member.fget
    if isinstance(member, functools.cached_property):
        return member.func
    return member.__func__ if isinstance(member, staticmethod) else member


if __name__ == "__main__":
    sys.exit(main())
