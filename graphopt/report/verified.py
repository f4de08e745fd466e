"""Verification of a result that is fair to models which were odd when they came."""

from __future__ import annotations

from graphopt.errors import VerifyError
from graphopt.ir import Graph, verify


def verified(graph: Graph, original: Graph) -> tuple[str, ...]:
    """Verify a result, ONNX Runtime included. Raises VerifyError, which is a defect of graphopt or of a pass.

    Where the original already fails (an operator of one's own that this ONNX Runtime does not have, shapes that contradict each other),
    the result is not to blame: the answer is then a note that says so, otherwise it is empty.
    """
    try:
        verify(graph)
    except VerifyError:
        try:
            verify(original)
        except VerifyError as error:
            return (f"the result could not be verified, because the input already fails: {error}",)
        raise
    return ()
