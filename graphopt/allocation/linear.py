"""Costs taken as sums over the sites, and the best plan under such sums: a multiple-choice knapsack."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import numpy as np
import scipy.optimize
import scipy.sparse

from graphopt.allocation.sites import Costs, Floats, Plan, Resource

_NODES = 50_000  # of the search tree; a limit of time would make results depend on the machine
_GAP = 1e-7  # relative; less is none
_SCALE = 1e3  # HiGHS takes differences of objectives below 1e-6 for none


@dataclass(frozen=True)
class Sum:
    """base + the entry of the chosen value in each site's table."""

    base: float
    tables: tuple[Floats, ...]

    @classmethod
    def around(cls, costs: Costs, resource: Resource, plan: Plan) -> Self:
        """The cost of one resource; exact at `plan`, and as exact as `Costs.along` where one site differs from it."""
        base = costs.of(resource, plan)
        return cls(base, tuple(costs.along(resource, site, plan) - base for site in range(len(plan))))

    def at(self, plan: Sequence[int]) -> float:
        return self.base + float(sum(table[place] for table, place in zip(self.tables, plan, strict=True)))

    def mean(self, other: Sum) -> Sum:
        tables = tuple((own + others) / 2 for own, others in zip(self.tables, other.tables, strict=True))
        return Sum((self.base + other.base) / 2, tables)


@dataclass(frozen=True)
class Bound:
    """A sum that is to be at most `limit`."""

    sum: Sum
    limit: float


def least(harms: Sequence[Floats], bounds: Sequence[Bound]) -> tuple[Plan, float] | None:
    """The plan of the least sum of harms within all bounds, and how far it may be above the least, relative; None where none is within.

    By branch and bound (HiGHS). The same problem has the same answer.
    """
    objective = np.concatenate(harms)
    allowed = np.isfinite(objective)
    objective = np.where(allowed, objective, 0.0)
    largest = float(np.abs(objective).max(initial=0.0))
    rows = np.stack([np.concatenate(bound.sum.tables) / bound.limit for bound in bounds])
    rooms = np.array([1 - bound.sum.base / bound.limit for bound in bounds])
    with _mute():
        result = scipy.optimize.milp(
            objective * (_SCALE / largest if largest else 1.0),
            integrality=np.ones(len(objective), np.int64),
            bounds=scipy.optimize.Bounds(0.0, allowed.astype(np.float64)),
            constraints=[
                scipy.optimize.LinearConstraint(_one_each(harms), 1.0, 1.0),
                scipy.optimize.LinearConstraint(rows, -np.inf, rooms),
            ],
            options={"mip_rel_gap": _GAP, "node_limit": _NODES},
        )
    if result.x is None:
        return None
    return _chosen(result.x, harms), float(result.mip_gap or 0.0)


def nearest(bounds: Sequence[Bound]) -> Plan:
    """The plan under which the largest of the sums, each as a share of its limit, is the least; harms do not count."""
    tables = bounds[0].sum.tables
    if len(bounds) == 1:
        return tuple(int(table.argmin()) for table in tables)
    count = sum(len(table) for table in tables)
    rows = np.stack([np.concatenate([*bound.sum.tables, [-bound.limit]]) / bound.limit for bound in bounds])
    with _mute():
        result = scipy.optimize.milp(
            np.eye(1, count + 1, count)[0],
            integrality=np.append(np.ones(count, np.int64), 0),
            bounds=scipy.optimize.Bounds(np.append(np.zeros(count), -np.inf), np.append(np.ones(count), np.inf)),
            constraints=[
                scipy.optimize.LinearConstraint(_one_each(tables, 1), 1.0, 1.0),
                scipy.optimize.LinearConstraint(rows, -np.inf, np.array([-bound.sum.base / bound.limit for bound in bounds])),
            ],
            options={"mip_rel_gap": _GAP, "node_limit": _NODES},
        )
    assert result.x is not None, "there is always a plan"
    return _chosen(result.x, tables)


@contextmanager
def _mute() -> Iterator[None]:
    """Keeps a line that HiGHS forgot to take out (`HighsMipSolverData::transformNewIntegerFeasibleSolution ...`) from standard output."""
    sys.stdout.flush()
    try:
        saved = os.dup(1)
    except OSError:  # there is none
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(nowhere)


def _one_each(tables: Sequence[Floats], more: int = 0) -> scipy.sparse.csr_array:
    """[sites, values of all sites + more]: 1 where a value is of a site."""
    owners = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
    shape = (len(tables), len(owners) + more)
    return scipy.sparse.csr_array((np.ones(len(owners)), (owners, np.arange(len(owners)))), shape=shape)


def _chosen(x: Floats, tables: Sequence[Floats]) -> Plan:
    ends = np.cumsum([len(table) for table in tables])
    return tuple(int(x[end - len(table) : end].argmax()) for table, end in zip(tables, ends.tolist(), strict=True))
