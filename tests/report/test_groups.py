from __future__ import annotations

from pathlib import Path

import pytest

import graphopt
from graphopt.channels import Analysis, analyse
from graphopt.cost import macs_by_node, parameters
from graphopt.report.groups import frozen_rows, group_record, group_rows, macs_under, summarise

from ..networks import CHANNELS, write_network


@pytest.fixture
def analysis(tmp_path: Path) -> Analysis:
    return analyse(graphopt.load(write_network(tmp_path / "m.onnx")))


def test_everything_but_what_no_channel_governs_can_be_pruned(analysis: Analysis) -> None:
    summary = summarise(analysis)
    assert summary.parameters == parameters(analysis.graph)
    assert summary.prunable == summary.parameters - 4  # all but head.bias
    assert str(summary) == "prunable: 99 % of parameters"
    assert {reason.why for reason in summary.frozen} >= {"graph output"}


def test_a_frozen_group_holds_what_no_other_can_prune(analysis: Analysis) -> None:
    held = {reason.why: reason.held for reason in summarise(analysis).frozen}
    assert held["graph output"] == 4  # head.bias; head.weight goes with the inputs of the layer
    assert held["spatial axis of a convolution"] == 0
    assert next(iter(held)) == "graph output"  # what holds most comes first


def test_a_weight_under_two_groups_counts_once(analysis: Analysis) -> None:
    governed = [group.parameters for group in analysis.groups if group.frozen is None]
    assert sum(governed) > summarise(analysis).prunable


def test_records_hold_members_and_reasons(analysis: Analysis) -> None:
    records = {record["name"]: record for record in (group_record(group, macs_by_node(analysis.graph)) for group in analysis.groups)}
    first = records["conv1.weight:0"]
    assert (first["size"], first["exact"], first["frozen"], first["inexact"]) == (CHANNELS, True, None, None)
    assert {"initializer": "bn.mean", "axis": 0, "per_unit": 1} in first["members"]
    assert records["head.weight:0"]["frozen"] == {"where": "output 'logits'", "why": "graph output"}


def test_rows_for_people(analysis: Analysis) -> None:
    free = list(group_rows(analysis.groups, macs_by_node(analysis.graph)))
    assert [row[0] for row in free] == ["conv1.weight:0", "conv2.weight:0"]
    assert (*free[1][2:4], free[1][5]) == (f"{CHANNELS}", f"{9 * CHANNELS**2 + CHANNELS + 4 * CHANNELS:,}", "yes")


def test_macs_of_a_group_are_those_of_the_nodes_that_read_its_weights(analysis: Analysis) -> None:
    macs = macs_by_node(analysis.graph)
    by_name = {node.name: found for node, found in macs.items()}
    governed = {group.name: macs_under(group, macs) for group in analysis.groups}
    assert governed["conv1.weight:0"] == by_name["conv1"] + by_name["conv2"]
    assert governed["conv2.weight:0"] == by_name["conv2"] + by_name["head"]


def test_frozen_rows_for_people(analysis: Analysis) -> None:
    frozen = {row[0]: row for row in frozen_rows(summarise(analysis))}
    assert frozen["graph output"][1:] == ("output 'logits'", "4", "head.weight:0")
