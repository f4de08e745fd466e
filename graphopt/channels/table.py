"""The table of supported operators in docs/operators.md: `python -m graphopt.channels.table > docs/operators.md`."""

from __future__ import annotations

import sys

from graphopt.channels.operator import supported_operators

_HEAD = """# Operators that channels are followed through

Made from the registry of rules by `python -m graphopt.channels.table`. An operator that is not listed freezes the channels that it touches,
and is named as the reason; [a rule of your own](channels.md#a-rule-for-your-own-operator) takes about ten lines.

| domain | operator | what its rule says |
| --- | --- | --- |
"""


def operators_table() -> str:
    """The whole page."""
    rows = (f"| {domain or 'ai.onnx'} | {op_type} | {said} |" for (domain, op_type), said in supported_operators().items())
    return _HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(operators_table())
