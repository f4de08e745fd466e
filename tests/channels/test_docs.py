"""The documentation of the rules is made from the rules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_table_of_operators_is_up_to_date() -> None:
    # A fresh process: other tests register rules of their own.
    made = subprocess.run([sys.executable, "-m", "graphopt.channels.table"], capture_output=True, text=True, check=True).stdout
    assert (DOCS / "operators.md").read_text(encoding="utf-8") == made, "python -m graphopt.channels.table > docs/operators.md"
