"""Do the fusion rules still say what the runtime does? A later version may fuse otherwise, and nobody would see it in the times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from graphopt.cost.fusion import FusionRules, fuse
from graphopt.cost.kernel import Signature
from graphopt.cost.open_shapes import FixedSizes
from graphopt.cost.sizes import fixed_types
from graphopt.ir import Graph, inline_functions

_NAMED = 4  # operators that a note names
_FEW = 0.1  # of the kernels


class Agreement:
    """Counts, over all networks that are compared, the kernels that the rules find and those that the runtime shows."""

    def __init__(self, rules: FusionRules) -> None:
        self._rules = rules
        self.kernels = 0
        self.differing = 0
        self.operators: Counter[str] = Counter()  # of the kernels that only one side has

    def compare(self, graph: Graph, sizes: FixedSizes | None, shown: Mapping[Signature, int]) -> None:
        """Count the kernels of `graph`, of which the runtime shows those of `shown`."""
        inlined = inline_functions(graph)
        types = fixed_types(inlined, sizes.dimensions, sizes.shapes) if sizes is not None else fixed_types(inlined)
        found = Counter(kernel.signature for kernel in fuse(inlined, self._rules, types).kernels())
        theirs = Counter(shown)
        total = max(found.total(), theirs.total())
        self.kernels += total
        self.differing += total - (found & theirs).total()
        for sig, count in ((found - theirs) + (theirs - found)).items():
            self.operators[sig.operator] += count

    def note(self, runtime: str) -> str:
        """What a user should know; empty where all kernels agree. `runtime` is its name with the version."""
        if not self.differing:
            return ""
        named = ", ".join(operator for operator, _ in self.operators.most_common(_NAMED))
        few = self.differing <= _FEW * self.kernels
        return f"the fusion rules {self._rules.name} differ from {runtime} in {self.differing} of {self.kernels} kernels ({named}): " + (
            "predictions with these are less exact"
            if few
            else "predictions are made of other kernels than run here, so do not rely on them"
        )
