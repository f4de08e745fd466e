"""`graphopt extract`: a subnet of a supernet."""

from __future__ import annotations

from pathlib import Path

import click

from graphopt.cli.console import notes, print_json, say
from graphopt.cli.figures import print_figures
from graphopt.cli.files import check_outputs, read_model, write_results
from graphopt.cli.options import PATH, data_option, debug_option, json_option, options, output_option, report_option
from graphopt.errors import DataError, SupernetError, VerifyError
from graphopt.pipeline import Pipeline
from graphopt.quality.sources import read_arrays
from graphopt.report import Report, figures, file_record, installed_passes, origin, verified
from graphopt.report import run as run_passes

_PASS = "extract-subnet"


@click.command("extract", short_help="Take a subnet out of an elastic supernet.")
@options(
    click.argument("model", metavar="SUPERNET", type=PATH),
    click.option("--config", type=PATH, required=True, help="The configuration: a JSON file with image_size, ks, e, d, w."),
    click.option(
        "--supernet", type=PATH, required=True, help="The side file that describes the supernet; `inspect --supernet` drafts one."
    ),
    click.option(
        "--transforms", type=PATH, help="An .npz file of kernel transforms. Default: the one that the side file names, beside it."
    ),
    click.option("--sort-channels", type=click.Choice(["l1"]), help="Sort channels by importance first; needs BatchNormalization."),
    click.option("--recalibrate", is_flag=True, help="Compute batch normalization statistics anew from --data."),
    data_option,
    output_option,
    report_option,
    json_option,
    debug_option,
)
def extract(
    model: Path,
    config: Path,
    supernet: Path,
    transforms: Path | None,
    sort_channels: str | None,
    recalibrate: bool,
    data: str | None,
    preprocess: str | None,
    output: Path,
    report: Path | None,
    as_json: bool,
) -> None:
    """Write the subnet of a configuration of SUPERNET, an Once-for-All network or another elastic one (docs/supernets.md).

    Nothing is trained: the subnet holds the supernet's own weights, and computes what the supernet computes when it is set to it.
    """
    check_outputs(output, report)
    if recalibrate and data is None:
        raise DataError("--recalibrate needs --data: images of the subnet's size")
    original = read_model(model)
    source = file_record(model)
    files = {"config": config, "supernet": supernet, "transforms": transforms}
    settings = {name: str(path) for name, path in files.items() if path is not None}
    step = installed_passes().get(_PASS)(
        **settings, **({"sort_channels": sort_channels} if sort_channels else {}), **({"recalibrate": True} if recalibrate else {})
    )
    arrays = (
        read_arrays(data, [value.name for value in original.inputs if not value.is_initializer], preprocess) if data is not None else None
    )
    done = run_passes(original, Pipeline((step,)), data=arrays)
    (result,) = done.results
    summary = dict(result.summary)
    note = summary.pop("note", None)
    try:
        remarks = [*([str(note)] if note else []), *done.notes, *verified(done.graph, original)]
    except VerifyError as error:
        raise SupernetError(f"the subnet is no valid model, so {supernet} does not describe {model} rightly: {error}") from error
    made = Report(origin("", 0), source, None, "cpu", {}, figures(done.before), figures(done.after), done.steps)
    made = write_results(done.graph, output, made, report)
    if as_json:
        print_json(made.to_dict() | {"changed": done.changed, "summary": summary, "notes": remarks})
    else:
        say(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in summary.items()) + "\n")
        print_figures(made.before, made.after, names=("supernet", "subnet"))
        say(f"\nwrote {output}")
    notes(remarks)
