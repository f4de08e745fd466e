"""Which channels live and die together, and cutting them."""

from .analysis import Analysis, analyse
from .coverage import covered, elements, prunable_parameters, share_under
from .criteria import CRITERIA, score
from .cut import cut, sliced, without_emptied
from .dot import coupling_dot
from .groups import ChannelGroup, Member
from .operator import CannotFollow, Operator, channel_rule, functions_with_rules, supported_operators
from .plan import aligned_count, best_units, global_ratios, is_ignored, names_group

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
