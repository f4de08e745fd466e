from .asking import asked, optimized
from .campaign import SESSIONS, Campaign, Watch
from .host import Host, this_host
from .networks import FAMILIES, random_network
from .precision import PRECISIONS, converted, precision_of
from .profiles import profile_generic, profile_model
from .session import provider_name
from .store import Record, open_record
from .variants import pruned_variants

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
