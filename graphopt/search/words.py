"""What is said of a budget that cannot be met."""

from __future__ import annotations

from graphopt.channels import analyse
from graphopt.ir import Graph
from graphopt.report.groups import summarise
from graphopt.report.words import amount, data_size, milliseconds, score, times
from graphopt.search.bench import Timing
from graphopt.search.budget import Budget
from graphopt.search.candidate import Candidate


def too_large(budget: Budget, best: Candidate, timing: Timing) -> str:
    """Nothing is small enough; `best` comes nearest."""
    how = "predicted" if timing.predicted else "measured"
    took = f"{milliseconds(timing.latency.median_ms)} ({times(timing.speedup)} as fast{_sizes(budget, best)}, {best.text or 'unchanged'})"
    if budget.is_timed:
        return f"no model was found that takes {needs(budget)}: the fastest that was {how} takes {took}"
    return f"no model was found that takes {needs(budget)}: the smallest takes {took}"


def too_bad(budget: Budget, quality: float, best: Candidate) -> str:
    """What is small enough drops the quality too much."""
    return f"the best model that takes {needs(budget)} drops the quality {drop(budget, quality, best)}"


def lossy_start(budget: Budget, quality: float, base: Candidate) -> str:
    return f"the passes before the search alone drop the quality {drop(budget, quality, base)}"


def drop(budget: Budget, quality: float, model: Candidate) -> str:
    allowed = budget.max_drop or 0.0
    return f"from {score(quality)} to {score(model.quality)}, by {score(quality - model.quality)} where {score(allowed)} is allowed"


def needs(budget: Budget) -> str:
    """Such as "at most 8 ms and 2 M parameters"."""
    given = {
        "at most {}": budget.latency_ms and milliseconds(budget.latency_ms),
        "1/{} of the original's time": budget.speedup and f"{budget.speedup:g}",
        "at most {} MACs": budget.macs and amount(budget.macs),
        "at most {} parameters": budget.params and amount(budget.params),
        "at most {} on disk": budget.bytes and data_size(budget.bytes),
        "at most {} of activations": budget.peak_memory and data_size(budget.peak_memory),
    }
    return " and ".join(pattern.format(text) for pattern, text in given.items() if text)


def _sizes(budget: Budget, model: Candidate) -> str:
    figures = {
        "macs": budget.macs and f"{amount(model.values['macs'])} MACs",
        "params": budget.params and f"{amount(model.values['params'])} parameters",
        "bytes": budget.bytes and data_size(model.values["bytes"]),
        "peak_memory": budget.peak_memory and f"{data_size(model.values['peak_memory'])} of activations",
    }
    return "".join(f", {text}" for text in figures.values() if text)


def obstacles(graph: Graph) -> str:
    """What stands in the way of a smaller model."""
    summary = summarise(analyse(graph))
    reasons = sorted((*summary.frozen, *summary.inexact), key=lambda reason: -reason.held)
    words = [f"{reason.held:,} are held by {reason.groups[0].name}: {reason.why}" for reason in reasons[:2] if reason.held]
    frozen = f"; {', '.join(words)}" if summary.share < 0.99 else ""
    return f"{summary}{frozen}; `graphopt inspect --groups` says what can be pruned and what not"
