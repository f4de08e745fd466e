"""Whether the tests notice: flips one thing at a time in graphopt/channels and runs the tests on it.

    python benchmarks/mutation.py [FILE ...] [--sample N] [--seed 0] [--jobs 2] [--list] [--json FILE]

FILEs are paths inside graphopt/channels (`labels.py`, `rules/conv.py`); all of them by default. Each mutant (an integer one more or one less,
a dropped call of `equate` or `freeze`, swapped arguments, a turned comparison, a zero flag that is always set, ...) is made in a copy of the
tree in a temporary folder, so that the tree can be worked on meanwhile. Tests that are likely to notice run first, and the first failure
ends the run. Prints each mutant with its line and `caught` or `SURVIVED`; exits with status 1 when mutants survive that
benchmarks/equivalent_mutants.txt does not explain.

Each worker imports what is slow to import once, and forks for each mutant: this needs Linux or macOS.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from _mutants import Mutant, mutants

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path("graphopt/channels")
_WORDS_ONLY = {"__init__.py", "dot.py", "coverage.py"}  # lists of names, a picture, a figure for people
_SECONDS = 240
_BY_OPERATOR = ["rules", "onnx_node_tests"]  # of these, for a mutant of a rule, only the tests of the file's operators
_OTHERS = ["architectures", "cut", "freezing"]
_CORE = ["units", "labels", "architectures", "cut", "freezing", "rules", "moves", "label_programs", "onnx_node_tests", "random_graphs"]


@dataclass(frozen=True)
class Result:
    file: str
    line: int
    what: str
    before: str
    caught_by: str  # a test, "time", or "" for a survivor
    seconds: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="*")
    parser.add_argument("--sample", type=int, help="that many mutants, at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--list", action="store_true", help="only say which mutants there are")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    chosen = list(select(options.files))
    if options.sample is not None:
        chosen = sorted(
            random.Random(options.seed).sample(chosen, min(options.sample, len(chosen))), key=lambda pair: (pair[0], pair[1].line)
        )
    if options.list:
        for file, mutant in chosen:
            print(f"{file}:{mutant.line}: {mutant.what}: {mutant.before}")
        print(f"{len(chosen)} mutants")
        return 0
    known = equivalents()
    results = []
    for result in run_all(chosen, options.jobs):
        results.append(result)
        explained = "equivalent" if key(result) in known else "SURVIVED"
        print(f"{'caught' if result.caught_by else explained:10} {result.file}:{result.line}: {result.what}: {result.before}", flush=True)
    survivors = [result for result in results if not result.caught_by]
    unexplained = [result for result in survivors if key(result) not in known]
    print(
        f"{len(results)} mutants: {len(results) - len(survivors)} caught, {len(survivors) - len(unexplained)} equivalent, {len(unexplained)} survived"
    )
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(result) for result in results], indent=1))
    return 1 if unexplained else 0


def select(files: Iterable[str]) -> Iterator[tuple[str, Mutant]]:
    folder = ROOT / PACKAGE
    paths = [folder / file for file in files] or [path for path in sorted(folder.rglob("*.py")) if path.name not in _WORDS_ONLY]
    for path in paths:
        for mutant in mutants(path.read_text()):
            yield str(path.relative_to(folder)), mutant


def equivalents() -> set[tuple[str, str, str]]:
    """(file, what, line as it is) of mutants that change nothing that could be noticed, from `file | what | line` lines."""
    path = Path(__file__).with_name("equivalent_mutants.txt")
    if not path.exists():
        return set()
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    return {tuple(part.strip() for part in line.split(" | ", 2)) for line in lines}  # type: ignore[misc]


def key(result: Result) -> tuple[str, str, str]:
    return result.file, result.what, result.before


# ---- running


def run_all(chosen: list[tuple[str, Mutant]], jobs: int) -> Iterator[Result]:
    with tempfile.TemporaryDirectory(prefix="mutation") as folder:
        trees = [copy_tree(Path(folder) / f"tree{job}") for job in range(jobs)]
        context = multiprocessing.get_context("spawn")
        queue = context.Queue()
        for tree in trees:
            queue.put(tree)
        with context.Pool(jobs, start_worker, (queue,)) as pool:
            for failure in pool.imap(run_unchanged, sorted({file for file, _ in chosen})):
                if failure:
                    raise SystemExit(f"the tests fail without any change: {failure}")
            yield from pool.imap(run_one, chosen)


def copy_tree(tree: Path) -> Path:
    """What the tests need, with passes/ and hw_models/ where an installation has them."""
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    for name in ("graphopt", "tests", "examples", "docs"):
        shutil.copytree(ROOT / name, tree / name, ignore=ignored)
    for name in ("passes", "hw_models"):
        shutil.copytree(ROOT / name, tree / "graphopt" / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tree)
    return tree


_tree: Path


def start_worker(queue: multiprocessing.Queue[Path]) -> None:
    """Import what is slow, but nothing of the tree."""
    global _tree
    _tree = queue.get()
    os.chdir(_tree)
    sys.path.insert(0, str(_tree))
    sys.dont_write_bytecode = True
    import hypothesis.internal.conjecture.engine as engine
    import networkx  # noqa: F401
    import onnx_graphsurgeon  # noqa: F401
    import onnxruntime  # noqa: F401
    import pytest  # noqa: F401
    import scipy.optimize  # noqa: F401
    from onnx.backend.test import loader

    engine.MAX_SHRINKING_SECONDS = 0  # that a test fails is enough
    with contextlib.redirect_stderr(None):
        cases = loader.load_model_tests(kind="node")
    loader.load_model_tests = lambda kind=None: cases


def run_unchanged(file: str) -> str:
    """The test that fails on the file as it is, if one does."""
    return in_a_fork(runs_for(file, (_tree / PACKAGE / file).read_text()))


def run_one(chosen: tuple[str, Mutant]) -> Result:
    file, mutant = chosen
    path = _tree / PACKAGE / file
    original = path.read_text()
    started = time.monotonic()
    path.write_text(mutant.source(original))
    try:
        caught_by = in_a_fork(runs_for(file, original))
    finally:
        path.write_text(original)
    return Result(file, mutant.line, mutant.what, mutant.before, caught_by, round(time.monotonic() - started, 1))


def runs_for(file: str, source: str) -> list[list[str]]:
    """Arguments of the runs of pytest, one after the other."""
    passes = "tests/passes/test_prune_channels.py"
    if not file.startswith("rules"):
        core = paths(_CORE)
        return [[passes, *core] if file in ("plan.py", "criteria.py") else [*core, passes]]
    words = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    operators = sorted(word for word in words if word.isalnum() and word[:1].isupper())
    moves = ["moves"] if Path(file).stem in ("reshape", "stack") else []
    return [["-k", " or ".join(operators), *paths(_BY_OPERATOR)], paths([*moves, *_OTHERS])]


def paths(names: list[str]) -> list[str]:
    return [f"tests/channels/test_{name}.py" for name in names]


def in_a_fork(runs: list[list[str]]) -> str:
    """Run the tests in a child process; the first test that fails, "time", or ""."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _run_tests(runs, writer)
    os.close(writer)
    said = b""
    deadline = time.monotonic() + _SECONDS
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        os.set_blocking(pipe.fileno(), False)
        while time.monotonic() < deadline:
            part = pipe.read(4096)
            if part == b"":
                break
            if part is None:
                time.sleep(0.05)
            else:
                said += part
        else:
            os.kill(child, signal.SIGKILL)
            said = b"time"
    _, status = os.waitpid(child, 0)
    return said.decode() or ("" if status == 0 else "crash")


def _run_tests(runs: list[list[str]], writer: int) -> None:
    import pytest

    class First:
        """Tells the parent which test failed first."""

        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.failed:
                os.write(writer, report.nodeid.encode()[:4000])
                os._exit(1)

        def pytest_collectreport(self, report: pytest.CollectReport) -> None:
            if report.failed:
                os.write(writer, f"collecting {report.nodeid}".encode()[:4000])
                os._exit(1)

    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        for run in runs:
            pytest.main(["-q", "-p", "no:cacheprovider", "-W", "ignore", *run], plugins=[First()])
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
