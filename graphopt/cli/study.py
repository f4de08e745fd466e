"""`graphopt study`: what the studies of `optimize` hold."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from graphopt.cli.console import note, print_json, print_table, say
from graphopt.cli.files import check_outputs
from graphopt.cli.options import PATH, debug_option, json_option, options
from graphopt.errors import BudgetError, OutputError, StudyError
from graphopt.ir.files import write_atomically
from graphopt.report.words import amount, data_size, milliseconds, score
from graphopt.search.objective import Objective
from graphopt.search.study import Place, Record, State, Study, named_studies, pareto

_WORDS = {
    "latency_ms": ("latency", milliseconds),
    "measured_ms": ("measured", milliseconds),
    "quality": ("quality", score),
    "macs": ("MACs", amount),
    "params": ("parameters", amount),
    "bytes": ("size", data_size),
    "peak_memory": ("peak memory", data_size),
}

_STATES: tuple[State, ...] = ("complete", "failed", "running")

_study_argument = click.argument("study", metavar="STUDY")


@click.group("study", short_help="Show what a search has tried.", epilog="All of them print JSON with --json.")
def study() -> None:
    """Show the trials that `optimize --study STUDY` has made, also while it runs.

    STUDY is the name of a study, a file ending in .db or .sqlite, or postgresql://USER@HOST/DATABASE?study=NAME.
    """


@study.command("list", short_help="List studies.")
@options(click.argument("database", metavar="[FILE|URL]", required=False), json_option, debug_option)
def list_studies(database: str | None, as_json: bool) -> None:
    """List the studies that were only named, or those in the database of a FILE or URL."""
    places = named_studies() if database is None else [Place.parse(database, whole=True)]
    found = []
    for place in places:
        try:
            for name in Study.names(place):
                with Study.load(place.study(name)) as loaded:
                    # A file is found by its own name, also where it was copied from that of another study.
                    found.append(_summary(loaded) | ({"name": place.name} if database is None else {}))
        except StudyError as error:
            if database is not None:
                raise
            note(str(error))  # one that cannot be read does not hide the others
    if as_json:
        print_json({"studies": found})
    elif found:
        rows = [(each["name"], each["model"], each["target"], *(str(each[state]) for state in _STATES)) for each in found]
        print_table(["study", "model", "target", *_STATES], rows, right=(3, 4, 5))
    else:
        note("there is no study")


@study.command("show", short_help="Show a study and all its trials.")
@options(_study_argument, json_option, debug_option)
def show(study: str, as_json: bool) -> None:
    """Show what a study is about, and each trial: its figures, or why it failed."""
    with Study.load(Place.parse(study)) as loaded:
        trials = loaded.trials()
        if as_json:
            print_json(_document(loaded, trials))
            return
        print_table([], _facts(loaded, trials))
    say()
    _print_trials(trials)


@study.command("best", short_help="Show the best trial.")
@options(_study_argument, json_option, debug_option)
def best(study: str, as_json: bool) -> None:
    """Show the trial that is best of those within the budget, with its pipeline as a line to paste. Exit status 1 where there is none."""
    with Study.load(Place.parse(study)) as loaded:
        objective, trials = _objective(loaded), loaded.trials()
        found = next((trial for trial in objective.best(trials) if objective.keeps(trial)), None)
        if found is None:
            raise BudgetError(f"no trial of the study {loaded.name!r} is within the budget{_nearest(objective, trials)}")
    if as_json:
        print_json(_record(found))
        return
    print_table([], [(word, text) for word, text in zip(_headers([found]), _figures(found, _known([found])), strict=True)])
    say()
    say(f"pipeline: {found.pipeline}")


@study.command("pareto", short_help="Show the trials that none other beats in both latency and quality.")
@options(_study_argument, json_option, debug_option)
def pareto_front(study: str, as_json: bool) -> None:
    """Show the trials to which no other is better in latency or quality without being worse in the other, fastest first."""
    with Study.load(Place.parse(study)) as loaded:
        front = pareto(loaded.trials())
    if as_json:
        print_json({"pareto": [_record(trial) for trial in front]})
    elif front:
        _print_trials(front)
    else:
        note("no trial has both a latency and a quality")


@study.command("export", short_help="Write all trials as CSV or JSON.")
@options(
    _study_argument,
    click.option("-o", "--output", type=PATH, help="The file to write, .csv or .json; without it, stdout."),
    click.option("--format", "kind", type=click.Choice(["csv", "json"]), help="Default: as the file ends, else csv."),
    json_option,
    debug_option,
)
def export(study: str, output: Path | None, kind: str | None, as_json: bool) -> None:
    """Write all trials of a study: settings, figures, state, and who made them."""
    check_outputs(output)
    is_json = as_json or (kind or (output.suffix[1:] if output is not None else "csv")) == "json"
    with Study.load(Place.parse(study)) as loaded:
        document = _document(loaded, loaded.trials())
    text = json.dumps(document, indent=2) + "\n" if is_json else _csv(document["trials"])
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        write_atomically(output, text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise OutputError(f"cannot write {output}: {error.strerror or error}") from error
    say(f"wrote {output}")


def _summary(loaded: Study) -> dict[str, Any]:
    counts = Counter(trial.state for trial in loaded.trials())
    return {
        "name": loaded.name,
        "where": loaded.place.shown if loaded.place is not None else "",
        "model": loaded.about.get("model", loaded.identity.model[:12]),
        "target": loaded.identity.target.split()[0] if loaded.identity.target else "",
        **{state: counts[state] for state in _STATES},
    }


def _facts(loaded: Study, trials: Sequence[Record]) -> list[tuple[str, str]]:
    identity = loaded.identity
    counts = Counter(trial.state for trial in trials)
    facts = {
        "study": loaded.name,
        "kept in": loaded.place.shown if loaded.place is not None else "",
        **loaded.about,
        "model hash": identity.model,
        "data hash": identity.data,
        "target": identity.target,
        "budget": ", ".join(f"{name}={value:g}" for name, value in identity.budget.items()),
        "metric": identity.metric,
        "seed": str(identity.seed),
        "first": identity.first,
        "settings": ", ".join(f"{name}={value}" for name, value in identity.settings.items()),
        "trials": ", ".join(f"{count} {state}" for state, count in counts.items()) or "none",
    }
    return [(name, text) for name, text in facts.items() if text]


def _document(loaded: Study, trials: Sequence[Record]) -> dict[str, Any]:
    return _summary(loaded) | {
        "identity": loaded.identity.to_json(),
        "about": loaded.about,
        "objective": loaded.objective,
        "trials": [_record(trial) for trial in trials],
    }


def _record(trial: Record) -> dict[str, Any]:
    found = asdict(trial)
    return {"number": trial.number, "pipeline": trial.pipeline, "settings": dict(trial.proposal.settings)} | {
        name: found[name] for name in ("state", "values", "model", "seconds", "reason", "worker")
    }


def _objective(loaded: Study) -> Objective:
    """How the search judges its trials; where the study does not say, by quality within what the budget limits in absolute figures."""
    limits = {name: limit for name, limit in loaded.identity.budget.items() if name in _WORDS}
    try:
        return Objective(**loaded.objective) if loaded.objective else Objective(0.0, limits or {"quality": float("inf")})
    except TypeError as error:
        raise StudyError(f"the study {loaded.name!r} was made by another version of graphopt") from error


def _nearest(objective: Objective, trials: Sequence[Record]) -> str:
    """What misses the budget least, where nothing keeps it."""
    done = [trial for trial in trials if trial.state == "complete" and "quality" in trial.values]
    if not done:
        return ""
    small = objective.best(done)
    if not small:
        least = min(done, key=objective.usage)
        return f"; {least.pipeline} comes nearest and takes {objective.usage(least):.2f} times what is allowed"
    dropped = f"drops the quality from {score(objective.quality)} to {score(small[0].values['quality'])}"
    return f"; {small[0].pipeline} is the best and {dropped}, where {score(objective.max_drop or 0.0)} less is allowed"


def _print_trials(trials: Sequence[Record]) -> None:
    known = _known(trials)
    rows = [(str(trial.number), trial.state, *_figures(trial, known), _remark(trial)) for trial in trials]
    print_table(["trial", "state", *_headers(trials), "pipeline"], rows, right=(0, *range(2, 2 + len(known))))


def _remark(trial: Record) -> str:
    return f"{trial.pipeline}: {trial.reason}" if trial.reason else trial.pipeline


def _known(trials: Sequence[Record]) -> list[str]:
    """The figures that any of the trials has, in the usual order."""
    return [name for name in _WORDS if any(name in trial.values for trial in trials)]


def _headers(trials: Sequence[Record]) -> list[str]:
    return [_WORDS[name][0] for name in _known(trials)]


def _figures(trial: Record, names: Sequence[str]) -> list[str]:
    return [_WORDS[name][1](trial.values[name]) if name in trial.values else "" for name in names]


def _csv(trials: Sequence[dict[str, Any]]) -> str:
    """A row per trial; each figure and each setting is a column of its own."""
    figures = list(dict.fromkeys(name for trial in trials for name in trial["values"]))
    settings = list(dict.fromkeys(name for trial in trials for name in trial["settings"]))
    plain = ("number", "state", "pipeline", "seconds", "reason", "worker", "model")
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*plain, *figures, *(f"setting {name}" for name in settings)])
    for trial in trials:
        values = [trial["values"].get(name, "") for name in figures]
        writer.writerow([*(trial[name] for name in plain), *values, *(trial["settings"].get(name, "") for name in settings)])
    return text.getvalue()
