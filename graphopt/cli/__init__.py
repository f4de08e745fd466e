"""The command line, one file per command."""

from graphopt.cli.main import main

__all__ = ["main"]
