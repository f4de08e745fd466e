"""`graphopt inspect --cost`: multiply-accumulates, bytes moved and peak memory, for the model and node by node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from graphopt.cli.console import note, print_table, say
from graphopt.cost import Cost, fixed_types, macs_by_node, operator_cost, parameters, peak_memory, total_traffic, traffic_by_node
from graphopt.cost.memory import ASSUMPTIONS
from graphopt.ir import Graph, Node
from graphopt.report.words import amount, data_size

_SHOWN = 8  # values that are held at the peak


def cost_record(graph: Graph) -> dict[str, Any]:
    """The costs of a model, as they stand in JSON; bytes and multiply-accumulates of one run."""
    types = fixed_types(graph)
    macs, traffic, memory = macs_by_node(graph, types), traffic_by_node(graph, types), peak_memory(graph, types)
    total = total_traffic(traffic.values())
    total_macs = sum(found or 0 for found in macs.values())
    nodes: list[dict[str, Any]] = []
    for node, moved in traffic.items():
        counted = macs.get(node, 0)
        nodes.append(
            {
                "name": node.name or node.label,
                "operator": operator_name(node),
                "cost": operator_cost(node.domain, node.op_type)[0].value,
                "macs": counted,
                "bytes_read": None if moved is None else moved.read,
                "bytes_written": None if moved is None else moved.written,
                "weight_bytes": None if moved is None else moved.weights,
                "macs_share": (counted or 0) / total_macs if total_macs else 0.0,
                "bytes_share": moved.moved / total.moved if moved is not None and total.moved else 0.0,
            }
        )
    nodes.sort(key=lambda record: -max(record["macs_share"], record["bytes_share"]))
    return {
        "params": parameters(graph),
        "macs": total_macs,
        "bytes_read": total.read,
        "bytes_written": total.written,
        "weight_bytes": total.weights,
        "peak_memory": {
            "bytes": memory.peak,
            "node": None if memory.node is None else memory.node.name or memory.node.label,
            "held": [{"value": value.name, "bytes": size} for value, size in memory.held],
            "values_of_unknown_size": [value.name for value in memory.unknown],
            "assumptions": list(ASSUMPTIONS),
        },
        "assumed_free": _counted(node for node in traffic if operator_cost(node.domain, node.op_type)[0] is Cost.FREE),
        "unknown": _counted(node for node, moved in traffic.items() if moved is None or macs.get(node, 0) is None),
        "nodes": nodes,
    }


def operator_name(node: Node) -> str:
    """The operator with its domain, where that is not ONNX's own."""
    return f"{node.domain}.{node.op_type}" if node.domain else node.op_type


def _counted(nodes: Iterable[Node]) -> dict[str, int]:
    return dict(Counter(operator_name(node) for node in nodes).most_common())


def print_costs(record: dict[str, Any]) -> None:
    """The same as tables; what is unknown as notes on stderr."""
    say()
    memory = record["peak_memory"]
    moved = record["bytes_read"] + record["bytes_written"]
    held = ", ".join(f"{item['value']} {data_size(item['bytes'])}" for item in memory["held"][:_SHOWN])
    more = f" and {len(memory['held']) - _SHOWN} more" if len(memory["held"]) > _SHOWN else ""
    rows = [
        ("MACs", amount(record["macs"])),
        ("bytes moved", f"{data_size(moved)}: {data_size(record['bytes_read'])} read, {data_size(record['bytes_written'])} written"),
        ("of these weights", data_size(record["weight_bytes"])),
        ("parameters", f"{record['params']:,}"),
        ("peak of activations", data_size(memory["bytes"]) + (f" at {memory['node']}: {held}{more}" if memory["node"] is not None else "")),
    ]
    rows += [("assumed free", _listed(record["assumed_free"]))] if record["assumed_free"] else []
    print_table([], rows, title="cost of one run, nothing fused")
    say()
    columns = ["node", "operator", "MACs", "share", "read", "written", "weights", "share"]
    print_table(columns, (_row(node) for node in record["nodes"]), right=range(2, 8))
    if record["unknown"]:
        note(f"the cost leaves out what is unknown of these nodes: {_listed(record['unknown'])}")
    if memory["values_of_unknown_size"]:
        note(f"the peak of activations leaves out {len(memory['values_of_unknown_size'])} values of unknown size")


def _listed(counted: dict[str, int]) -> str:
    return ", ".join(f"{nodes} x {operator}" for operator, nodes in counted.items())


def _row(node: dict[str, Any]) -> list[str]:
    sizes = [node[key] for key in ("bytes_read", "bytes_written", "weight_bytes")]
    bytes_ = ["?" if size is None else data_size(size) if size else "" for size in sizes]
    macs = "?" if node["macs"] is None else amount(node["macs"]) if node["macs"] else ""
    return [node["name"], node["operator"], macs, _percent(node["macs_share"]), *bytes_, _percent(node["bytes_share"])]


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %" if share else ""
