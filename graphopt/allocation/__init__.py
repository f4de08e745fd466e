"""Sharing out a goal among the places of a graph where a pass can act: sites, costs, harms, solvers."""

from graphopt.allocation.compressing import CompressingPass
from graphopt.allocation.goals import Goal, limits_of, read_goal, read_goals
from graphopt.allocation.graph_costs import GraphCosts, figure
from graphopt.allocation.harm import HARMS
from graphopt.allocation.sites import RESOURCES, Allocation, Costs, Plan, Problem, Site
from graphopt.allocation.solve import SOLVERS, solve
from graphopt.allocation.width_costs import WidthCosts

__all__ = [
    "HARMS",
    "RESOURCES",
    "SOLVERS",
    "Allocation",
    "CompressingPass",
    "Costs",
    "Goal",
    "GraphCosts",
    "Plan",
    "Problem",
    "Site",
    "WidthCosts",
    "figure",
    "limits_of",
    "read_goal",
    "read_goals",
    "solve",
]
