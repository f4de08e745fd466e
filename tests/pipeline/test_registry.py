"""The registry: entry points of installed distributions, clashes, lazy loading, listings."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from graphopt.errors import PassClashError, PluginError, UnknownPassError
from graphopt.pipeline import Pass, Registry, parse_pipeline

from .passes import DropIdentity, Need, Prune, registry

SOURCE = '''
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar
from graphopt.pipeline import Pass, PassResult, parameter

@dataclass(frozen=True)
class Installed(Pass):
    """Comes from a distribution."""
    name: ClassVar[str] = "installed"
    ratio: float = parameter(0.5, minimum=0, maximum=1, help="how much")
    def apply(self, graph, context):
        return PassResult(changed=False)

class NoPass: ...

@dataclass(frozen=True)
class Unfinished(Pass):
    name: ClassVar[str] = "unfinished"
'''


@pytest.fixture(autouse=True)
def _restore(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget what a test installed and imported."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def install(folder: Path, distribution: str, module: str, entry_points: str, source: str = SOURCE) -> Path:
    """Put a distribution with one module and entry points into `folder`, in front of sys.path."""
    info = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[graphopt.passes]\n{entry_points}\n")
    (folder / f"{module}.py").write_text(source)
    sys.path.insert(0, str(folder))
    return folder


def test_an_installed_pass_is_found_and_parses(tmp_path: Path) -> None:
    install(tmp_path, "dist-one", "dist_one", "installed = dist_one:Installed")
    found = Registry.installed()
    assert "installed" in found.names()
    assert list(found.names()) == sorted(found.names())
    assert str(parse_pipeline("installed{ratio=0.25}", found)) == "installed{ratio=0.25}"
    assert found.get("installed") is sys.modules["dist_one"].Installed


def test_a_pass_is_imported_only_when_it_is_asked_for(tmp_path: Path) -> None:
    install(tmp_path, "dist-lazy", "dist_lazy", "installed = dist_lazy:Installed")
    found = Registry.installed()
    assert "installed" in found.names()
    assert "dist_lazy" not in sys.modules
    found.get("installed")
    assert "dist_lazy" in sys.modules


def test_two_distributions_with_one_name_clash_and_both_are_named(tmp_path: Path) -> None:
    install(tmp_path / "a", "dist-one", "dist_one", "installed = dist_one:Installed")
    install(tmp_path / "b", "dist-two", "dist_two", "installed = dist_two:Installed")
    with pytest.raises(PassClashError) as caught:
        Registry.installed()
    message = str(caught.value)
    assert "'installed'" in message
    assert "dist-one 1.0" in message
    assert "dist-two 1.0" in message
    assert "dist_one" not in sys.modules  # found out without running anybody's code


def test_one_distribution_that_is_listed_twice_is_no_clash(tmp_path: Path) -> None:
    folder = install(tmp_path / "a", "dist-one", "dist_one", "installed = dist_one:Installed")
    sys.path.append(str(folder))
    install(tmp_path / "b", "dist-one", "dist_one", "installed = dist_one:Installed")  # a build folder beside the installation
    install(tmp_path / "c", "Dist_One", "dist_one", "installed = dist_one:Installed")  # the same name, spelled as older tools did
    assert Registry.installed().names().count("installed") == 1


def test_one_distribution_may_not_list_a_name_for_two_classes(tmp_path: Path) -> None:
    install(tmp_path, "dist-one", "dist_one", "installed = dist_one:Installed\ninstalled = dist_one:Other")
    with pytest.raises(PassClashError, match=r"dist_one:Installed.*dist_one:Other"):
        Registry.installed()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("renamed = dist_bad:Installed", "is registered as 'renamed', but its class Installed is named 'installed'"),
        ("nothing = dist_bad:Nothing", "pass 'nothing' of dist-bad 1.0 (dist_bad:Nothing) does not load: AttributeError"),
        ("gone = dist_gone:Installed", "pass 'gone' of dist-bad 1.0 (dist_gone:Installed) does not load: ModuleNotFoundError"),
        ("no-pass = dist_bad:NoPass", "is no class derived from graphopt.Pass"),
        ("unfinished = dist_bad:Unfinished", "Unfinished does not define apply"),
    ],
)
def test_an_entry_point_that_does_not_load_names_its_distribution(tmp_path: Path, entry: str, message: str) -> None:
    install(tmp_path, "dist-bad", "dist_bad", entry)
    found = Registry.installed()
    with pytest.raises(PluginError) as caught:
        found.get(entry.partition(" ")[0])
    assert message in str(caught.value)
    assert "dist-bad 1.0" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_that_nobody_registered_suggests_a_near_one() -> None:
    with pytest.raises(UnknownPassError, match="there is no pass 'prune-channel'; did you mean 'prune-channels'"):
        registry(Prune).get("prune-channel")


def test_a_class_can_be_added_and_not_twice_under_one_name() -> None:
    made = registry(Prune, DropIdentity)
    made.add(Prune, source="elsewhere")  # the same class again changes nothing
    assert made.describe()[1].source == "this program (class Prune)"
    assert made.names() == ("drop-identity", "prune-channels")
    assert made.get("prune-channels") is Prune

    @dataclass(frozen=True)
    class Other(Prune):
        name: ClassVar[str] = "prune-channels"

    with pytest.raises(PassClashError, match=r"this program \(class Prune\).*this notebook \(class .*Other\)"):
        made.add(Other, source="this notebook")
    assert made.get("prune-channels") is Prune


def test_what_is_no_proper_pass_cannot_be_added() -> None:
    class Undecorated(Prune):
        name: ClassVar[str] = "undecorated"

    @dataclass(frozen=True)
    class Nameless(Pass):
        apply = Prune.apply

    made = Registry()
    for wrong, message in [(Undecorated, "decorated"), (Nameless, "has no name"), (Pass, "does not define apply"), (3, "derived from")]:
        with pytest.raises(PluginError, match=message):
            made.add(wrong)  # type: ignore[arg-type]
    assert made.names() == ()


def test_the_listing_says_what_a_pass_is_and_what_it_takes() -> None:
    need, prune = registry(Prune, Need).describe()
    assert (need.name, need.summary) == ("need", "A parameter that must be given.")
    assert prune.summary == "Every kind of parameter that a pass can have."
    assert prune.source == "this program (class Prune)"
    assert [found.name for found in prune.parameters][:2] == ["ratio", "criterion"]


def test_a_pass_without_a_docstring_has_no_summary() -> None:
    @dataclass(frozen=True)
    class Silent(Pass):
        name: ClassVar[str] = "silent"
        apply = Prune.apply

    assert Silent.__doc__  # what @dataclass writes
    assert registry(Silent).describe()[0].summary == ""


def test_a_pass_that_does_not_load_does_not_hide_the_others_from_the_listing(tmp_path: Path) -> None:
    install(tmp_path, "dist-half", "dist_half", "installed = dist_half:Installed\nbroken = dist_half:Nothing")
    found = {info.name: info for info in Registry.installed().describe()}
    assert found["installed"].problem == ""
    assert found["installed"].source == "dist-half 1.0 (dist_half:Installed)"
    assert "does not load" in found["broken"].problem
