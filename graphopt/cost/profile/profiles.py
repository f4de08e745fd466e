"""The two campaigns: for a model and its variants, and for networks in general."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from graphopt.cost.kernel import Signature
from graphopt.cost.open_shapes import FixedSizes
from graphopt.cost.profile.adaptive import Pool, choose
from graphopt.cost.profile.asking import Source
from graphopt.cost.profile.campaign import SESSIONS, Campaign, Model, temporary_folder
from graphopt.cost.profile.networks import FAMILIES, random_network
from graphopt.cost.profile.plan import wanted, worth_measuring
from graphopt.cost.target import Target
from graphopt.errors import RuntimeRefusedError
from graphopt.ir import Graph

_KERNEL_SHARE = 0.5  # of the time; the rest is for whole networks
_GENERIC_KERNEL_SHARE = 0.7
_SECONDS_PER_KERNEL = 0.03
_LEAST_RUNNING = 2.0  # seconds of a session in which networks run, beside loading them
_SECONDS_PER_NETWORK = 2.4  # over all sessions
_FEWEST_NETWORKS, _MOST_NETWORKS = 10, 75
POOL_PER_FAMILY = 12  # networks of which only kernels are taken
KERNEL_PASSES = 2  # over each kernel; more kernels tell more than more passes

Converted = Callable[[Graph], Graph]


def profile_model(
    campaign: Campaign,
    model: tuple[str, Source],
    variants: Iterable[tuple[str, Graph]],
    command: str,
    sizes: FixedSizes | None = None,
    rounds: int = SESSIONS,
) -> Target:
    """Measure the kernels of a model, of its variants and of the widths between, and all of these networks whole.

    At most so many of the rounds are made, and what is left when the campaign goes on.

    `variants` are (name, graph); the same names must stand for the same graphs when a campaign goes on. Raises RuntimeRefusedError where
    ONNX Runtime does not take the model; variants that it does not take are left out.
    """
    with temporary_folder() as folder:
        networks = [campaign.prepare(*model, Path(folder), sizes)]
        for name, graph in variants:
            with suppress(RuntimeRefusedError):
                networks.append(campaign.prepare(name, graph, Path(folder), sizes))
        shown = [network.kernels for network in networks if network.kernels is not None]
        kernels = wanted(shown, campaign.record.host.block) if shown else []
        _alternate(campaign, kernels, networks, rounds)
    return campaign.finish(command, f"kernels of {model[0]}, of {len(networks) - 1} variants and of widths between; float contents made up")


def _alternate(campaign: Campaign, kernels: Sequence[Signature], networks: Sequence[Model], rounds: int) -> None:
    """Passes and sessions in turn, so that what disturbs the machine for a while does not fall on all measurements of one thing.

    The first pass goes on until half of the sessions are over, and decides how many kernels there are; the second repeats it.
    """
    for_kernels = campaign.seconds * _KERNEL_SHARE if kernels else 0.0
    for_networks = campaign.seconds - for_kernels
    for session in campaign.rounds(networks, for_networks, rounds):
        to_come = campaign.sessions - session
        each = max(for_networks / campaign.sessions, campaign.loading + _LEAST_RUNNING)
        number = 1 + session * KERNEL_PASSES // campaign.sessions
        least = for_kernels / campaign.sessions / 2 if number == 1 else 0.0  # the second pass may go without
        share = max((campaign.left - to_come * each) / to_come, least)
        campaign.kernel_pass(kernels if number == 1 else _measured(campaign, kernels), number, share)
        campaign.network_session(networks, session, min(each, campaign.left / to_come))
    if not campaign.rounds_left:
        _more_sessions(campaign, networks, each)


def _more_sessions(campaign: Campaign, networks: Sequence[Model], seconds: float) -> None:
    """Time that is left goes to further sessions of `seconds`: a machine drifts within minutes, and their mean less than each."""
    for session in range(campaign.sessions, 2 * campaign.sessions):
        if campaign.left >= seconds:
            campaign.network_session(networks, session, seconds)


def _measured(campaign: Campaign, kernels: Sequence[Signature]) -> list[Signature]:
    return [sig for sig in kernels if str(sig) in campaign.record.kernels]


def profile_generic(
    campaign: Campaign, command: str, seed: int = 0, converted: Converted = lambda graph: graph, rounds: int = SESSIONS
) -> Target:
    """Measure kernels of random networks of many families, more of them where predictions are worst, and some of the networks whole.

    `converted` gives the networks another precision. Same seed, same networks. At most so many of the rounds are made, as for a model.
    """
    rng = np.random.default_rng(seed)
    seconds = campaign.seconds * (1 - _GENERIC_KERNEL_SHARE)
    count = int(np.clip(seconds / _SECONDS_PER_NETWORK, _FEWEST_NETWORKS, _MOST_NETWORKS))
    families = list(FAMILIES)
    with temporary_folder() as folder:
        whole = [
            _random(campaign, families[i % len(families)], seed * 1000 + i // len(families), Path(folder), converted) for i in range(count)
        ]
        networks = [model for model in whole if model is not None]
        pool: Counter[Signature] = Counter()
        for i in range(POOL_PER_FAMILY * len(families)):
            with temporary_folder() as inner:
                found = _random(campaign, families[i % len(families)], seed * 1000 + 500 + i // len(families), Path(inner), converted)
            pool.update(found.kernels if found is not None and found.kernels is not None else {})
        _rounds(campaign, networks, pool, rng, rounds)
    return campaign.finish(command, f"kernels of random networks of {len(families)} families, and {len(networks)} of these networks whole")


def _random(campaign: Campaign, family: str, seed: int, folder: Path, converted: Converted) -> Model | None:
    """A random network; None for one that ONNX Runtime does not take in this precision."""
    with suppress(RuntimeRefusedError):
        return campaign.prepare(f"{family}-{seed}", converted(Graph.from_proto(random_network(family, seed))), folder)
    return None


def _rounds(campaign: Campaign, networks: Sequence[Model], pool: Counter[Signature], rng: np.random.Generator, rounds: int) -> None:
    block = campaign.record.host.block
    for_kernels = campaign.seconds * _GENERIC_KERNEL_SHARE
    for_networks = campaign.seconds - for_kernels
    turns = campaign.rounds(networks, for_networks, rounds)
    each = for_kernels / (campaign.sessions * KERNEL_PASSES)
    for_session = for_networks / campaign.sessions
    # What the whole networks execute comes first: the correction of the sum is exact only where the sum is.
    whole = dict.fromkeys(sig for model in networks for sig in model.kernels or () if worth_measuring(sig, block))
    campaign.kernel_pass(list(whole), 1, each * 2)
    candidates = Pool({sig: count for sig, count in pool.items() if worth_measuring(sig, block)}, block)
    for turn in turns:
        measured = {kernel.signature: kernel.ms for kernel in campaign.record.measured_kernels()}
        number = max(int(each / _SECONDS_PER_KERNEL), 1)
        fresh = choose(candidates, measured, frozenset(campaign.record.skipped), number, rng)
        campaign.kernel_pass(list(measured), KERNEL_PASSES, each)
        campaign.kernel_pass(fresh, 1, each)
        campaign.network_session(networks, turn, for_session)
    if not campaign.rounds_left:
        known = [kernel.signature for kernel in campaign.record.measured_kernels()]
        campaign.kernel_pass(known, KERNEL_PASSES, campaign.left)
        _more_sessions(campaign, networks, for_session)
