"""`python -m graphopt.cost.fit TARGET --data DIR`: the folder of a target from published tables."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from graphopt.cost.fit.definitions import DEFINITIONS
from graphopt.cost.fit.held_out import with_held_out_error
from graphopt.cost.fit.make import definition, make
from graphopt.cost.fit.operations import Matching
from graphopt.cost.fitting import fit_target
from graphopt.cost.installed import installed_targets
from graphopt.cost.target import Target
from graphopt.errors import GraphoptError, TargetError

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command(name="python -m graphopt.cost.fit", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("target", type=click.Choice(list(DEFINITIONS)))
@click.option(
    "--data", type=_FOLDER, help="Folder of the published tables. Without it, the target is fitted again from what its folder keeps."
)
@click.option("--graphs", type=_FOLDER, help="Folder of exported networks; those that it lacks are built and exported into it.")
@click.option("--out", type=_FOLDER, help="Folder to write. By default that of the installed target.")
def main(target: str, data: Path | None, graphs: Path | None, out: Path | None) -> None:
    """Make the folder of TARGET from published measurements.

    Networks are rebuilt with torch, torchvision, timm and pytorchcv, with random weights, which is not needed for those that --graphs has. What is
    kept is which kernels they run, and their times.
    """
    try:
        _run(target, data, graphs, out)
    except GraphoptError as error:
        raise click.ClickException(str(error)) from error


def _run(name: str, data: Path | None, graphs: Path | None, out: Path | None) -> None:
    definition(name)
    folder = out or installed_targets().get(name)
    if data is not None:
        with tempfile.TemporaryDirectory() as scratch:
            made = make(name, data, graphs or Path(scratch))
        if made.matching is not None:
            click.echo(agreement(made.matching))
        target = made.target
        folder = folder or _beside(name)
    elif folder is None:
        raise TargetError(f"target {name!r} is not installed, so there is nothing to fit again: give the published tables with --data")
    else:
        target = Target.load(folder)
    # Where kernels were measured inside the networks, the error below is found in a way of its own.
    fitted = with_held_out_error(fit_target(target, held_out=False)) if target.kernels else fit_target(target)
    fitted = fitted.save(folder)
    click.echo(f"{fitted.folder}: {len(fitted.networks)} networks, {len(fitted.kernels)} kernels")
    click.echo(", ".join(f"{key} {value}" for key, value in fitted.error.items()))


def _beside(name: str) -> Path:
    """Where an installed target of that name would lie."""
    installed = next(iter(installed_targets().values()), None)
    if installed is None:
        raise TargetError(f"target {name!r} is not installed yet: say with --out where to write it")
    return installed.parent / name


def agreement(matching: Matching) -> str:
    """How far the published fused kernels agree with the fusion rules."""
    return (
        f"{matching.rows} kernels in the table: {matching.anchors} found among those of the rules, "
        f"{matching.chains} of them with the same operations fused in"
    )


if __name__ == "__main__":
    main()
