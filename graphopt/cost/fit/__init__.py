"""Targets from published measurements: `python -m graphopt.cost.fit TARGET --data DIR`. None of this is needed to predict."""
