"""What must hold of every graph at all times, whatever was edited."""

from __future__ import annotations

import graphopt.ir as ir


def check_invariants(graph: ir.Graph) -> None:
    """The networkx edges, `inputs`/`outputs`, `producer`, `consumers` and the names agree, in subgraphs too."""
    expected = set()
    positions = {node: place for place, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        assert node.graph is graph
        for slot, value in enumerate(node.inputs):
            if value is None:
                continue
            expected.add((value, node, slot))
            assert visible(graph, value), f"{node.label} reads {value}, which nothing defines"
            if value.graph is graph:
                assert (node, slot) in graph.consumers(value)
                if value.producer is not None:
                    assert positions[value.producer] < positions[node]
        for slot, value in enumerate(node.outputs):
            if value is not None:
                expected.add((node, value, slot))
                assert value.producer is node
                assert graph.value(value.name) is value
        captures = set(node.captures)
        assert captures == {value for value, _, key in graph.nx.in_edges(node, keys=True) if key < 0}
        for value in captures:
            assert any(reader is node and slot < 0 for reader, slot in graph.consumers(value))
            assert visible(graph, value)
        for subgraph in node.subgraphs:
            assert subgraph.parent is graph
            check_invariants(subgraph)
        assert captures == {value for subgraph in node.subgraphs for value in read_from_outside(subgraph, graph)}
    edges = {(a, b, key) for a, b, key in graph.nx.edges(keys=True) if key >= 0}
    assert edges == expected
    names = [vertex.name for vertex in graph.nx if isinstance(vertex, ir.Value) and vertex.graph is graph]
    assert len(names) == len(set(names))
    for name in names:
        assert graph.has_value(name)
        assert graph.value(name) in graph.nx
    for value in (*graph.inputs, *graph.outputs, *graph.initializers):
        assert visible(graph, value)
        assert value in graph.nx
    for vertex in graph.nx:
        if isinstance(vertex, ir.Value) and vertex.graph is graph:
            assert vertex.producer in positions or graph.is_input(vertex) or vertex in graph.initializers
        elif isinstance(vertex, ir.Value):  # of an outer graph: here only while something here reads it
            assert graph.consumers(vertex) or graph.is_output(vertex)
        else:
            assert vertex in positions


def visible(graph: ir.Graph | None, value: ir.Value) -> bool:
    """By its name, from `graph` outwards, the first value found is this one."""
    while graph is not None:
        if graph.has_value(value.name):
            return graph.value(value.name) is value
        graph = graph.parent
    return False


def read_from_outside(subgraph: ir.Graph, outer: ir.Graph) -> set[ir.Value]:
    """Values of `outer` or around it that `subgraph` reads or hands out, however deep."""
    found = {value for value in subgraph.outputs if value.graph is not subgraph}
    for node in subgraph.nodes:
        found |= {value for value in node.inputs if value is not None and value.graph is not subgraph}
        for inner in node.subgraphs:
            found |= {value for value in read_from_outside(inner, subgraph) if value.graph is not subgraph}
    return found
