"""Layers as matrices: what passes that approximate or repair them without training share."""

from graphopt.repair.chain import Chain, chain_from
from graphopt.repair.clusters import divide
from graphopt.repair.decoupled import decouple, decoupled_macs
from graphopt.repair.forms import Factors, Form, Kernel, Ranks, Stage, forms
from graphopt.repair.frontier import Walk
from graphopt.repair.importance import DATA_CRITERIA, data_scores
from graphopt.repair.layers import ConvLayer, GemmLayer, Layer, MatMulLayer, NoLayer, add_constant, layer_of, set_constant
from graphopt.repair.lowrank import cost, improved
from graphopt.repair.match import Goal, Match, NoMatch
from graphopt.repair.moments import Moments, input_moments
from graphopt.repair.normal import Change
from graphopt.repair.outputs import errors_of_runs, output_errors, outputs
from graphopt.repair.readers import as_read, repaired_before
from graphopt.repair.records import Kept
from graphopt.repair.solve import restate, solution
from graphopt.repair.stream import Stream, calibration

__all__ = [
    "DATA_CRITERIA",
    "Chain",
    "Change",
    "ConvLayer",
    "Factors",
    "Form",
    "GemmLayer",
    "Goal",
    "Kept",
    "Kernel",
    "Layer",
    "MatMulLayer",
    "Match",
    "Moments",
    "NoLayer",
    "NoMatch",
    "Ranks",
    "Stage",
    "Stream",
    "Walk",
    "add_constant",
    "as_read",
    "calibration",
    "chain_from",
    "cost",
    "data_scores",
    "decouple",
    "decoupled_macs",
    "divide",
    "errors_of_runs",
    "forms",
    "improved",
    "input_moments",
    "layer_of",
    "output_errors",
    "outputs",
    "repaired_before",
    "restate",
    "set_constant",
    "solution",
]
