"""`graphopt inspect`: what is in a model."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click

from graphopt.channels import Analysis, analyse, coupling_dot
from graphopt.cli.console import notes, print_json, print_table, say
from graphopt.cli.costs import cost_record, operator_name, print_costs
from graphopt.cli.files import check_outputs, read_model
from graphopt.cli.options import debug_option, json_option, model_argument, options
from graphopt.cli.supernets import draft_record, print_draft, write_draft
from graphopt.cost import Counts, KnownTypes, count, fixed_types, macs_by_node
from graphopt.ir import Graph, Node, Value
from graphopt.ir.files import write_atomically
from graphopt.quality.inputs import describe
from graphopt.report import count_notes
from graphopt.report.groups import frozen_rows, group_record, group_rows, summarise
from graphopt.report.words import amount, data_size


@click.command("inspect", short_help="Show what is in a model.")
@options(
    model_argument,
    click.option("--nodes", is_flag=True, help="Also list every node with its output shape, parameters and MACs."),
    click.option("--groups", is_flag=True, help="Also list the channel groups: what can be pruned, what is frozen, and why."),
    click.option("--cost", is_flag=True, help="Also show MACs, bytes moved and peak memory, and every node's part in them."),
    click.option(
        "--dot",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Draw the coupling of weights and channel groups as a Graphviz file.",
    ),
    click.option(
        "--supernet",
        type=click.Path(path_type=Path, dir_okay=False),
        is_flag=False,
        flag_value=Path("supernet.json"),
        metavar="[FILE]",
        help="Look for the blocks of an elastic supernet, and write a draft of its side file. Default: supernet.json.",
    ),
    json_option,
    debug_option,
)
def inspect(model: Path, nodes: bool, groups: bool, cost: bool, dot: Path | None, supernet: Path | None, as_json: bool) -> None:
    """Show inputs, outputs, operators, size, parameters and MACs of MODEL, and what can be pruned of it."""
    graph = read_model(model)
    counts, analysis = count(graph), analyse(graph)
    if dot is not None:
        check_outputs(dot)
        write_atomically(dot, coupling_dot(analysis).encode())
    draft = write_draft(graph, model, supernet) if supernet is not None else None
    listed = _node_records(graph) if nodes else None
    costs = cost_record(graph) if cost else None
    if as_json:
        extra = {
            "nodes": listed,
            "cost": costs,
            "supernet": draft_record(draft, supernet) if draft is not None and supernet is not None else None,
        }
        print_json(_record(graph, counts, analysis, groups) | {name: given for name, given in extra.items() if given is not None})
        return
    _print_overview(model, graph, counts, analysis)
    if listed is not None:
        say()
        columns = ("name", "operator", "shape", "parameters", "macs")
        print_table(columns, ([_cell(record[column]) for column in columns] for record in listed), right=(3, 4))
    if costs is not None:
        print_costs(costs)
    if groups:
        _print_groups(analysis)
    if draft is not None and supernet is not None:
        print_draft(draft, supernet)
    if dot is not None:
        say(f"wrote {dot}; `dot -Tsvg {dot} -o coupling.svg` draws it")
    notes(count_notes(counts))


def _histogram(graph: Graph) -> dict[str, int]:
    """Number of nodes per operator, subgraphs included, the most frequent first."""
    return dict(Counter(operator_name(node) for node in graph.walk()).most_common())


def _interface(graph: Graph, values: tuple[Value, ...]) -> dict[str, str]:
    """Each value's type in words."""
    types = graph.types()
    return {value.name: describe(types[value]) if value in types else "not a tensor" for value in values}


def _record(graph: Graph, counts: Counts, analysis: Analysis, with_groups: bool) -> dict[str, Any]:
    summary = summarise(analysis)
    record: dict[str, Any] = {
        "name": graph.name,
        "producer": f"{graph.model.producer_name} {graph.model.producer_version}".strip(),
        "ir_version": graph.ir_version,
        "opsets": {domain or "ai.onnx": version for domain, version in graph.opsets.items()},
        "inputs": _interface(graph, _fed(graph)),
        "outputs": _interface(graph, graph.outputs),
        "operators": _histogram(graph),
        "functions": len(graph.functions),
        "params": counts.params,
        "macs": counts.macs,
        "bytes": counts.bytes,
        "uncounted": dict(counts.uncounted),
        "assumptions": list(counts.assumptions),
        "prunable_params": summary.prunable,
        "prunable": summary.share,
    }
    if with_groups:
        macs = macs_by_node(graph)
        record["groups"] = [group_record(group, macs) for group in analysis.groups]
    return record


def _fed(graph: Graph) -> tuple[Value, ...]:
    """The inputs, without the weights that old files list among them."""
    return tuple(value for value in graph.inputs if not value.is_initializer)


def _print_overview(path: Path, graph: Graph, counts: Counts, analysis: Analysis) -> None:
    record = _record(graph, counts, analysis, with_groups=False)
    rows = [("file", str(path)), ("made by", record["producer"] or "unknown")]
    rows.append(("ONNX", f"IR {graph.ir_version}, " + ", ".join(f"{domain} {version}" for domain, version in record["opsets"].items())))
    rows += [("input", f"{name}: {type_}") for name, type_ in record["inputs"].items()]
    rows += [("output", f"{name}: {type_}") for name, type_ in record["outputs"].items()]
    operators = ", ".join(f"{operator} {number}" for operator, number in record["operators"].items())
    rows.append(("nodes", f"{sum(record['operators'].values()):,}: {operators}"))
    rows += [("functions", str(record["functions"]))] if record["functions"] else []
    rows += [("parameters", f"{counts.params:,}"), ("MACs", amount(counts.macs)), ("size", data_size(counts.bytes))]
    rows.append(("channels", str(summarise(analysis))))
    print_table([], rows)


def _node_records(graph: Graph) -> list[dict[str, Any]]:
    types, macs = fixed_types(graph), macs_by_node(graph)
    return [
        {
            "name": node.name or node.label,
            "operator": operator_name(node),
            "shape": _shape(node, types),
            "parameters": sum(value.tensor.size for value in node.inputs if value is not None and value.tensor is not None),
            "macs": macs.get(node),
        }
        for node in graph.walk()
    ]


def _shape(node: Node, types: KnownTypes) -> list[int] | None:
    shape = types.static(node.outputs[0]) if node.outputs and node.outputs[0] is not None else None
    return None if shape is None else list(shape)


def _cell(value: object) -> str:
    match value:
        case None:
            return "?"
        case int():
            return f"{value:,}" if value else ""
        case list():
            return "x".join(str(size) for size in value) or "scalar"
    return str(value)


def _print_groups(analysis: Analysis) -> None:
    say()
    headers = ["group", "units are", "units", "parameters", "MACs", "exact", "initializer:axis"]
    print_table(headers, group_rows(analysis.groups, macs_by_node(analysis.graph)), right=(2, 3, 4), title="can be pruned")
    summary = summarise(analysis)
    frozen = list(frozen_rows(summary))
    if frozen:
        say()
        print_table(["because", "frozen by", "parameters held", "groups"], frozen, right=(2,), title="frozen")
    say(f"\n{summary}")
