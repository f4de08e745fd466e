"""Several processes of this machine that work on one study."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from graphopt.errors import DefectError, GraphoptError, StudyError

_TICK_SECONDS = 0.5
_LEAVE_SECONDS = 10.0  # for workers that were told to end


@dataclass(frozen=True)
class Lost:
    """A worker that did not come to its end, and why."""

    worker: int
    why: str


def run_workers(
    count: int, function: Callable[..., None], arguments: Sequence[Any] = (), *, tick: Callable[[], None] | None = None
) -> tuple[Lost, ...]:
    """Call `function(index, *arguments)` in `count` new processes and wait for them; returns those that were lost on the way.

    The function and its arguments are pickled: the function is found by its module and name, what is large is better opened anew from a
    path. Results go through the study. `tick` is called about twice a second meanwhile, to show how far the study is.

    A worker that dies takes only its running trial with it. Where no worker comes to its end, the first GraphoptError of theirs is raised,
    or a StudyError that says how they ended. Ctrl-C, and any exception from `tick`, ends the workers before it is passed on; should this
    process be killed, they end by themselves.
    """
    context = multiprocessing.get_context("spawn")  # a fork would copy the runtime's threads half
    workers: list[tuple[SpawnProcess, Connection]] = []
    try:
        for index in range(count):
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(function, index, tuple(arguments), theirs), name=f"graphopt-worker-{index}")
            process.start()
            workers.append((process, ours))
            theirs.close()  # so that its end is seen as the end of the pipe
        running = {process.sentinel for process, _ in workers}
        while running:
            running.difference_update(wait(list(running), timeout=_TICK_SECONDS))
            if tick is not None:
                tick()
    except BaseException:
        _stop([process for process, _ in workers])
        raise
    ends = [_end_of(index, process, pipe) for index, (process, pipe) in enumerate(workers)]
    errors = [end for end in ends if end is not None]
    if count and len(errors) == count:
        raise errors[0]
    return tuple(Lost(index, str(end)) for index, end in enumerate(ends) if end is not None)


def _work(function: Callable[..., None], index: int, arguments: tuple[Any, ...], pipe: Connection) -> None:
    """The whole life of a worker; sends None at its end, or what went wrong."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the parent ends the workers
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        function(index, *arguments)
    except GraphoptError as error:
        pipe.send(error)
    except BaseException as error:
        defect = DefectError(f"worker {index}: {type(error).__name__}: {error}")
        defect.add_note(traceback.format_exc())
        pipe.send(defect)
    else:
        pipe.send(None)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _end_of(index: int, process: SpawnProcess, pipe: Connection) -> GraphoptError | None:
    process.join()
    with pipe:
        try:
            said: GraphoptError | None = pipe.recv()
        except EOFError:
            said = StudyError(f"worker {index} {_death(process.exitcode or 0)}")
    return said


def _death(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}; is there enough memory for so many workers?"
    return f"ended with status {code}"


def _stop(processes: Sequence[SpawnProcess]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(_LEAVE_SECONDS)
        process.kill()
        process.join()
