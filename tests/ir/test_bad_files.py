"""What is no model is refused in one line that names the file; nothing that a file holds makes loading crash."""

from __future__ import annotations

import os
import random
from pathlib import Path

import onnx
import pytest

import graphopt.ir as ir
from graphopt.errors import GraphoptError, InvalidModelError
from tests.ir import features
from tests.ir.external import external_model, in_child, write_data
from tests.models import difference, read, write


def refused(path: Path | str) -> str:
    with pytest.raises(InvalidModelError) as caught:
        ir.load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert Path(path).name in message
    return message


def test_a_missing_file(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "missing.onnx")
    refused(tmp_path / "missing" / "missing.onnx")
    refused(str(tmp_path / "missing.onnx"))


def test_a_folder_an_empty_file_text_and_others(tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    assert "directory" in refused(tmp_path / "folder.onnx").lower()
    others = {
        "empty.onnx": b"",
        "text.onnx": b"This is not a model.\nIt is text.\n",
        "zeros.onnx": bytes(1000),
        "image.onnx": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
        "zip.onnx": b"PK\x03\x04" + bytes(100),
        "lfs.onnx": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12345\n",
        "html.onnx": b"<!DOCTYPE html><html><body>404</body></html>",
        "json.onnx": b'{"graph": {}}',
        "pickle.onnx": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94.",
        "tensor.onnx": onnx.helper.make_tensor("t", 1, [2], [1.0, 2.0]).SerializeToString(),
        "graph.onnx": features.base().graph.SerializeToString(),
        "nothing.onnx": onnx.ModelProto(ir_version=10).SerializeToString(),
    }
    for name, data in others.items():
        (tmp_path / name).write_bytes(data)
        refused(tmp_path / name)


def test_a_file_without_permission(tmp_path: Path) -> None:
    path = write(tmp_path / "secret.onnx", features.base())
    path.chmod(0o000)
    tmp_path.chmod(0o755)

    def work() -> None:
        if os.geteuid() == 0:
            os.setuid(65534)
        assert "ermission" in refused(path)

    assert in_child(work) == 0


def test_a_model_cut_off_anywhere(tmp_path: Path) -> None:
    """Where what is left is no model by ONNX's own rules; the cut may spare everything that matters."""
    data = features.build("nested_subgraphs_with_captures").SerializeToString()
    path = tmp_path / "cut.onnx"
    loaded = 0
    for end in range(len(data)):
        path.write_bytes(data[:end])
        try:
            ir.load(path).to_proto()
        except InvalidModelError as error:
            assert "cut.onnx" in str(error)
        else:
            loaded += 1
            onnx.ModelProto.FromString(data[:end])
    assert loaded <= 3, "the cuts between the opset imports at the end"


@pytest.mark.parametrize(
    "name", ["nested_subgraphs_with_captures", "functions", "every_element_type", "training_info_with_bindings", "sparse_initializers"]
)
def test_flipped_bytes_never_crash(name: str, tmp_path: Path) -> None:
    """Whatever protobuf still parses either loads and survives edits and saving, or is refused with an error of ours."""
    data = features.build(name).SerializeToString()
    chance = random.Random(name)
    path = tmp_path / "flipped.onnx"
    for _ in range(300):
        flipped = bytearray(data)
        for _ in range(chance.randint(1, 3)):
            flipped[chance.randrange(len(flipped))] = chance.randrange(256)
        path.write_bytes(flipped)
        try:
            graph = ir.load(path)
        except GraphoptError:
            continue
        again = tmp_path / "again.onnx"
        ir.save(graph, again)
        assert not difference(onnx.ModelProto.FromString(bytes(flipped)), read(again))
        try:
            graph.add_node("Relu", [graph.inputs[0]], ["an unused name"])
            graph.types()
            graph.copy().to_proto()
            for value in graph.initializers:
                graph.constant(value)
        except (GraphoptError, IndexError):
            continue


def test_flipped_bytes_around_external_data_never_crash(tmp_path: Path) -> None:
    write_data(tmp_path / "w.bin")
    data = external_model(checksum="c").SerializeToString()
    chance = random.Random(0)
    path = tmp_path / "flipped.onnx"
    (tmp_path / "out").mkdir()
    for _ in range(500):
        flipped = bytearray(data)
        flipped[chance.randrange(len(flipped))] = chance.choice([0, 1, 9, 46, 47, 45, 48, 57, 127, 128, 255])
        path.write_bytes(flipped)
        try:
            graph = ir.load(path)
            for value in graph.initializers:
                graph.constant(value)
            ir.save(graph, tmp_path / "out" / "model.onnx")
        except GraphoptError as error:
            assert "\n" not in str(error)


def test_deep_nesting_is_refused_or_loads(tmp_path: Path) -> None:
    """Protobuf stops at a depth of its own; Python's recursion limit must not be reached before."""
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y0"])], "g0", [], [info("y0", 1, [2])])
    for depth in range(1, 30):
        node = onnx.helper.make_node("If", ["cond"], [f"y{depth}"], then_branch=graph, else_branch=onnx.helper.make_graph([], "e", [], []))
        graph = onnx.helper.make_graph([node], f"g{depth}", [], [info(f"y{depth}", 1, [2])])
    graph.input.extend([info("cond", 9, []), info("x", 1, [2])])
    path = write(tmp_path / "deep.onnx", onnx.helper.make_model(graph, ir_version=10, opset_imports=[onnx.helper.make_opsetid("", 21)]))
    loaded = ir.load(path)
    loaded.rename(loaded.value("x"), "x2")
    assert loaded.copy().to_proto() == loaded.to_proto()


def test_a_very_long_chain_is_no_deep_recursion() -> None:
    nodes = [onnx.helper.make_node("Relu", [f"v{n}"], [f"v{n + 1}"]) for n in range(20_000)]
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(nodes, "g", [info("v0", 1, [2])], [info("v20000", 1, [2])])
    loaded = ir.Graph.from_proto(onnx.helper.make_model(graph, ir_version=10, opset_imports=[onnx.helper.make_opsetid("", 21)]))
    loaded.rename(loaded.value("v0"), "x")
    assert loaded.copy().to_proto().graph.node[0].input[0] == "x"
    assert len(loaded.nodes) == 20_000
