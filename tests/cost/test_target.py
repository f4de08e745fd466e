from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphopt.cost.fitting import fit_target
from graphopt.cost.installed import find_target, installed_targets
from graphopt.cost.target import Target
from graphopt.cost.toml import to_toml
from graphopt.errors import TargetError

from .kernels_by_law import measured_target, without_kernels


@pytest.fixture
def folder(fitted: Target, tmp_path: Path) -> Path:
    fitted.save(tmp_path / "board")
    return tmp_path / "board"


def test_a_target_comes_back_as_it_was_saved(folder: Path, tmp_path: Path) -> None:
    target = Target.load(folder)
    again = target.save(tmp_path / "again")
    assert Target.load(tmp_path / "again") == again
    assert replace(again, folder=folder) == target
    for name in ("target.toml", "kernels.csv", "networks.json", "coefficients.json"):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_signatures_stand_once_in_networks_json(folder: Path) -> None:
    signatures = json.loads((folder / "networks.json").read_text())["signatures"]
    assert len(signatures) == len(set(signatures))


def test_what_is_not_there_leaves_no_file(tmp_path: Path) -> None:
    measured_target(networks=2).save(tmp_path)
    without_kernels(measured_target(networks=2)).save(tmp_path)
    assert not (tmp_path / "kernels.csv").exists()
    assert Target.load(tmp_path).kernels == ()
    assert Target.load(tmp_path).coefficients is None


def test_only_the_description(folder: Path) -> None:
    (folder / "kernels.csv").write_text("broken")
    target = Target.read(folder)
    assert (target.device, target.aliases, target.kernels) == ("a board", ("plank",), ())


def test_threads_that_nobody_stated(folder: Path) -> None:
    replace(Target.load(folder), threads=0).save(folder)
    assert Target.load(folder).threads == 0


def _replaced(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new, 1)


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("target.toml", _replaced('name = "board"\n', ""), "line 1: 'name' is missing"),
        ("target.toml", _replaced("block = 16", "block = 0"), "line 10: block = 0 is no positive whole number"),
        ("target.toml", _replaced('"onnxruntime"', '"abacus"'), "line 3: runtime 'abacus' is none of onnxruntime, tensorrt, tflite"),
        ("target.toml", _replaced("threads", "treads"), "unknown key 'treads'"),
        ("target.toml", _replaced("threads = 1", "threads ="), "(at line 9"),
        ("target.toml", _replaced("threads = 1", "threads = -1"), "threads = -1 is no whole number"),
        ("target.toml", _replaced('["plank"]', "[1]"), "line 12: aliases = [1] is no list of texts"),
        ("kernels.csv", _replaced("signature,ms", "signature,us"), "line 1: the columns must be signature,ms,spread,count"),
        ("kernels.csv", lambda text: text + "Conv(,1,0,1\n", "not the signature of a kernel"),
        ("kernels.csv", lambda text: "\n".join([*text.splitlines()[:2], "Relu"]), "line 3: 1 columns, and not 4"),
        ("kernels.csv", lambda text: text + '"Relu(float[2]) -> float[2]",-1,0,1\n', "-1 is no time"),
        ("kernels.csv", lambda text: text + '"Relu(float[2]) -> float[2]",nan,0,1\n', "nan is no time"),
        ("networks.json", _replaced('"ms":', '"ms"'), "line "),
        ("networks.json", _replaced('"ms":', '"us":'), "network 1 is corrupt: 'ms' is missing"),
        (
            "networks.json",
            lambda text: '{"signatures": [], "networks": [{"name": "n", "ms": 1, "spread": 0, "kernels": [[0, 1]]}]}',
            "network 1",
        ),
        ("networks.json", lambda text: "[]", "its list of signatures is corrupt"),
        ("coefficients.json", lambda text: text[: len(text) // 2], "coefficients.json, line "),
        ("coefficients.json", _replaced('"version": 1', '"version": 99'), "version 99 is not 1"),
        ("coefficients.json", _replaced('"scale"', '"scales"'), "is corrupt"),
        ("coefficients.json", lambda text: "7", "is corrupt"),
    ],
)
def test_a_corrupt_file_is_named_with_its_line(folder: Path, file: str, change: Callable[[str], str], words: str) -> None:
    text = (folder / file).read_text()
    changed = change(text)
    assert changed != text
    (folder / file).write_text(changed)
    with pytest.raises(TargetError) as caught:
        Target.load(folder)
    assert file in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text(folder: Path) -> None:
    (folder / "kernels.csv").write_bytes(b"signature,ms,spread,count\n\xff\xfe\n")
    with pytest.raises(TargetError, match=r"kernels\.csv, line 2: not a text"):
        Target.load(folder)


