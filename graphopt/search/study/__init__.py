"""Studies: trials that are kept, shared among workers, and gone on with after a kill (docs/studies.md)."""

from graphopt.search.study.identity import Identity, array_hash
from graphopt.search.study.loop import Ended, Evaluate, Evaluation, run_study
from graphopt.search.study.pareto import pareto
from graphopt.search.study.place import Place, named_studies, study_folder
from graphopt.search.study.records import Proposal, Record, Setting, State, Strategy, history
from graphopt.search.study.study import Claim, Study
from graphopt.search.study.workers import Lost, run_workers

__all__ = [
    "Claim",
    "Ended",
    "Evaluate",
    "Evaluation",
    "Identity",
    "Lost",
    "Place",
    "Proposal",
    "Record",
    "Setting",
    "State",
    "Strategy",
    "Study",
    "array_hash",
    "history",
    "named_studies",
    "pareto",
    "run_study",
    "run_workers",
    "study_folder",
]
