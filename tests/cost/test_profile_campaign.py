from __future__ import annotations

from pathlib import Path

import pytest

from graphopt.cost.kernel import Signature
from graphopt.cost.profile import Campaign, Host, converted, open_record, profile_generic, profile_model, pruned_variants, random_network
from graphopt.cost.profile.campaign import SESSIONS, Model, to_target
from graphopt.cost.profile.host import channel_block
from graphopt.cost.profile.profiles import KERNEL_PASSES
from graphopt.cost.profile.store import Record
from graphopt.cost.target import Target
from graphopt.errors import DefectError, TargetError
from graphopt.ir import Graph

from ..networks import network
from .fakes import FakeMachine, fake_ms

HOST = Host("a processor", "1.31.1", "CPUExecutionProvider", "float32", 1, channel_block())


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    return FakeMachine(monkeypatch)


def campaign(folder: Path, seconds: float = 60.0) -> Campaign:
    return Campaign(open_record(folder, HOST), folder, seconds, "test")


def profile(folder: Path, seconds: float = 60.0) -> Target:
    graph = Graph.from_proto(network())
    return profile_model(campaign(folder, seconds), ("net", graph), pruned_variants(graph, 3, HOST.block), "graphopt profile")


def test_a_profile_for_a_model_holds_its_kernels_and_whole_variants(tmp_path: Path, machine: FakeMachine) -> None:
    target = profile(tmp_path / "here")
    assert len(target.networks) >= 3
    assert target.networks[0].name == "net"
    assert target.networks[0].ms == max(network.ms for network in target.networks)
    measured = {kernel.signature for kernel in target.kernels}
    of_the_model = {sig for sig, _ in target.networks[0].kernels if sig.operator != "Flatten"}
    assert of_the_model <= measured
    assert len(measured) > len(of_the_model)
    assert all(kernel.ms == pytest.approx(fake_ms(str(kernel.signature), HOST.block)) for kernel in target.kernels)
    assert all(kernel.count == KERNEL_PASSES for kernel in target.kernels)


def test_the_folder_is_a_target_with_all_that_is_needed_to_redo_it(tmp_path: Path, machine: FakeMachine) -> None:
    profile(tmp_path / "board")
    target = Target.load(tmp_path / "board")
    assert (target.name, target.device, target.block, target.threads) == ("board", "a processor", HOST.block, 1)
    assert target.runtime_version == "1.31.1"
    assert target.provenance["command"] == "graphopt profile"
    assert target.coefficients is not None


def test_a_profile_that_was_ended_goes_on_where_it_was(tmp_path: Path, machine: FakeMachine) -> None:
    def end() -> None:
        if len(machine.kernels) == 7:
            raise DefectError("killed")

    machine.stop = end
    run = campaign(tmp_path / "here")
    graph = Graph.from_proto(network())
    with pytest.raises(DefectError, match="killed"):
        profile_model(run, ("net", graph), pruned_variants(graph, 3, HOST.block), "graphopt profile")
    run.save()  # what the campaign does by itself every few seconds
    first = list(machine.kernels)
    machine.kernels.clear()
    machine.stop = lambda: None
    target = profile(tmp_path / "here")
    assert all(kernel.count == KERNEL_PASSES for kernel in target.kernels)
    assert sorted(first + machine.kernels) == sorted(str(kernel.signature) for kernel in target.kernels for _ in range(KERNEL_PASSES))


def test_time_that_is_left_goes_to_further_sessions(tmp_path: Path, machine: FakeMachine) -> None:
    profile(tmp_path / "here")
    record = Record.load(tmp_path / "here")
    assert record is not None
    assert all(len(network.sessions) == 2 * SESSIONS for network in record.networks.values())


def test_a_finished_profile_measures_nothing_again(tmp_path: Path, machine: FakeMachine) -> None:
    before = profile(tmp_path / "here")
    machine.kernels.clear()
    machine.networks.clear()
    after = profile(tmp_path / "here")
    assert machine.kernels == machine.networks == []
    assert after.kernels == before.kernels
    assert [(network.name, network.kernels) for network in after.networks] == [
        (network.name, network.kernels) for network in before.networks
    ]


def test_rounds_that_are_made_apart_amount_to_a_whole_profile(tmp_path: Path, machine: FakeMachine) -> None:
    graph = Graph.from_proto(network())
    sessions = []
    for left in reversed(range(SESSIONS)):
        run = campaign(tmp_path / "apart")
        target = profile_model(run, ("net", graph), pruned_variants(graph, 3, HOST.block), "graphopt profile", rounds=1)
        assert run.rounds_left == left
        sessions.append(len(run.record.networks["net"].sessions))
    assert sessions == [*range(1, SESSIONS), 2 * SESSIONS]
    assert {*target.kernels} == {*profile(tmp_path / "at once").kernels}


