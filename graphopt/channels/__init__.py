"""Which channels live and die together, and cutting them."""

from .analysis import Analysis, analyse
from .criteria import CRITERIA, score
from .cut import cut, sliced
from .groups import ChannelGroup, Member
from .operator import CannotFollow, Operator, channel_rule, supported_operators

__all__ = [
    "CRITERIA",
    "Analysis",
    "CannotFollow",
    "ChannelGroup",
    "Member",
    "Operator",
    "analyse",
    "channel_rule",
    "cut",
    "score",
    "sliced",
    "supported_operators",
]
