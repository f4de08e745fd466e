"""What a rule file says, checked and compiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from graphopt.cost.fusion.expression import Expression
from graphopt.cost.fusion.pattern import Made, Statement


@dataclass(frozen=True, slots=True)
class Rule:
    """Where `pattern` fits and every condition of `when` holds, `result` takes its place; the empty result: the root's input 0 does."""

    name: str
    pattern: tuple[Statement, ...]
    result: tuple[Made, ...]
    when: tuple[Expression, ...]
    shared: frozenset[str]  # names of inner values that something else may read too; their operations stay
    by_kind: Mapping[str, Statement] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Step:
    """One pass over the graph: the rules by the kind of their root, or an algorithm by its name."""

    name: str
    rules: Mapping[str, tuple[Rule, ...]]
    algorithm: str = ""
    repeat: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """One way in which an operator works on the blocked layout."""

    when: Expression
    plain_input: bool = False  # reads input 0 as it is, not blocked


@dataclass(frozen=True, slots=True)
class Blocked:
    """How an operator takes part in the blocked layout.

    `enters`: it may convert its input first; others join only where all their data inputs are blocked already. `role` is how it is treated:
    a convolution, a pool, or one of the element-wise kinds.
    """

    kinds: frozenset[str]
    role: str
    name: str
    cases: tuple[Case, ...]
    enters: bool = False
    enters_inputs: bool = False  # as `enters`, but only inputs of the graph
    operands: int = 0  # how many inputs the blocked kernel has; 0: all


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout with `FusionRules.block` channels side by side, and the operators that convert to it and back."""

    enter: str
    leave: str
    convolution: str  # the blocked convolution
    outside_sum: str  # a convolution outside the layout that took a sum
    blocked: Mapping[str, Blocked]
    activations: frozenset[str]  # what a blocked convolution can apply to its output
    pairs: tuple[Rule, ...]  # of an operation `first` and its only reader `second` that are one activation, the rule's name, for it
    leave_with: Mapping[str, tuple[int, ...]]  # Transpose: the order of axes that leaving can produce at once
    enter_with: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class FusionRules:
    """The rules of a runtime. `block` is the number of channels per vector block, 1 where there is no blocked layout."""

    name: str
    runtime: str
    version: str
    provider: str
    block: int
    note: str
    never_fold: frozenset[str]
    steps: tuple[Step, ...]
    layout: Layout | None
    late: tuple[Rule, ...]

    def with_block(self, block: int) -> FusionRules:
        """The rules for a machine with another number of channels per block; with 1 there is no blocked layout."""
        return self if block == self.block else replace(self, block=block, layout=self.layout if block > 1 else None)