def test_rounds_of_a_generic_profile_lie_apart_likewise(tmp_path: Path, machine: FakeMachine) -> None:
    for made in range(1, 4):
        run = campaign(tmp_path / "apart", 5.0)
        profile_generic(run, "graphopt profile", rounds=1)
        assert {len(network.sessions) for network in run.record.networks.values()} == {made}
    assert (run.sessions, run.rounds_left) == (4, 1)  # of a short time more would go to loading


def test_networks_that_take_long_to_load_have_fewer_sessions(tmp_path: Path) -> None:
    run = campaign(tmp_path / "here")
    file = tmp_path / "model.onnx"
    made = []
    for size in (1e6, 3e8, 3e9):
        with file.open("wb") as stream:
            stream.truncate(int(size))  # a hole, which takes no room
        made.append(len(run.rounds([Model("net", str(file), None)], 30.0, SESSIONS)))
    assert made == [SESSIONS, 11, 4]


def test_two_models_share_a_folder(tmp_path: Path, machine: FakeMachine) -> None:
    one = profile(tmp_path / "here")
    other = Graph.from_proto(random_network("vgg", 1))
    both = profile_model(campaign(tmp_path / "here"), ("other", other), [], "graphopt profile")
    assert {kernel.signature for kernel in one.kernels} < {kernel.signature for kernel in both.kernels}
    assert len(both.networks) == len(one.networks) + 1


def test_kernels_that_cannot_be_measured_are_left_out_with_the_reason(tmp_path: Path, machine: FakeMachine) -> None:
    machine.fail = {"Gemm"}
    target = profile(tmp_path / "here")
    assert "Gemm" not in {kernel.signature.operator for kernel in target.kernels}
    record = Record.load(tmp_path / "here")
    assert record is not None
    assert set(record.skipped.values()) == {"cannot be measured here"}
    assert machine.kernels.count(next(iter(record.skipped))) == 1
    assert target.provenance["kernels_skipped"] == len(record.skipped)


def test_a_generic_profile_has_kernels_of_many_families(tmp_path: Path, machine: FakeMachine) -> None:
    target = profile_generic(campaign(tmp_path / "here", seconds=10), "graphopt profile")
    operators = {kernel.signature.operator for kernel in target.kernels}
    assert {"Gemm", "Softmax", "Concat", "Transpose"} <= operators
    assert len(target.networks) >= 10
    assert len({network.name.rpartition("-")[0] for network in target.networks}) >= 10
    assert target.coefficients is not None


def test_nothing_measured_is_no_target(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="neither kernels nor networks"):
        to_target(Record(HOST), tmp_path / "here", "")


def test_progress_grows_from_nothing_to_all(tmp_path: Path, machine: FakeMachine) -> None:
    seen: list[float] = []
    run = Campaign(open_record(tmp_path / "here", HOST), tmp_path / "here", 60.0, "test", lambda share, text: seen.append(share))
    profile_model(run, ("net", Graph.from_proto(random_network("vgg", 0))), [], "graphopt profile")
    assert seen == sorted(seen)
    assert 0 <= seen[0] <= seen[-1] == 1.0


def test_real_workers_measure_kernels_and_networks(tmp_path: Path) -> None:
    """End to end on this machine; the times themselves are not looked at."""
    target = profile(tmp_path / "here", seconds=2.0)
    assert target.kernels
    assert all(kernel.ms > 0 for kernel in target.kernels)
    assert len(target.networks) >= 3
    assert all(network.ms > 0 for network in target.networks)
    assert all(Signature.parse(str(kernel.signature)) == kernel.signature for kernel in target.kernels)


def test_a_runtime_that_fuses_as_the_rules_say_is_not_worth_a_note(tmp_path: Path, machine: FakeMachine) -> None:
    run = campaign(tmp_path / "here")
    graph = Graph.from_proto(network())
    target = profile_model(run, ("net", graph), [], "graphopt profile")
    assert run.agreement.kernels == sum(count for _, count in target.networks[0].kernels)
    assert run.note == ""
    assert "rules" not in target.provenance["notes"]


def test_a_runtime_that_fuses_otherwise_is_said_in_the_folder(
    tmp_path: Path, machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.fuse_otherwise(monkeypatch)
    run = campaign(tmp_path / "here")
    target = profile_model(run, ("net", Graph.from_proto(network())), [], "graphopt profile")
    kernels = run.agreement.kernels
    assert f"onnxruntime-cpu differ from onnxruntime 1.31.1 in 1 of {kernels} kernels (Relu)" in run.note
    assert target.provenance["notes"].endswith(run.note)


def test_rules_for_another_runtime_are_said_to_be_of_no_use(tmp_path: Path, machine: FakeMachine) -> None:
    """Half precision on a CPU runs as float32 between conversions, of which the rules know nothing."""
    run = campaign(tmp_path / "here")
    profile_model(run, ("net", converted(Graph.from_proto(network()), "float16")), [], "graphopt profile")
    assert "do not rely on them" in run.note
