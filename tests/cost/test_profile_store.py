from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from graphopt.cost.kernel import Signature
from graphopt.cost.profile.host import Host, best_processor, channel_block, this_host
from graphopt.cost.profile.store import FILE, Record, open_record
from graphopt.errors import TargetError

HOST = Host("a processor", "1.31.1", "CPUExecutionProvider", "float32", 1, 16)
RELU = "Relu(float[1,8]) -> float[1,8]"


def record() -> Record:
    found = Record(HOST)
    for ms, canary in ((0.3, (0.1, 1.0)), (0.2, (0.101, 1.1))):
        found.sessions += 1
        found.add_kernel(RELU, ms, 12, canary)
    found.skip("Loop() -> float[1]", "a body")
    found.expect_network("net", Counter({Signature.parse(RELU): 2}))
    for seconds in (0.0012, 0.0010):
        found.networks["net"].add([(seconds, seconds)] * 20, canary=(0.1, 1.0))
    found.spent["generic"] = 12.5
    found.commands.append("graphopt profile --generic")
    return found


def test_a_record_is_read_back_as_it_was(tmp_path: Path) -> None:
    record().save(tmp_path)
    found = open_record(tmp_path, HOST)
    assert found.measured_kernels() == record().measured_kernels()
    assert found.measured_networks() == record().measured_networks()
    assert (found.skipped, found.spent, found.commands, found.sessions, found.quiet) == (
        record().skipped,
        record().spent,
        record().commands,
        2,
        record().quiet,
    )


def test_the_least_of_the_passes_is_the_time_of_a_kernel() -> None:
    (kernel,) = record().measured_kernels()
    assert kernel.ms == pytest.approx(0.2)
    assert kernel.spread == pytest.approx(0.5)
    assert kernel.count == 2


def test_a_network_takes_the_geometric_mean_of_its_sessions() -> None:
    (network,) = record().measured_networks()
    assert network.ms == pytest.approx((1.0 * 1.2) ** 0.5)
    assert network.spread == pytest.approx(math.log(1.2) / 2**0.5)
    assert network.kernels == ((Signature.parse(RELU), 2),)


def test_a_session_that_was_disturbed_all_along_counts_only_where_all_were() -> None:
    found = record()
    found.networks["net"].add([(0.0018, 0.0018)] * 20, canary=(0.15, 1.0))
    assert found.measured_networks() == record().measured_networks()
    found.networks["net"].canary = [(0.15, 1.0)] * 3
    (network,) = found.measured_networks()
    assert network.ms == pytest.approx((1.0 * 1.2 * 1.8) ** (1 / 3))


def test_a_disturbed_pass_is_no_pass() -> None:
    found = record()
    assert found.passes()[RELU] == 2
    before = found.measured_kernels()
    found.add_kernel(RELU, 0.21, 12, canary=(0.15, 1.0))
    found.add_kernel(RELU, 0.21, 12, canary=(0.1, 2.0))
    assert found.passes()[RELU] == 2
    assert found.measured_kernels() == before
    assert found.passes()["Relu(float[9]) -> float[9]"] == 0


def test_a_kernel_that_was_never_undisturbed_is_better_than_none() -> None:
    found = record()
    for place in range(100, 140):
        found.add_kernel(f"Relu(float[1,{place}]) -> float[1,{place}]", 0.1, 12, canary=(0.05, 1.0))
    assert found.passes()[RELU] == 0
    assert found.measured_kernels()[:1] == record().measured_kernels()


def test_a_network_of_other_kernels_begins_anew() -> None:
    found = record()
    found.expect_network("net", Counter({Signature.parse(RELU): 2}))
    assert len(found.networks["net"].sessions) == 2
    found.expect_network("net", Counter({Signature.parse(RELU): 3}))
    assert found.networks["net"].sessions == []
    assert found.measured_networks() == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"runtime_version": "1.30.0"}, "onnxruntime '1.31.1', and this is '1.30.0'"),
        ({"cpu": "another"}, "processor"),
        ({"threads": 4}, "threads"),
        ({"provider": "CUDAExecutionProvider"}, "provider"),
        ({"precision": "int8"}, "precision"),
    ],
)
def test_another_host_is_refused(tmp_path: Path, change: dict[str, object], words: str) -> None:
    record().save(tmp_path)
    with pytest.raises(TargetError, match="another folder") as error:
        open_record(tmp_path, replace(HOST, **change))  # type: ignore[arg-type]
    assert words in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"host": {}}', '{"host": {"cpu": 1}, "signatures": 3}'])
def test_a_corrupt_record_is_a_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(TargetError, match="delete it to measure anew"):
        open_record(tmp_path, HOST)


def test_a_target_that_was_not_measured_here_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "target.toml").write_text("")
    with pytest.raises(TargetError, match="was not measured by"):
        open_record(tmp_path, HOST)


def test_this_machine_is_described() -> None:
    host = this_host("CPUExecutionProvider", 1, "float32")
    assert host.cpu
    assert host.block == channel_block() >= 1
    host.check(host, Path())
    processor = best_processor()
    assert processor is None or processor >= 0
