"""How the kernels of a fused graph depend on channel widths, found by looking at it under a number of choices."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from graphopt.cost.kernel import Kernel
from graphopt.cost.templates import Key, Numbers, Template, find_template, keyed
from graphopt.errors import UnsupportedError

Choice = tuple[int, ...]  # a level of each group

_SAMPLES = 40  # random choices that are looked at
_AROUND = 4  # choices around which the class of one group at a time is changed
_ENOUGH = 24  # choices in which a kernel is there, to tell how it depends on the widths
_MOST_COMBINATIONS = 4096  # of classes that decide on one kernel


@dataclass(frozen=True)
class Conditional:
    """A kernel, and when it is there: for the combinations `there` of the classes of the groups `deciders`, always where there are none."""

    template: Template
    deciders: tuple[int, ...]
    there: frozenset[tuple[int, ...]]


@dataclass(frozen=True)
class _Seen:
    choice: Choice
    classes: tuple[int, ...]
    kernels: dict[Key, Numbers]
    sizes: tuple[int, ...]


class Observer:
    """`look` gives the kernels of a choice and `sizes` the sizes that they may depend on.

    `classes[g]` is for each level of group g its class: which kernels there are depends on the classes alone.
    """

    def __init__(
        self, look: Callable[[Choice], Sequence[Kernel]], sizes: Callable[[Choice], Sequence[int]], classes: Sequence[Sequence[int]]
    ) -> None:
        self._look, self._sizes = look, sizes
        self._classes = [tuple(levels) for levels in classes]
        self._by_class = [{kind: [at for at, each in enumerate(levels) if each == kind] for kind in set(levels)} for levels in classes]
        self._mixed = [group for group, kinds in enumerate(self._by_class) if len(kinds) > 1]
        self._rng = np.random.default_rng(0)
        self._seen: list[_Seen] = []

    def kernels(self) -> list[Conditional]:
        """All kernels that there may be. Raises UnsupportedError where it is not clear when one is there, or how large it is."""
        self._observe(tuple(len(levels) - 1 for levels in self._classes))
        for _ in range(_SAMPLES if any(len(levels) > 1 for levels in self._classes) else 0):
            self._observe(self._random({}))
        deciders = self._found_deciders()
        found: dict[Key, Conditional] = {}
        while new := [key for key in self._keys() if key not in found]:
            for key in new:
                found[key] = self._conditional(key, deciders.get(key, set()))
        return list(found.values())

    def _keys(self) -> Iterable[Key]:
        return dict.fromkeys(key for seen in self._seen for key in seen.kernels)

    def _random(self, classes: dict[int, int]) -> Choice:
        """A random choice; some groups have given classes."""
        return tuple(
            int(self._rng.choice(self._by_class[group][classes[group]])) if group in classes else int(self._rng.integers(len(levels)))
            for group, levels in enumerate(self._classes)
        )

    def _observe(self, choice: Choice) -> _Seen:
        classes = tuple(levels[level] for levels, level in zip(self._classes, choice, strict=True))
        seen = _Seen(choice, classes, keyed(self._look(choice)), tuple(self._sizes(choice)))
        self._seen.append(seen)
        return seen

    def _found_deciders(self) -> dict[Key, set[int]]:
        """The groups whose class decides whether a kernel is there."""
        found: dict[Key, set[int]] = {}
        for _ in range(_AROUND if self._mixed else 0):
            base = self._observe(self._random({}))
            for group in self._mixed:
                for kind, levels in self._by_class[group].items():
                    if kind != base.classes[group]:
                        level = int(self._rng.choice(levels))
                        other = self._observe((*base.choice[:group], level, *base.choice[group + 1 :]))
                        for key in base.kernels.keys() ^ other.kernels.keys():
                            found.setdefault(key, set()).add(group)
        return found

    def _conditional(self, key: Key, deciders: set[int]) -> Conditional:
        while True:
            groups = tuple(sorted(deciders))
            there = self._truth(key, groups)
            if not isinstance(there, int):
                break
            deciders.add(there)
        where = frozenset(combination for combination, present in there.items() if present)
        samples = [seen for seen in self._seen if key in seen.kernels]
        wanted = itertools.cycle(sorted(where))
        for _ in range(_ENOUGH - len(samples) if len(self._seen) > 1 else 0):
            seen = self._observe(self._random(dict(zip(groups, next(wanted), strict=True))))
            if key in seen.kernels:
                samples.append(seen)
        numbers = np.array([seen.kernels[key] for seen in samples], np.int64).reshape(len(samples), -1)
        sizes = np.array([seen.sizes for seen in samples], np.int64).reshape(len(samples), -1).T
        template = find_template(key.skeleton, numbers, sizes)
        if template is None:
            raise UnsupportedError(f"a kernel {key.skeleton.operator} depends on the channel widths in a way that is not known")
        return Conditional(template, groups, where)

    def _truth(self, key: Key, groups: tuple[int, ...]) -> dict[tuple[int, ...], bool] | int:
        """By the combination of the classes of `groups` whether the kernel is there; or another group that decides on it, too."""
        combinations = list(itertools.islice(itertools.product(*(self._by_class[group] for group in groups)), _MOST_COMBINATIONS + 1))
        if len(combinations) > _MOST_COMBINATIONS:
            raise UnsupportedError(
                f"whether a kernel {key.skeleton.operator} is there depends on the widths of {len(groups)} channel groups"
            )
        first: dict[tuple[int, ...], _Seen] = {}
        missing = iter(combinations)
        for place in itertools.count():
            while place == len(self._seen):
                combination = next(missing, None)
                if combination is None:
                    return {combination: key in seen.kernels for combination, seen in first.items()}
                if combination not in first:
                    self._observe(self._random(dict(zip(groups, combination, strict=True))))
            seen = self._seen[place]
            other = first.setdefault(tuple(seen.classes[group] for group in groups), seen)
            if (key in seen.kernels) != (key in other.kernels):
                return self._difference(key, seen, other)
        raise AssertionError("there is no end to what is counted")

    def _difference(self, key: Key, one: _Seen, other: _Seen) -> int:
        """A group in whose class two choices differ, and which decides alone, between two choices in the middle, whether a kernel is there."""
        while True:
            differ = [group for group in self._mixed if one.classes[group] != other.classes[group]]
            if not differ:
                raise UnsupportedError(f"it is not clear for which channel widths there is a kernel {key.skeleton.operator}")
            if len(differ) == 1:
                return differ[0]
            half = set(differ[: len(differ) // 2])
            middle = self._observe(tuple(other.choice[g] if g in half else level for g, level in enumerate(one.choice)))
            if (key in middle.kernels) == (key in one.kernels):
                one = middle
            else:
                other = middle
