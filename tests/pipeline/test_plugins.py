"""Plug-in files: what they bring, and one line for each way in which they can be wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from graphopt.errors import PassClashError, PluginError
from graphopt.pipeline import Registry, parse_pipeline

from .passes import DropIdentity, registry

HEAD = """from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar
import onnx_graphsurgeon as gs
from graphopt.pipeline import Context, Pass, PassResult, parameter, surgeon_pass
from tests.pipeline.passes import DropIdentity
"""
MINE = '''
@dataclass(frozen=True)
class Mine(Pass):
    """My own pass."""
    name: ClassVar[str] = "mine"
    ratio: float = 0.5
    def apply(self, graph, context):
        return PassResult(changed=False)
'''


def write(folder: Path, text: str, name: str = "my_pass.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_file_brings_the_passes_that_it_defines_and_no_others(tmp_path: Path) -> None:
    more = """
class Base(Pass): ...
Alias = Mine
@surgeon_pass
def over_surgeon(graph: gs.Graph, *, limit: float = 2.0) -> None: ...
"""
    path = write(tmp_path, HEAD + MINE + more)
    made = Registry()
    assert made.load_plugin(path) == ("mine", "over-surgeon")
    assert made.names() == ("mine", "over-surgeon")  # DropIdentity is imported, Base is abstract, Alias is Mine
    assert str(parse_pipeline("mine{ratio=0.25},over-surgeon{limit=1}", made)) == "mine{ratio=0.25},over-surgeon{limit=1.0}"
    mine, surgeon = made.describe()
    assert (mine.summary, mine.source) == ("My own pass.", f"{path} (class Mine)")
    assert surgeon.source == f"{path} (class over_surgeon)"


def test_the_module_hides_nothing_and_leaves_nothing_beside_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + MINE, "json.py")
    before = sys.modules["json"]
    made = Registry()
    made.load_plugin(str(path))
    assert sys.modules["json"] is before
    assert made.get("mine").__module__.startswith("_graphopt_plugin_json_")
    assert [entry.name for entry in tmp_path.iterdir()] == ["json.py"]


def test_a_file_may_be_called_anything_and_need_not_postpone_annotations(tmp_path: Path) -> None:
    # With annotations evaluated at once, `later` is a NameError: the file must not inherit our own __future__ import.
    path = write(tmp_path, "def f(x: later): ...\n", "my pass.txt")
    with pytest.raises(PluginError, match="line 1: NameError"):
        Registry().load_plugin(path)
    path = write(tmp_path, HEAD + MINE, "my pass.txt")
    assert Registry().load_plugin(path) == ("mine",)


def test_loading_a_file_again_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, HEAD + MINE)
    made = Registry()
    made.load_plugin(path)
    first = made.get("mine")
    monkeypatch.chdir(tmp_path)
    assert made.load_plugin("my_pass.py") == ("mine",)
    assert made.get("mine") is first


def test_a_name_that_is_taken_names_both_and_registers_nothing(tmp_path: Path) -> None:
    other = MINE.replace("Mine", "Other").replace('"mine"', '"drop-identity"')
    path = write(tmp_path, HEAD + MINE + other)
    made = registry(DropIdentity)
    with pytest.raises(PassClashError) as caught:
        made.load_plugin(path)
    assert "'drop-identity'" in str(caught.value)
    assert "this program (class DropIdentity)" in str(caught.value)
    assert f"{path} (class Other)" in str(caught.value)
    assert made.names() == ("drop-identity",)
    assert made.get("drop-identity") is DropIdentity


def test_two_files_with_one_name_clash(tmp_path: Path) -> None:
    made = Registry()
    made.load_plugin(write(tmp_path, HEAD + MINE, "a.py"))
    with pytest.raises(PassClashError, match=r"a\.py.*b\.py"):
        made.load_plugin(write(tmp_path, HEAD + MINE, "b.py"))


def test_two_classes_of_one_file_clash(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + MINE + MINE.replace("Mine", "Again"))
    with pytest.raises(PassClashError, match=r"class Mine.*class Again"):
        Registry().load_plugin(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "defines no pass"),
        (HEAD, "defines no pass"),
        ("x = 1\nx +\n", ", line 2: SyntaxError: invalid syntax"),
        ("\n\nimport no_such_module\n", ", line 3: ModuleNotFoundError: No module named 'no_such_module'"),
        ("def f():\n    return 1 / 0\nf()\n", ", line 2: ZeroDivisionError: division by zero"),
        ("raise ValueError('two\\nlines')", ", line 1: ValueError: two"),
        ("raise ValueError", ", line 1: ValueError"),
        ("import sys\nsys.exit(3)", ", line 2: SystemExit: 3"),
        ("\0", "SyntaxError"),
        (HEAD + MINE.replace('"mine"', '"My_Pass"'), "TypeError: the name of Mine must be kebab-case"),
        (HEAD + MINE.replace("@dataclass(frozen=True)", ""), "Mine must be decorated with @dataclass(frozen=True)"),
        (HEAD + MINE.replace("@dataclass(frozen=True)", "@dataclass"), "TypeError: cannot inherit non-frozen dataclass from a frozen one"),
        (HEAD + MINE.replace("def apply", "def aply"), "Mine does not define apply"),
        (HEAD + MINE.replace("name: ClassVar", "label: ClassVar"), "Mine has no name"),
        (HEAD + MINE.replace("ratio: float", "ratio: Unknown"), "name 'Unknown' is not defined"),
        (HEAD + MINE.replace("ratio: float", "ratio: complex"), "Mine.ratio: a parameter is bool, int, float, str"),
        (HEAD + MINE + "@surgeon_pass\ndef f(graph, *rest): ...\n", "TypeError: f, argument 'rest'"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_it(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    made = Registry()
    with pytest.raises(PluginError) as caught:
        made.load_plugin(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert made.names() == ()


def test_a_file_that_does_not_run_leaves_no_module(tmp_path: Path) -> None:
    before = set(sys.modules)
    with pytest.raises(PluginError):
        Registry().load_plugin(write(tmp_path, "1 / 0"))
    assert not [name for name in set(sys.modules) - before if name.startswith("_graphopt_plugin")]


def test_a_file_that_failed_can_be_mended_and_loaded(tmp_path: Path) -> None:
    made = Registry()
    with pytest.raises(PluginError):
        made.load_plugin(write(tmp_path, HEAD))
    assert made.load_plugin(write(tmp_path, HEAD + MINE)) == ("mine",)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"plug-in .*gone\.py: there is no such file"):
        Registry().load_plugin(tmp_path / "gone.py")
    with pytest.raises(PluginError, match="not a file"):
        Registry().load_plugin(tmp_path)
