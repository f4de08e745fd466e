"""The table of operators in docs/costs.md: `python -m graphopt.cost.table > docs/costs.md`."""

from __future__ import annotations

import sys
from collections import Counter

import onnx

from graphopt.cost.operators import Cost, operator_cost, operators

_HEAD = """# What operators cost

Made from the schemas of onnx {version} by `python -m graphopt.cost.table`. `graphopt inspect MODEL --cost` adds these figures up, node by node
as the file has them, nothing fused:

- **multiply-accumulates**: counted by the rule that the table states. The bytes are counted too.
- **bytes moved**: no multiply-accumulates; every input is read once and every output written once.
- **assumed free**: runtimes hand on the same memory, or do it before the first run.
- **unknown**: listed as such with the answer, never taken for nothing.

An operator of any other domain is unknown. The latency of a model on a target is another matter: `graphopt predict` finds that from the kernels
that the target's runtime makes of the nodes.

{summary}

| domain | operator | cost | |
| --- | --- | --- | --- |
"""


def costs_table() -> str:
    """The whole page."""
    found = {operator: operator_cost(*operator) for operator in operators()}
    numbers = Counter(cost for cost, _ in found.values())
    summary = ", ".join(f"{numbers[cost]} {cost.value}" for cost in Cost)
    head = _HEAD.format(version=onnx.__version__, summary=f"{len(found)} operators: {summary}.")
    return head + "".join(row(domain, name) + "\n" for domain, name in found)


def row(domain: str, op_type: str) -> str:
    """The line of one operator."""
    cost, remark = operator_cost(domain, op_type)
    return f"| {domain or 'ai.onnx'} | {op_type} | {cost.value} | {remark} |"


if __name__ == "__main__":
    sys.stdout.write(costs_table())
