"""What was done to a model and what it cost, for other tools to read."""

from graphopt.report.report import Figures, FileRecord, Origin, Report, Step, file_record, schema, write_report
from graphopt.report.runs import Run, count_notes, figures, installed_passes, origin, recorded, run
from graphopt.report.verified import verified

__all__ = [
    "Figures",
    "FileRecord",
    "Origin",
    "Report",
    "Run",
    "Step",
    "count_notes",
    "figures",
    "file_record",
    "installed_passes",
    "origin",
    "recorded",
    "run",
    "schema",
    "verified",
    "write_report",
]
