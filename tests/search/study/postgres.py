"""A PostgreSQL server of the tests' own, on the loopback interface, in a folder that goes with it.

Needs the programs initdb and pg_ctl, on PATH or where Debian puts them; `tests/search/study/install_postgresql.sh` installs them there.
PostgreSQL refuses to run as root; started by root it runs as the user `postgres` or `nobody`.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Unavailable(Exception):
    """No server can be started here; says why."""


@contextmanager
def server() -> Iterator[str]:
    """The URL of an empty database on a server that runs for as long as the context. Raises Unavailable."""
    initdb, pg_ctl = _program("initdb"), _program("pg_ctl")
    user = _user()
    folder = Path(tempfile.mkdtemp(prefix="graphopt-postgresql-"))
    try:
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        data, port = folder / "data", _free_port()
        _run([initdb, "-D", data, "-A", "trust", "-U", "graphopt", "-E", "UTF8", "--locale=C", "--no-sync"], folder, user)
        settings = f"-p {port} -h 127.0.0.1 -c unix_socket_directories='' -c fsync=off -c shared_buffers=16MB"
        _run([pg_ctl, "-D", data, "-l", folder / "log", "-w", "-t", "60", "-o", settings, "start"], folder, user)
        try:
            yield f"postgresql://graphopt@127.0.0.1:{port}/postgres"
        finally:
            _run([pg_ctl, "-D", data, "-m", "immediate", "-w", "stop"], folder, user)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _program(name: str) -> str:
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = shutil.which(name) or (str(installed[-1]) if installed else None)
    if found is None:
        raise Unavailable(f"PostgreSQL is not installed: no program {name}")
    return found


def _user() -> pwd.struct_passwd | None:
    """Who the server runs as, where that is not who we are."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise Unavailable("PostgreSQL does not run as root, and there is no user `postgres` or `nobody`")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _run(command: list[str | Path], folder: Path, user: pwd.struct_passwd | None) -> None:
    identity = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    # Output goes to a file: the server keeps what pg_ctl was started with open.
    with open(folder / "output", "ab") as output:
        done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=120, **identity)
    if done.returncode:
        log = folder / "log"
        said = (folder / "output").read_text() + (log.read_text() if log.exists() else "")
        raise RuntimeError(f"{Path(command[0]).name} ended with status {done.returncode}:\n{said[-2000:]}")
