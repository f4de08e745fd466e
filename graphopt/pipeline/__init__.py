"""Passes, their text form, where they come from, and how they run."""

from graphopt.pipeline.base import Context, Pass, PassResult, Skip
from graphopt.pipeline.instruments import DumpGraphs, Instrument, StopAfter, Timing, VerifyEach
from graphopt.pipeline.manager import StepRecord, run_pipeline
from graphopt.pipeline.parameters import Parameter, parameter, parameters_of
from graphopt.pipeline.registry import PassInfo, Registry
from graphopt.pipeline.surgeon import surgeon_pass
from graphopt.pipeline.text import Pipeline, parse_pipeline

__all__ = [
    "Context",
    "DumpGraphs",
    "Instrument",
    "Parameter",
    "Pass",
    "PassInfo",
    "PassResult",
    "Pipeline",
    "Registry",
    "Skip",
    "StepRecord",
    "StopAfter",
    "Timing",
    "VerifyEach",
    "parameter",
    "parameters_of",
    "parse_pipeline",
    "run_pipeline",
    "surgeon_pass",
]
