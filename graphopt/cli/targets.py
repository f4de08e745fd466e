"""`graphopt targets`: the devices that latency can be predicted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import click

from graphopt.cli.console import note, print_json, print_table, say
from graphopt.cli.options import debug_option, json_option, options
from graphopt.cost.fitting import describer
from graphopt.cost.installed import find_target, installed_targets
from graphopt.cost.linear import Law
from graphopt.cost.target import Target

_RATES = {"macs": "GMAC/s", "in_bytes": "read GB/s", "out_bytes": "written GB/s", "weight_bytes": "weights GB/s"}


@click.group("targets", short_help="List the targets that are installed.", invoke_without_command=True)
@options(json_option, debug_option)
@click.pass_context
def targets(ctx: click.Context, as_json: bool) -> None:
    """List the installed targets: device, runtime, precision, and how far off predictions of networks are that the fit did not see."""
    if ctx.invoked_subcommand is not None:
        return
    found = [Target.read(folder) for folder in installed_targets().values()]
    if as_json:
        print_json({"targets": [_record(target) for target in found]})
        return
    if not found:
        note("no target is installed")
        return
    rows = [
        (
            ", ".join((target.name, *target.aliases)),
            target.device,
            f"{target.runtime} {target.runtime_version}".strip(),
            target.precision,
            str(target.threads or ""),
            _percent(target.error.get("mape")),
            _percent(target.error.get("within10")),
            str(target.error.get("networks", "")),
        )
        for target in found
    ]
    headers = ["target", "device", "runtime", "precision", "threads", "held-out error", "within 10 %", "networks"]
    print_table(headers, rows, right=(4, 5, 6, 7))


@targets.command("show", short_help="Show one target.")
@options(click.argument("name"), json_option, debug_option)
def show(name: str, as_json: bool) -> None:
    """Show where the target NAME, or the folder of one, comes from, how far off it is, and what it charges for each family of kernels."""
    target = find_target(name)
    describe = describer(target)
    measured = Counter(describe(kernel.signature).family for kernel in target.kernels)
    if as_json:
        coefficients = None if target.coefficients is None else target.coefficients.to_json()
        print_json(
            _record(target)
            | {
                "provenance": target.provenance,
                "measured": {
                    "kernels": len(target.kernels),
                    "families": measured,
                    "networks": [network.name for network in target.networks],
                },
                "coefficients": coefficients,
            }
        )
        return
    print_table([], _facts(target))
    for title, section, words in (("provenance", target.provenance, _words), ("error of held-out networks", target.error, _share)):
        if section:
            say()
            print_table([], [(key, words(value)) for key, value in section.items()], title=title)
    if target.coefficients is None:
        note(f"{target.name} was not fitted yet")
        return
    say()
    headers = ["family", "kernels", "launch us", *_RATES.values(), "besides, ns each"]
    laws = target.coefficients.linear.families
    rows = [(family, str(measured[family] or ""), *_prices(law)) for family, law in sorted(laws.items())]
    print_table(headers, rows, right=range(1, 3 + len(_RATES)), title="what kernels cost")
    say()
    print_table([], _network_facts(target), title="what a network adds")


def _record(target: Target) -> dict[str, Any]:
    names = ("name", "description", "device", "runtime", "runtime_version", "provider", "precision", "threads", "rules", "block", "align")
    return {name: getattr(target, name) for name in names} | {"aliases": list(target.aliases), "error": target.error}


def _facts(target: Target) -> list[tuple[str, str]]:
    facts = [
        ("target", ", ".join((target.name, *target.aliases))),
        ("what", target.description),
        ("device", target.device),
        ("runtime", " ".join(word for word in (target.runtime, target.runtime_version, target.provider) if word)),
        ("precision", target.precision + (f", {target.threads} threads" if target.threads else "")),
        ("rules", target.rules),
        ("widths", f"multiples of {target.align}; blocks of {target.block} channels"),
        ("table", f"{len(target.kernels):,} kernels" if target.kernels else "none: only whole networks were measured"),
        ("networks", f"{len(target.networks):,}"),
    ]
    return [(name, value) for name, value in facts if value]


def _prices(law: Law) -> list[str]:
    """A family's prices as people read them: microseconds per launch, rates for work and traffic, nanoseconds for the rest."""
    # Milliseconds per operation: 1e-6 / price is in billions per second.
    rates = [f"{1e-6 / law[name]:,.3g}" if law.get(name) else "" for name in _RATES]
    rest = [f"{name} {price * 1e6:.3g}" for name, price in law.items() if price and name not in _RATES and name != "launch"]
    return [f"{law['launch'] * 1e3:.3g}" if law.get("launch") else "", *rates, ", ".join(rest)]


def _network_facts(target: Target) -> list[tuple[str, str]]:
    assert target.coefficients is not None
    found = target.coefficients.corrections["fused"]
    interval = target.coefficients.intervals["fused"]
    low, high = interval.around(10.0, 0.0)
    return [
        ("sum of kernels", f"x {found.scale:.3f}" + (f", from 2 ms on x {found.scale + found.lasting:.3f}" if found.lasting else "")),
        ("each launch", f"{found.per_kernel_ms * 1e3:+.2f} us"),
        (f"weights up to {found.cache_mb:g} MB", f"{found.within_ms_per_mb * 1e3:+.1f} us per MB"),
        ("weights beyond", f"{found.beyond_ms_per_mb * 1e3:+.1f} us per MB"),
        *([("all weights, if too many", f"{found.cycled_ms_per_mb * 1e3:+.1f} us per MB")] if found.cycled_ms_per_mb else []),
        ("each run", f"{found.run_ms * 1e3:+.0f} us"),
        ("90 % interval at 10 ms", f"{low:.2f} to {high:.2f} ms, from {interval.networks:g} networks"),
    ]


def _words(value: Any) -> str:
    return ", ".join(f"{name} {item}" for name, item in value.items()) if isinstance(value, Mapping) else str(value)


def _share(value: Any) -> str:
    """Figures of error are shares, all but counts and words."""
    return _percent(value) if isinstance(value, float) else _words(value)


def _percent(value: Any) -> str:
    return f"{value:.1%}".replace("%", " %") if isinstance(value, int | float) else ""
