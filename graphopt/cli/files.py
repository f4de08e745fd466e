"""Reading models and writing results, with the checks that come before any work."""

from __future__ import annotations

import os
import shlex
import tempfile
from dataclasses import replace
from pathlib import Path

import click
import onnx

from graphopt.errors import InvalidModelError, OutputError
from graphopt.ir import Graph, load, save
from graphopt.report import Report, file_record, write_report

ARGUMENTS = "graphopt.arguments"  # key in a context's meta: what was typed after `graphopt`

_LARGEST_IN_MEMORY = 2**30  # bytes of weights; a larger model is checked from a file


def read_model(path: Path) -> Graph:
    """The graph of a model file that `onnx.checker` accepts. Raises InvalidModelError in one line otherwise, ExternalDataError."""
    graph = load(path)
    try:
        if sum(value.tensor.nbytes for value in graph.initializers if value.tensor is not None) <= _LARGEST_IN_MEMORY:
            onnx.checker.check_model(graph.to_proto())
            return graph
        with tempfile.TemporaryDirectory(prefix="graphopt-") as folder:
            # A copy: the checker refuses the links by which a model cache holds its files.
            save(graph, Path(folder) / "model.onnx")
            onnx.checker.check_model(str(Path(folder) / "model.onnx"))
    except onnx.checker.ValidationError as error:
        raise InvalidModelError(f"{path} breaks ONNX's rules: {' '.join(str(error).split())[:400]}") from error
    return graph


def check_outputs(*paths: Path | None) -> None:
    """Raise OutputError where a file cannot be written, before any work is done. Two of the paths may not be the same."""
    given = [path for path in paths if path is not None]
    for path in given:
        if path.is_dir():
            raise OutputError(f"cannot write {path}: it is a folder")
        if not path.parent.is_dir():
            raise OutputError(f"cannot write {path}: there is no folder {path.parent}")
        if not os.access(path.parent, os.W_OK):
            raise OutputError(f"cannot write {path}: folder {path.parent} is not writable")
    if len({os.path.realpath(path) for path in given}) < len(given):
        raise OutputError(f"model and report cannot both be written to {given[0]}")


def write_results(graph: Graph | None, output: Path, report: Report, report_path: Path | None) -> Report:
    """Write the model, where there is one, and the report, where a path is given; the report with its output filled in."""
    if graph is not None:
        save(graph, output)
        report = replace(report, output=file_record(output))
    report = replace(report, graphopt=replace(report.graphopt, command=command_line()))
    if report_path is not None:
        write_report(report, report_path)
    return report


def command_line() -> str:
    """The command as a text that a shell would take."""
    return shlex.join(["graphopt", *click.get_current_context().meta[ARGUMENTS]])
