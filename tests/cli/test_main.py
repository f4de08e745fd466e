"""What the commands have in common: help, exit statuses, and what becomes of errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from graphopt import __version__
from graphopt.cli import main
from graphopt.errors import BudgetError, DataError, VerifyError

from .conftest import Invoke

COMMANDS = ("check", "compare", "extract", "inspect", "optimize", "passes", "predict", "profile", "run", "study", "targets")


def test_help_and_version(invoke: Invoke) -> None:
    text = invoke("--help").stdout
    assert all(f"  {command} " in text for command in COMMANDS)
    assert invoke("--version").stdout == f"graphopt {__version__}\n"
    assert set(main.commands) == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_each_of_its_options(invoke: Invoke, command: str) -> None:
    assert "--json" in invoke(command, "--help").stdout
    for parameter in main.commands[command].params:
        assert isinstance(parameter, click.Argument) or (isinstance(parameter, click.Option) and parameter.help), parameter


def test_wrong_usage_is_status_2(invoke: Invoke) -> None:
    assert "No such command" in invoke("optimise", status=2).stderr
    assert "No such option" in invoke("run", "--ratio", "1", status=2).stderr
    assert "Missing option '-o'" in invoke("run", "m.onnx", "-p", "", status=2).stderr


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (DataError("no such thing"), 2, "Error: no such thing\n"),
        (BudgetError("too slow"), 1, "Error: too slow\n"),
        (VerifyError("broken"), 3, "Error: broken\nThis is a defect"),
        (KeyError("k"), 3, "Error: unexpected KeyError: 'k'\nThis is a defect"),
        (AssertionError(), 3, "Error: unexpected AssertionError\nThis is a defect"),
        (RecursionError("deep"), 3, "Error: unexpected RecursionError: deep\n"),
        (MemoryError(), 2, "Error: not enough memory for this model\n"),
        (KeyboardInterrupt(), 130, "Error: interrupted\n"),
    ],
)
def test_an_error_is_a_line_and_a_status(
    model: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, words: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("graphopt.cli.inspect.read_model", fail)
    result = CliRunner().invoke(main, ["inspect", str(model)])
    assert result.exit_code == status
    assert result.stdout == ""
    assert result.stderr.startswith(words)


@pytest.mark.parametrize("arguments", [("--debug", "inspect", "absent.onnx"), ("inspect", "absent.onnx", "--debug")])
def test_debug_shows_the_stack_trace(arguments: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == 2
    assert result.stderr.startswith("Traceback (most recent call last)")
    assert "Error: cannot read absent.onnx" in result.stderr


def test_as_a_process(model: Path) -> None:
    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from graphopt.cli import main; main(prog_name='graphopt')", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = call("run", str(model), "-p", "fuse-bn", "-o", "out.onnx", "--json")
    assert (done.returncode, done.stdout[:1]) == (0, "{")
    missed = call("check", str(model), "--max-params", "10")
    assert (missed.returncode, missed.stderr) == (1, "Error: 1 of 1 gates missed: parameters\n")
    absent = call("inspect", "absent.onnx")
    assert (absent.returncode, absent.stdout, absent.stderr) == (2, "", "Error: cannot read absent.onnx: No such file or directory\n")
