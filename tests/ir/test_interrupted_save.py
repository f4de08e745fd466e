"""A save that is killed, or whose every file operation may fail, leaves the old model or the new one, each with its data."""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import graphopt.ir as ir
from graphopt.errors import OutputError
from tests.ir import features
from tests.ir.external import factor_of, in_child, litter, multiply, write_model
from tests.models import read, serialised, write

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="breaks things in a forked child")


def on_file_operation(folder: Path, n: int, act: Callable[[], None]) -> None:
    """Calls `act` before the n-th file operation of this process from now on that concerns `folder`, by way of Python's audit hooks."""
    count = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event.partition(".")[0] not in ("open", "os", "shutil", "mmap") or event in ("os.fork", "os.listxattr"):
            return
        # Opening and renaming name the file; mmap and truncate have a descriptor.
        if event in ("mmap.__new__", "os.truncate") or any(
            str(folder) in os.fsdecode(a) for a in arguments if isinstance(a, str | bytes | Path)
        ):
            count += 1
            if count == n:
                act()

    sys.addaudithook(hook)


def count_operations(folder: Path, work: Callable[[], object]) -> int:
    """How many file operations `work` does."""
    reader, writer = os.pipe()

    def counting() -> None:
        seen = 0

        def add() -> None:
            nonlocal seen
            seen += 1

        for n in range(1, 400):
            on_file_operation(folder, n, add)
        work()
        os.write(writer, seen.to_bytes(4, "big"))

    assert in_child(counting) == 0
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        return int.from_bytes(pipe.read(4), "big")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


Case = tuple[Callable[[Path], Path], Callable[[Path, Path], None], float]


def over_itself_edited(source: Path, target: Path) -> None:
    graph = ir.load(source)
    multiply(graph, 2.0)
    ir.save(graph, target)


def over_another_untouched(source: Path, target: Path) -> None:
    ir.save(ir.load(source), target)


def prepare(kind: str, folder: Path) -> tuple[Path, Path, Callable[[Path, Path], None], float]:
    """Source, target, the work, and the factor of the new model; the target's own factor is 1, or none when it does not exist."""
    match kind:
        case "over itself, edited":
            path = write_model(folder / "a")
            return path, path, over_itself_edited, 2.0
        case "over itself, edited before":
            path = write_model(folder / "a", 0.5)
            over_itself_edited(path, path)
            return path, path, over_itself_edited, 2.0
        case "over itself, untouched":
            path = write_model(folder / "a")
            return path, path, over_another_untouched, 1.0
        case "over another, untouched":
            return write_model(folder / "b", 3.0), write_model(folder / "a"), over_another_untouched, 3.0
        case "over another, edited":
            return write_model(folder / "b", 3.0), write_model(folder / "a"), over_itself_edited, 6.0
        case "new folder, untouched":
            (folder / "a").mkdir(parents=True)
            return write_model(folder / "b", 3.0), folder / "a" / "model.onnx", over_another_untouched, 3.0
    raise AssertionError(kind)


KINDS = [
    "over itself, edited",
    "over itself, edited before",
    "over itself, untouched",
    "over another, untouched",
    "over another, edited",
    "new folder, untouched",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["killed", "failing"])
def test_every_file_operation_may_be_the_last(kind: str, how: str, tmp_path: Path) -> None:
    source, target, work, new = prepare(kind, tmp_path / "counted")
    operations = count_operations(tmp_path, lambda: work(source, target))
    assert operations > 2
    outcomes = set()
    for n in range(1, operations + 1):
        folder = tmp_path / str(n)
        source, target, work, new = prepare(kind, folder)
        existed, theirs = target.exists(), source != target

        def breaking(n: int = n, folder: Path = folder, source: Path = source, target: Path = target, work: object = work) -> None:
            graph = ir.load(source)
            if work is over_itself_edited:
                multiply(graph, 2.0)
            on_file_operation(folder, n, die if how == "killed" else fail)
            try:
                ir.save(graph, target)
            except OutputError as error:
                assert "\n" not in str(error)

        status = in_child(breaking)
        assert status in (0, -signal.SIGKILL), f"operation {n}: exit status {status}"
        if existed or target.exists():
            left = factor_of(target)
            assert left in (1.0, new), f"operation {n}: factor {left}"
            outcomes.add(left)
        if theirs:
            assert factor_of(source) == 3.0
        if how == "failing":
            assert not [name for name in litter(folder) if "partial" in name or name.endswith((".tmp", "~"))], f"operation {n} left litter"
            assert len(litter(target.parent)) <= 4
    assert new in outcomes or how == "killed"


@pytest.mark.parametrize("limit", [0, 1, 100, 4096, 30_000, 60_000, 65_536])
@pytest.mark.parametrize("kind", ["external", "plain"])
def test_a_full_disk_leaves_the_old_model_and_no_litter(kind: str, limit: int, tmp_path: Path) -> None:
    """By the limit on file sizes: writing beyond it fails as a full disk does, in the middle of a write."""
    if kind == "external":
        path = write_model(tmp_path)
    else:
        model = features.base()
        model.doc_string = "d" * 100_000
        path = write(tmp_path / "model.onnx", model)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def work() -> None:
        graph = ir.load(path)
        if kind == "external":
            multiply(graph, 2.0)
        else:
            graph.rename(graph.value("y"), "other")
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        if kind == "external" and limit > 60_000:
            ir.save(graph, path)
            return
        with pytest.raises(OutputError, match=str(path)):
            ir.save(graph, path)

    assert in_child(work) == 0
    if not (kind == "external" and limit > 60_000):
        assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_sigkill_at_random_moments(tmp_path: Path) -> None:
    """A child saves over the model again and again, multiplying its weights by turns by 2 and by a half; it is killed forty times."""
    path = write_model(tmp_path)
    chance = random.Random(0)
    factors = set()

    def forever() -> None:
        while True:
            graph = ir.load(path)
            multiply(graph, 0.5 if factor_of(path) > 1 else 2.0)
            ir.save(graph, path)

    for _ in range(40):
        child = os.fork()
        if child == 0:
            try:
                forever()
            finally:
                os._exit(1)
        time.sleep(chance.uniform(0.0, 0.05))
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        factors.add(factor_of(path))
        assert factors <= {1.0, 2.0}
        ir.load(path).to_proto()
    assert factors == {1.0, 2.0}


def test_sigkill_of_a_plain_model(tmp_path: Path) -> None:
    old = features.base()
    old.doc_string = "old" * 300_000
    path = write(tmp_path / "model.onnx", old)
    new = features.base()
    new.doc_string = "new" * 300_000
    chance, seen = random.Random(0), set()

    def forever() -> None:
        graphs = [ir.Graph.from_proto(old), ir.Graph.from_proto(new)]
        for n in range(1_000_000):
            ir.save(graphs[n % 2], path)

    for _ in range(30):
        child = os.fork()
        if child == 0:
            try:
                forever()
            finally:
                os._exit(1)
        time.sleep(chance.uniform(0.0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        seen.add(serialised(read(path)))
        assert seen <= {serialised(old), serialised(new)}
    assert len(seen) == 2


def test_an_interrupt_leaves_no_litter(tmp_path: Path) -> None:
    path = write_model(tmp_path)
    graph = ir.load(path)

    def interrupt() -> Any:
        raise KeyboardInterrupt

    graph.set_tensor(graph.value("w2"), ir.LazyTensor(1, (5000,), interrupt))
    with pytest.raises(KeyboardInterrupt):
        ir.save(graph, path)
    assert litter(tmp_path) == ["model.onnx", "w.bin"]
    assert factor_of(path) == 1.0
