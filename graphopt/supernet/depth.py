"""How many blocks of a stage a configuration keeps."""

from __future__ import annotations

from graphopt.supernet.config import Config
from graphopt.supernet.document import listed
from graphopt.supernet.family import Stage, Supernet


def kept_blocks(supernet: Supernet, stage: Stage, depth: float | None, config: Config, notes: list[str]) -> int:
    """The number of leading blocks that stay: `d`, or base_depth + d where depths are offsets; all of them where there is no `d`.

    A depth above the stage's length means its length. Raises SupernetError for one that leaves nothing.
    """
    if depth is None:
        return len(stage.blocks)
    key = f"d[{stage.depth_slot}]"
    least = 0 if supernet.depth_rule == "offset" else 1
    if depth != int(depth) or depth < least:
        raise config.error(f"{key} is {depth:g}, and a depth must be a whole number from {least} on")
    if depth not in supernet.depths:
        notes.append(f"d = {depth:g} is not among the trained depths {listed(supernet.depths)}")
    blocks = int(depth) + (stage.base_depth if supernet.depth_rule == "offset" else 0)
    return min(blocks, len(stage.blocks))
