"""Searching among the subnets of a supernet for the one that meets a budget."""

from graphopt.search.supernet.accuracy import AccuracyPredictor, RankCorrelation
from graphopt.search.supernet.allowed import Allowed
from graphopt.search.supernet.job import JUDGES, STRATEGIES, FoundSubnet, search_supernet
from graphopt.search.supernet.qualities import Qualities, Subnet
from graphopt.search.supernet.strategies import Evolution, RandomSearch, Strategy, Tpe

__all__ = [
    "JUDGES",
    "STRATEGIES",
    "AccuracyPredictor",
    "Allowed",
    "Evolution",
    "FoundSubnet",
    "Qualities",
    "RandomSearch",
    "RankCorrelation",
    "Strategy",
    "Subnet",
    "Tpe",
    "search_supernet",
]
