"""What an installation holds."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import tomllib
from pathlib import Path

FOLDER = Path(__file__).parents[1]
PROJECT = tomllib.loads((FOLDER / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_package_is_installed() -> None:
    places = {"graphopt": FOLDER / "graphopt", "graphopt.passes": FOLDER / "passes", "graphopt.hw_models": FOLDER / "hw_models"}
    found = {".".join([name, *init.parent.relative_to(top).parts]) for name, top in places.items() for init in top.rglob("__init__.py")}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == found


def test_data_files_are_found_where_the_package_is_installed() -> None:
    package = importlib.resources.files("graphopt")
    assert package.joinpath("py.typed").is_file()
    assert importlib.resources.files("graphopt.report").joinpath("schema.json").is_file()
    assert importlib.resources.files("graphopt.supernet").joinpath("config.schema.json").is_file()
    assert importlib.resources.files("graphopt.hw_models").joinpath("README.md").is_file()


def test_the_built_in_passes_are_entry_points() -> None:
    registered = {
        entry.name: entry.value
        for entry in importlib.metadata.entry_points(group="graphopt.passes")
        if entry.dist and entry.dist.name == "graphopt"
    }
    assert registered == PROJECT["project"]["entry-points"]["graphopt.passes"]


def test_the_hardware_models_are_data() -> None:
    code = [path for path in (FOLDER / "hw_models").rglob("*.py") if path.name != "__init__.py"]
    assert code == []
