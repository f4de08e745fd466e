"""Trials are made as `graphopt run` would make them, each model is scored once, and goals are corrected by what the bench says."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

import graphopt
from graphopt.cost import count
from graphopt.errors import BudgetError, DataError, DefectError
from graphopt.ir import Graph
from graphopt.report import Run
from graphopt.search import Budget, Effort, Objective, Point, Space, Timing
from graphopt.search.aim import Aiming
from graphopt.search.candidate import Scale
from graphopt.search.evaluate import content_hash
from graphopt.search.finalists import Finals, with_goal
from graphopt.search.request import Request
from graphopt.search.setup import Setup, compressing_passes, prepare
from graphopt.search.study import Proposal, Record, Study, history
from graphopt.search.trials import make

from ..models import serialised
from ..networks import write_network
from .fakes import FakeBench, fake_cpu, latency

GOAL = {"latency": 0.5}


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    model = write_network(tmp_path / "m.onnx")
    monkeypatch.setattr("graphopt.search.setup.CpuBench", fake_cpu(graph=graphopt.load(model)))
    return prepare(Request(str(model), Budget(speedup=2)))


def test_pipelines_that_begin_alike_are_run_as_if_alone(setup: Setup) -> None:
    texts = ["simplify,fuse-bn,prune-channels{ratio=0.25}", "simplify,fuse-bn,prune-channels{ratio=0.25},prune-channels{to=0.3x}"]
    for text in [*texts, *texts]:
        run = setup.runner.run(text)
        alone = graphopt.run(setup.original, text, predictor=setup.predictor)
        assert run.pipeline == text
        assert serialised(run.graph.to_proto()) == serialised(alone.graph.to_proto())
        assert run.after == count(run.graph)
    first, second = (setup.runner.run(text) for text in texts)
    assert setup.runner.run(texts[0]) is first
    assert setup.runner.run(texts[1]) is second


def test_a_model_is_scored_once_however_it_came_to_be(setup: Setup) -> None:
    evaluate = setup.evaluator()
    bench = setup.bench
    assert isinstance(bench, FakeBench)
    before = bench.scored
    one, other = (evaluate(Proposal(text)) for text in ("fuse-bn,prune-channels{ratio=0.5}", "fuse-bn,simplify,prune-channels{ratio=0.5}"))
    assert one.model == other.model == content_hash(setup.runner.run("fuse-bn,prune-channels{ratio=0.5}").graph)
    assert one.values == other.values
    assert bench.scored == before + 1
    elsewhere = [Record(0, Proposal("x"), "complete", {"quality": 0.125}, one.model)]
    assert setup.evaluator(lambda: elsewhere)(Proposal("fuse-bn,prune-channels{ratio=0.5}")).values["quality"] == 0.125
    assert bench.scored == before + 1


def test_a_trial_that_fails_does_not_end_the_search(setup: Setup) -> None:
    proposals = [
        Proposal(text) for text in ("prune-channels{to=0.000001x}", "prune-channels{ratio=0.5}", "prune-channels{criterion=taylor}")
    ]
    with Study.open(None, setup.identity("0")) as study:
        records = make(setup, study, proposals)
        assert [record.state for record in records] == ["failed", "complete", "failed"]
        assert "cannot be met" in records[0].reason
        assert make(setup, study, proposals) == records  # nothing is made twice
        assert history(study.trials()) == records


def test_what_others_make_is_not_waited_for(setup: Setup) -> None:
    proposal = Proposal("prune-channels{ratio=0.5}")
    with Study.open(None, setup.identity("0")) as study:
        elsewhere = study.claim(Proposal("prune-channels{ratio=0.25}"))  # and it never ends
        assert elsewhere is not None
        assert [record.state for record in make(setup, study, [proposal])] == ["running", "complete"]
        elsewhere.abandon()


def test_passes_of_strangers_are_searched_too(setup: Setup, tmp_path: Path) -> None:
    assert compressing_passes(setup.registry)[0] == "prune-channels"
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from dataclasses import dataclass\nfrom typing import ClassVar\nfrom graphopt.passes.prune_channels import PruneChannels\n"
        "@dataclass(frozen=True)\nclass Mine(PruneChannels):\n    '''Mine.'''\n    name: ClassVar[str] = 'mine'\n"
        "    variants: ClassVar[tuple[str, ...]] = ('criterion=l1', 'criterion=random')\n"
    )
    setup.registry.load_plugin(str(plugin))
    found = compressing_passes(setup.registry)
    assert {"mine{criterion=l1}", "mine{criterion=random}"} <= set(found)
    assert not any(step.startswith(("simplify", "reconstruct", "resize-input")) for step in found)


class Biased(FakeBench):
    """Models take `factor` as much time, beside the original, as predicted."""

    def __init__(self, setup: Setup, factor: float) -> None:
        super().__init__(setup.original)
        self._setup, self._factor = setup, factor

    def time(self, graphs: Sequence[Graph], effort: Effort) -> list[Timing]:
        assert self._setup.predict is not None
        whole = self._setup.predict(self._setup.original).ms
        return [Timing(latency(whole), latency(self._setup.predict(graph).ms * self._factor)) for graph in graphs]


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.3])
def test_the_aim_is_corrected_by_what_is_measured(setup: Setup, factor: float) -> None:
    scale = Scale(Biased(setup, factor), setup.request.budget, setup.figures)
    aimed = Aiming(setup, scale, ["prune-channels"]).aimed(GOAL)
    assert aimed.smallest is None
    run = setup.runner.run(f"simplify,fuse-bn,prune-channels{{to={aimed.goal['latency']:.4g}x}}")
    (timing,) = scale.time([_candidate(setup, run.pipeline)], Effort(1, 0, 1))
    assert 0.3 <= 1 / timing.speedup <= 0.5  # widths come in steps
    if factor != 1:
        assert aimed.goal["latency"] == pytest.approx(0.5 / factor * 0.97)


def test_a_defect_is_not_taken_for_a_goal_out_of_reach(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(text: str) -> Run:
        raise DefectError("a promise is broken")

    scale = Scale(Biased(setup, 1.0), setup.request.budget, setup.figures)
    monkeypatch.setattr(setup.runner, "run", broken)
    with pytest.raises(DefectError, match="a promise is broken"):
        Aiming(setup, scale, ["prune-channels"]).aimed(GOAL)


def test_finalists_that_are_too_slow_are_made_again(setup: Setup) -> None:
    """The search believed in the prediction; the bench says that everything is slower."""
    scale = Scale(Biased(setup, 1.25), setup.request.budget, setup.figures)
    space, objective = with_goal(Space(("prune-channels",), (GOAL,), first="simplify,fuse-bn"), Objective(1.0), GOAL, setup.figures)
    with Study.open(None, setup.identity("0")) as study:
        records = make(setup, study, [space.proposal(Point(("prune-channels",)))])
        finals = Finals(setup, scale, Aiming(setup, scale, space.passes), partial(make, setup, study))
        found = finals.best_within(space, objective, GOAL, records)
        assert found is not None
        assert found.usage <= 1
        assert found.candidate.text != records[0].pipeline
        assert len(study.trials()) >= 2
        assert set(finals.timings) >= {records[0].pipeline, found.candidate.text}


def test_a_search_that_finds_nothing_says_so(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(graph: Graph) -> float:
        raise DataError("no quality today")

    bench = setup.bench
    assert isinstance(bench, FakeBench)
    monkeypatch.setattr("graphopt.search.job.prepare", lambda request: setup)
    monkeypatch.setattr("graphopt.search.job.compressing_passes", lambda registry: ("prune-channels",))
    scored = bench.quality
    monkeypatch.setattr(bench, "quality", lambda graph: scored(graph) if count(graph).macs > 0.9 * bench.macs else refuse(graph))
    with pytest.raises(BudgetError, match=r"no trial came to an end; the first: simplify,fuse-bn,prune-channels.*: no quality today"):
        graphopt.optimize(setup.request.model, speedup=2, trials=1)


def _candidate(setup: Setup, text: str):  # type: ignore[no-untyped-def]
    from graphopt.search.candidate import Candidate

    run = setup.runner.run(text)
    return Candidate(text, run, setup.evaluator().figures(run))