def test_a_folder_without_a_target(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"is no target: it has no target\.toml"):
        Target.load(tmp_path)


def test_find_target_by_folder_name_and_alias(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_target(folder).name == "board"
    monkeypatch.chdir(folder.parent)
    assert find_target("board").name == find_target("./board").name == "board"
    monkeypatch.setattr("graphopt.cost.installed._folders", lambda: [folder])
    monkeypatch.chdir("/")
    assert installed_targets() == {"board": folder}
    assert find_target("board").name == find_target("plank").name == "board"


def test_a_name_that_is_nearly_one_is_suggested(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphopt.cost.installed._folders", lambda: [folder])
    with pytest.raises(TargetError, match="no target 'bord': did you mean board"):
        find_target("bord")
    with pytest.raises(TargetError, match="no target 'zzz': installed are board"):
        find_target("zzz")


def test_every_installed_target_loads_and_is_fitted() -> None:
    for name, folder in installed_targets().items():
        target = Target.load(folder)
        assert target.name == name
        assert target.coefficients is not None
        assert target.coefficients.kernels == len(target.kernels)
        assert target.provenance
        assert target.error["networks"] == len(target.networks)


def test_a_fit_is_a_pure_function(measured: Target) -> None:
    small = replace(measured, networks=measured.networks[:9])
    assert fit_target(small) == fit_target(small)


def test_the_error_of_held_out_networks(fitted: Target) -> None:
    assert fitted.error["networks"] == 40
    assert fitted.error["mape"] < 0.02
    assert fitted.error["within5"] > 0.95
    assert 0.8 <= fitted.error["coverage90"] <= 1.0
    assert fitted.error["mape"] < fitted.error["linear_mape"] < fitted.error["lut_mape"]


def test_from_networks_alone(measured: Target) -> None:
    target = fit_target(replace(without_kernels(measured), fit={"strength": 0.001}))
    assert target.coefficients is not None
    assert set(target.coefficients.corrections) == {"fused", "linear"}
    assert target.error["mape"] < 0.05
    assert target.error["linear_mape"] == target.error["mape"]


def test_families_of_which_no_kernel_was_measured_are_priced_by_the_networks(measured: Target, fitted: Target) -> None:
    known = tuple(kernel for kernel in measured.kernels if kernel.signature.operator != "Relu")
    partial = fit_target(replace(measured, kernels=known, fit={"strength": 0.001}))
    assert partial.coefficients is not None
    assert partial.coefficients.linear.knows("relu")
    assert partial.error["mape"] < fitted.error["mape"] + 0.02


def test_nothing_measured_nothing_fitted() -> None:
    with pytest.raises(TargetError, match="neither kernels nor networks"):
        fit_target(replace(measured_target(), kernels=(), networks=()))


def test_options_of_the_fit_that_do_not_exist(measured: Target) -> None:
    with pytest.raises(TargetError, match="unknown options of the fit: magic"):
        fit_target(replace(measured, fit={"magic": 1}))


def test_networks_may_be_absent(measured: Target) -> None:
    target = fit_target(replace(measured, networks=()))
    assert target.coefficients is not None
    assert target.coefficients.intervals["fused"].networks == 0
    assert not target.error


@given(
    st.dictionaries(
        st.text(), st.text() | st.integers(-(2**40), 2**40) | st.booleans() | st.lists(st.text()) | st.dictionaries(st.text(), st.text())
    )
)
def test_toml_reads_back(document: dict[str, object]) -> None:
    assert tomllib.loads(to_toml(document)) == document


def test_toml_cannot_say_everything() -> None:
    with pytest.raises(TypeError):
        to_toml({"nothing": None})
