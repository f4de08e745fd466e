"""A prediction as a page that needs nothing else: a bar per kernel, and totals per family."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from graphopt.cost.prediction import KernelTime, Prediction
from graphopt.report.words import milliseconds

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --compute: #3b7dd8; --memory: #e0902f; --launch: #8a63c9; --none: #999; }
body { font: 14px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 78rem; padding: 0 1rem; }
h1 { font-size: 1.3rem; margin-bottom: .2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin-top: 2rem; }
.big { font-size: 2rem; font-weight: 600; }
.quiet { opacity: .7; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .2rem .6rem .2rem 0; border-bottom: 1px solid var(--line); vertical-align: middle; }
th.number, td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.name { overflow-wrap: anywhere; }
td.bar { width: 32%; }
.bar > div { height: .9rem; border-radius: 2px; min-width: 1px; background: var(--none); }
.compute { background: var(--compute) !important; } .memory { background: var(--memory) !important; }
.launch { background: var(--launch) !important; }
.key span { display: inline-block; width: .9rem; height: .9rem; border-radius: 2px; margin: 0 .35rem 0 1.1rem; vertical-align: -.1rem; }
""".strip()

_KEY = (
    "<p class='key quiet'>in the order in which they run; bound by<span class='compute'></span>compute"
    "<span class='memory'></span>memory<span class='launch'></span>launch</p>"
)
_FOOT = "The latency of the network also counts colder caches and the cost of a run."

_SOURCES = {"table": "table", "near": "near the table", "linear": "linear", "free": "assumed free", "unknown": "unknown"}


def prediction_page(prediction: Prediction, model: str) -> str:
    """The page of a prediction for the model file `model`."""
    total = prediction.kernels_ms
    longest = max((time.ms for time in prediction.kernels), default=0.0)
    families = prediction.families()
    widest = max((ms for _, ms in families.values()), default=0.0)
    remarks = [*prediction.assumptions, *prediction.warnings]
    for source, words in (("free", "assumed free"), ("unknown", "of unknown cost, left out")):
        listed = prediction.listed(source)  # type: ignore[arg-type]
        if listed:
            remarks.append(f"{words}: {', '.join(f'{operator} {count}' for operator, count in listed.items())}")
    title = f"{model} on {prediction.target}"
    sure = f"90 % between {milliseconds(prediction.low_ms)} and {milliseconds(prediction.high_ms)}"
    headers = ("kernel", "operators", "family", "ms", "share", "from", "")
    parts = [
        f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>{escape(title)}</title>",
        f"<meta name='viewport' content='width=device-width, initial-scale=1'><style>\n{_STYLE}\n</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        f"<p><span class='big'>{milliseconds(prediction.ms)}</span> {sure}, predicted by the {prediction.model} model</p>",
        "<ul class='quiet'>" + "".join(f"<li>{escape(remark)}</li>" for remark in remarks) + "</ul>" if remarks else "",
        f"<h2>Families</h2>{_table(('family', 'kernels', 'ms', 'share', ''), _families(families, total, widest))}",
        f"<h2>Kernels</h2>{_KEY}",
        _table(headers, (_row(time, total, longest) for time in prediction.kernels)),
        f"<p class='quiet'>{len(prediction.kernels)} kernels take {milliseconds(total)} by themselves. {_FOOT}</p></body></html>\n",
    ]
    return "\n".join(part for part in parts if part)


def _families(families: dict[str, tuple[int, float]], total: float, widest: float) -> Iterable[str]:
    for name, (count, ms) in families.items():
        yield f"<td>{escape(name)}</td>{_number(str(count))}{_number(f'{ms:.4f}')}{_number(_share(ms, total))}{_bar(ms, widest, '')}"


def _row(time: KernelTime, total: float, longest: float) -> str:
    nodes = escape(" + ".join(time.nodes), quote=True)
    return (
        f"<td class='name' title='{nodes}'>{escape(time.kernel.name)}</td><td>{escape(time.operators)}</td><td>{escape(time.family)}</td>"
        f"{_number(f'{time.ms:.4f}' if time.ms else '')}{_number(_share(time.ms, total) if time.ms else '')}"
        f"<td>{_SOURCES[time.source]}</td>{_bar(time.ms, longest, time.bound)}"
    )


def _table(headers: Iterable[str], rows: Iterable[str]) -> str:
    numbers = ("ms", "share", "kernels")
    head = "".join(f"<th class='number'>{name}</th>" if name in numbers else f"<th>{name}</th>" for name in headers)
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n" + "\n".join(f"<tr>{row}</tr>" for row in rows) + "\n</tbody></table>"


def _number(text: str) -> str:
    return f"<td class='number'>{text}</td>"


def _bar(ms: float, longest: float, kind: str) -> str:
    width = 100 * ms / longest if longest else 0.0
    bar = f"<div class='{kind}' style='width:{width:.1f}%'></div>" if ms else ""
    return f"<td class='bar'>{bar}</td>"


def _share(ms: float, total: float) -> str:
    return f"{100 * ms / total:.1f} %" if total else ""
