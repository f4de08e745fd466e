"""Which channels live and die together, and cutting them."""

from graphopt.channels.analysis import Analysis, analyse
from graphopt.channels.coverage import covered, elements, prunable_parameters, share_under
from graphopt.channels.criteria import CRITERIA, score
from graphopt.channels.cut import cut, sliced, without_emptied
from graphopt.channels.dot import coupling_dot
from graphopt.channels.groups import ChannelGroup, Member
from graphopt.channels.operator import CannotFollow, Operator, channel_rule, functions_with_rules, supported_operators
from graphopt.channels.plan import aligned_count, best_units, global_ratios, is_ignored, names_group

__all__ = [
    "CRITERIA",
    "Analysis",
    "CannotFollow",
    "ChannelGroup",
    "Member",
    "Operator",
    "aligned_count",
    "analyse",
    "best_units",
    "channel_rule",
    "coupling_dot",
    "covered",
    "cut",
    "elements",
    "functions_with_rules",
    "global_ratios",
    "is_ignored",
    "names_group",
    "prunable_parameters",
    "score",
    "share_under",
    "sliced",
    "supported_operators",
    "without_emptied",
]
