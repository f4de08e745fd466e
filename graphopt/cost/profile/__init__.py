"""Measuring a machine through ONNX Runtime."""

from graphopt.cost.profile.asked import asked, optimized
from graphopt.cost.profile.campaign import SESSIONS, Campaign, Watch
from graphopt.cost.profile.host import Host, this_host
from graphopt.cost.profile.networks import FAMILIES, random_network
from graphopt.cost.profile.precision import PRECISIONS, converted, precision_of
from graphopt.cost.profile.profiles import profile_generic, profile_model
from graphopt.cost.profile.session import provider_name
from graphopt.cost.profile.store import Record, open_record
from graphopt.cost.profile.variants import pruned_variants

__all__ = [
    "FAMILIES",
    "PRECISIONS",
    "SESSIONS",
    "Campaign",
    "Host",
    "Record",
    "Watch",
    "asked",
    "converted",
    "open_record",
    "optimized",
    "precision_of",
    "profile_generic",
    "profile_model",
    "provider_name",
    "pruned_variants",
    "random_network",
    "this_host",
]
