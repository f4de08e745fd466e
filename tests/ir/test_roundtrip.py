"""load -> save keeps every field of every message, presence bits and unknown fields included; untouched parts survive edits."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from google.protobuf.message import Message

import graphopt.ir as ir
from tests.ir import corpus, features, probes
from tests.models import difference, load, saved, serialised

Edit = Callable[[ir.Graph], None]


@functools.cache
def paths_by_field() -> dict[str, list[probes.Path]]:
    by_field: dict[str, list[probes.Path]] = defaultdict(list)
    for path in probes.paths():
        by_field[probes.label(path[-1])].append(path)
    return {field: sorted(paths, key=len) for field, paths in by_field.items()}


def dotted(path: probes.Path) -> str:
    return ".".join(field.name for field in path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Where probes are written; external data lies beside."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / probes.DATA_FILE).write_bytes(probes.DATA)
    return folder / "model.onnx"


def roundtrip(model: onnx.ModelProto, source: Path) -> str:
    """What `load` and `save` into another folder change, in words; '' for nothing."""
    return difference(model, saved(load(source, model), source.parent.parent / "target" / "model.onnx"))


def check_paths(paths: list[probes.Path], variant: str, source: Path) -> None:
    lost = []
    for path in paths:
        model = probes.Builder(variant).build(path)
        change = attempt(functools.partial(roundtrip, model, source))
        if change and not (change.startswith("InvalidModelError") and not well_formed(model)):
            lost.append(f"{dotted(path)}: {change}")
    assert not lost, f"{len(lost)} of {len(paths)} lost:\n" + "\n".join(lost[:10])


def attempt(check: Callable[[], str]) -> str:
    """What `check` says, or the exception it fails with: one bad probe must not hide the others."""
    try:
        return check()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def well_formed(model: onnx.ModelProto) -> bool:
    """A field set to its default may make no model at all: a value without a name, a tensor without a type. Refusing is right then."""
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError:
        return False
    return True


def test_probes_cover_every_field_of_every_message() -> None:
    """Present in a built probe, not merely walked past: a field of a future onnx that no probe sets fails here."""
    present: set[str] = set()

    def collect(message: Message) -> None:
        for field, value in message.ListFields():
            present.add(probes.label(field))
            if field.message_type:
                for inner in value if field.is_repeated else [value]:
                    collect(inner)

    for paths in paths_by_field().values():
        collect(probes.Builder("set").build(paths[0]))
    everything = {probes.label(field) for message in probes.descriptors().values() for field in message.fields}
    assert everything == present
    assert probes.SPECIAL.keys() <= everything
    assert len(everything) >= 134


@pytest.mark.parametrize("field", paths_by_field())
def test_every_field_survives(field: str, source: Path) -> None:
    check_paths(paths_by_field()[field][:25], "set", source)


@pytest.mark.parametrize("field", paths_by_field())
def test_presence_bits_survive(field: str, source: Path) -> None:
    check_paths(paths_by_field()[field][:6], "default", source)


MESSAGE_FIELDS = [field for field, paths in paths_by_field().items() if paths[0][-1].message_type]


@pytest.mark.parametrize("field", MESSAGE_FIELDS)
def test_unknown_fields_survive(field: str, source: Path) -> None:
    check_paths(paths_by_field()[field][:12], "unknown", source)


def test_unknown_fields_of_the_model_survive(source: Path) -> None:
    model = probes.base()
    model.MergeFromString(b"\xba\x3e\x05probe")
    assert not roundtrip(model, source)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["set", "default", "unknown"])
@pytest.mark.parametrize("field", paths_by_field())
def test_every_path_survives(field: str, variant: str, source: Path) -> None:
    if variant != "unknown" or field in MESSAGE_FIELDS:
        check_paths(paths_by_field()[field], variant, source)


@pytest.mark.parametrize("name", features.FEATURES)
def test_features_survive(name: str, source: Path) -> None:
    assert not roundtrip(features.build(name), source)


# --- copies and edits elsewhere ---


def probe_models() -> dict[str, onnx.ModelProto]:
    models = {name: features.build(name) for name in features.FEATURES if name != "empty_graph"}
    for field, paths in paths_by_field().items():
        models[field] = probes.Builder("set").build(paths[0])
        models[f"{field} deep"] = probes.Builder("set").build(paths[-1])
    return models


def check_all(check: Callable[[onnx.ModelProto], str]) -> None:
    results = {name: attempt(functools.partial(check, model)) for name, model in probe_models().items()}
    lost = [f"{name}: {result}" for name, result in results.items() if result]
    assert not lost, f"{len(lost)} lost:\n" + "\n".join(lost[:15])


def test_copies_are_lossless(source: Path) -> None:
    target = source.parent.parent / "target" / "model.onnx"
    check_all(lambda model: difference(model, saved(load(source, model).copy(), target)))


def add_identity(graph: ir.Graph) -> None:
    graph.add_node("Identity", [graph.value("bx")], ["bystander_copy"], name="added")


def rename_bystander(graph: ir.Graph) -> None:
    graph.rename(graph.value("bm"), "bm_renamed")


def delete_bystander(graph: ir.Graph) -> None:
    assert graph.bypass(graph.value("bm").producer)


def undo_add(model: onnx.ModelProto) -> None:
    for node in [node for node in model.graph.node if node.name == "added"]:
        model.graph.node.remove(node)
    for entry in [entry for entry in model.graph.value_info if entry.name == "bystander_copy"]:
        model.graph.value_info.remove(entry)


def undo_rename(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if node.name in ("bystander", "bystander_2"):
            field = node.output if node.name == "bystander" else node.input
            assert list(field) == ["bm_renamed"]
            field[0] = "bm"
    for entry in model.graph.value_info:
        if entry.name == "bm_renamed":
            entry.name = "bm"


def undo_delete(model: onnx.ModelProto) -> None:
    """Nothing: the test deletes the node from what it expects."""


def delete_from(model: onnx.ModelProto) -> None:
    nodes = {node.name: node for node in model.graph.node}
    nodes["bystander_2"].input[0] = "bx"
    model.graph.node.remove(nodes["bystander"])
    for entry in [entry for entry in model.graph.value_info if entry.name == "bm"]:
        model.graph.value_info.remove(entry)


EDITS: list[tuple[Edit, Callable[[onnx.ModelProto], None]]] = [
    (add_identity, undo_add),
    (rename_bystander, undo_rename),
    (delete_bystander, undo_delete),
]


@pytest.mark.parametrize(("edit", "undo"), EDITS, ids=["add", "rename", "bypass"])
def test_untouched_parts_survive_an_edit_elsewhere(edit: Edit, undo: Callable[[onnx.ModelProto], None], source: Path) -> None:
    def check(model: onnx.ModelProto) -> str:
        graph = load(source, model)
        edit(graph)
        after = saved(graph, source.parent.parent / "target" / "model.onnx")
        undo(after)
        if edit is delete_bystander:
            delete_from(model)
        return difference(model, after)

    check_all(check)


def test_an_edit_of_a_copy_leaves_the_original_alone(source: Path) -> None:
    def check(model: onnx.ModelProto) -> str:
        graph = load(source, model)
        copy = graph.copy()
        for edit, _ in EDITS[:2]:
            edit(copy)
        copy.to_proto().Clear()
        return difference(model, saved(graph, source.parent.parent / "target" / "model.onnx"))

    check_all(check)


def test_from_proto_does_not_keep_or_change_the_message() -> None:
    for name in features.FEATURES:
        model = features.build(name)
        before = serialised(model)
        graph = ir.Graph.from_proto(model)
        assert serialised(graph.to_proto()) == before, name
        if name != "empty_graph":
            rename_bystander(graph)
            graph.to_proto().graph.Clear()
        assert serialised(model) == before, name


# --- models of others ---


@pytest.mark.parametrize("name", corpus.wheel_files())
def test_files_of_the_onnx_wheel_survive(name: str, tmp_path: Path) -> None:
    path = corpus.WHEEL_DATA / name
    graph = ir.load(path)
    assert not difference(onnx.load(path), saved(graph, tmp_path / "model.onnx"))
    assert not difference(onnx.load(path), graph.copy().to_proto())


def test_there_are_149_files_and_1884_node_models() -> None:
    assert len(corpus.wheel_files()) >= 149
    assert len(corpus.node_models()) >= 1884


def test_node_models_survive(tmp_path: Path) -> None:
    failed = []
    for name, model in corpus.node_models().items():
        graph = load(tmp_path / "in" / "model.onnx", model)
        changes = (difference(model, saved(graph, tmp_path / "out.onnx")), difference(model, graph.copy().to_proto()))
        failed += [f"{name}: {change}" for change in changes if change]
    assert not failed, f"{len(failed)} failed:\n" + "\n".join(failed[:10])
