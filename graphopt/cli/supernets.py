"""What `graphopt inspect --supernet` shows and writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from graphopt.cli.console import print_table, say
from graphopt.cli.files import check_outputs
from graphopt.errors import OutputError, UnsupportedError
from graphopt.ir import Graph
from graphopt.ir.files import write_atomically
from graphopt.supernet import Draft, draft_supernet, to_document


def write_draft(graph: Graph, model: Path, path: Path) -> Draft:
    """Look for a supernet's blocks and write a draft of its side file, which may not be there yet: somebody may have filled it in.

    Raises UnsupportedError where there are none, OutputError.
    """
    if path.exists():
        raise OutputError(f"{path} is there already, and may have been filled in by hand; name another file, or remove it")
    check_outputs(path)
    draft = draft_supernet(graph, model.name)
    if draft is None:
        raise UnsupportedError(f"no inverted bottlenecks or bottlenecks were found in {model}, so there is nothing to draft")
    write_atomically(path, (json.dumps(to_document(draft.supernet), indent=1) + "\n").encode())
    return draft


def draft_record(draft: Draft, path: Path) -> dict[str, Any]:
    return {"path": str(path), "family": draft.supernet.family, "found": list(draft.seen), "unknown": list(draft.unknown)}


def print_draft(draft: Draft, path: Path) -> None:
    supernet = draft.supernet
    say()
    rows = []
    for number, stage in enumerate(supernet.stages):
        for block in stage.blocks:
            marks = [*(["shortcut"] if block.shortcut else []), *(["SE"] if "se_reduce" in block.convs else [])]
            widths = f"{block.into} → {block.mid} → {block.out}"
            rows.append((str(number), str(block.slot), widths, str(block.stride), ", ".join(marks), block.output))
    print_table(
        ["stage", "slot", "channels", "stride", "", "output"], rows, right=(0, 1, 3), title=f"{supernet.family}, as far as it shows"
    )
    for title, lines in (("found", draft.seen), ("cannot be seen, to be filled in", draft.unknown)):
        say(f"\n{title}:")
        for line in lines:
            say(f"  {line}")
    say(f"\nwrote {path}")
