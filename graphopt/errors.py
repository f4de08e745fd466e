"""The errors that graphopt raises: one family, one class per thing a caller could handle.

Every message says what is wrong, where (file, node, operator), and what to do about it. `exit_status` is what the command line
returns for the class: 1 a budget or gate is missed, 2 bad input or usage, 3 a defect of graphopt itself.
"""

from __future__ import annotations


class GraphoptError(Exception):
    """Base of the family."""

    exit_status = 2


class InvalidModelError(GraphoptError):
    """The file is not an ONNX model, or the model breaks ONNX's rules (SSA form, topological order, the checker's rules)."""


class ExternalDataError(GraphoptError):
    """External data is missing, out of bounds, or lies outside the model's folder."""


class EditError(GraphoptError):
    """An edit would break the graph: a name that is taken, a node that is still used, a value of another graph."""


class UnsupportedError(GraphoptError):
    """The model uses something that the requested operation cannot do (an opset too old, a type a bridge cannot carry)."""


class PipelineSyntaxError(GraphoptError):
    """A pipeline text does not parse; the message shows the text with a caret."""


class UnknownPassError(GraphoptError):
    """No pass of that name is registered."""


class PassParameterError(GraphoptError):
    """A pass has no such parameter, or the value has the wrong type or is out of range."""


class PassClashError(GraphoptError):
    """Two distributions or files register a pass under one name."""


class PluginError(GraphoptError):
    """A plug-in could not be imported, or holds no pass."""


class SupernetError(GraphoptError):
    """A supernet's description or configuration does not fit the model, or asks for something that it cannot give."""


class DataError(GraphoptError):
    """Input data or labels do not fit the model, or cannot be read; or a metric failed on them."""


class RuntimeRefusedError(GraphoptError):
    """ONNX Runtime cannot load or run the model."""


class BudgetError(GraphoptError):
    """A budget or gate is missed."""

    exit_status = 1


class OutOfTimeError(GraphoptError):
    """What was to be done could not be done in the time that was left for it; it says nothing about the model."""

    exit_status = 1


class DefectError(GraphoptError):
    """graphopt broke one of its own promises; please report it."""

    exit_status = 3


class VerifyError(DefectError):
    """A graph that graphopt changed does not pass verification."""


class OutputError(GraphoptError):
    """A result could not be written; what was there before is untouched."""


class TargetError(GraphoptError):
    """No such target, or a target's folder is incomplete or corrupt, or cannot do what was asked."""


class RulesError(GraphoptError):
    """A file of fusion rules cannot be read or says something that is not understood."""


class OpenShapeError(GraphoptError):
    """A size that the model leaves open was not given, or what was given does not fit the model's inputs."""


class StudyError(GraphoptError):
    """A study cannot be opened, read or written, or belongs to another search."""
