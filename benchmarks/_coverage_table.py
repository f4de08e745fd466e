"""The tables and the verdict of coverage.py, from its figures."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

EXPORTERS = ("torchscript", "dynamo")
MOST_ERROR = 1e-4
LEAST_COVERAGE = {"exact": 0.55, "inexact": 0.90}
MOST_TIME = 0.2  # of Torch-Pruning's
SENSITIVE = 1e-3  # how much the outputs must depend on the inputs for an equality to mean something

Results = Mapping[str, Mapping[str, Any]]


def is_vision(architecture: str) -> bool:
    return not architecture.startswith("hf.") and not architecture.endswith("_tagger")


def entries(results: Results, tool: str) -> Iterator[tuple[str, str, Any]]:
    """(architecture, exporter, what the tool gave)."""
    for architecture, entry in results.items():
        for exporter in EXPORTERS:
            if tool in entry.get(exporter, {}):
                yield architecture, exporter, entry[exporter][tool]


def failed_checks(found: Mapping[str, Any]) -> list[str]:
    """What our result fails, in words; a model that gave none crashed."""
    if "as_is" not in found:
        return [f"CRASH ({found.get('why', '')})"]
    failed = []
    for title, part in (("", found["as_is"]), (" with inexact", found["with_inexact"])):
        failed += [f"checker{title}: {part['checker']}"] if part["checker"] else []
        failed += [] if part["runs"] else [f"run{title}: {part['why']}"]
        failed += [f"shapes{title}"] if part["runs"] and not part["shapes"] else []
        failed += [] if part["interface"] else [f"interface{title}"]
        failed += [f"{part['new_operators']} new operators{title}"] if part["new_operators"] else []
    if found["as_is"]["runs"] and worst_error(found) > MOST_ERROR:
        failed.append(f"masked equality: {worst_error(found):.1e}")
    if found["stirred"]["response"] < SENSITIVE:
        failed.append(f"outputs do not depend on inputs: {found['stirred']['response']:.1e}")
    return failed


def worst_error(found: Mapping[str, Any]) -> float:
    return max(float(found[part].get("error", float("inf"))) for part in ("as_is", "stirred"))


def rows(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table, the first two columns to the left."""
    lines = [head, ["---" if i < 2 else "---:" for i in range(len(head))], *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def ours(results: Results) -> str:
    """One row per model file. Errors: with the file's own weights, and with stirred ones."""
    head = ["model", "exporter", "nodes", "groups", "analysis s", "+ cut s", "exact %", "inexact %", "left %", "checker", "runs", "shapes"]
    head += ["error as is", "error stirred", "new ops", "verdict"]
    body = []
    for architecture, exporter, found in entries(results, "graphopt"):
        failed = failed_checks(found)
        row = [architecture, exporter]
        if "as_is" in found:
            part = found["as_is"]
            row += [str(found["nodes"]), str(found["groups"]), f"{found['analysis_s']:.2f}", f"{found['total_s']:.2f}"]
            row += [f"{100 * found[kind]:.1f}" for kind in ("exact", "inexact")]
            row += [f"{100 * part['left']:.1f}", yes(not part["checker"]), yes(part["runs"]), yes(part["shapes"] and part["interface"])]
            row += [f"{part['error']:.0e}" if "error" in part else "", f"{found['stirred']['error']:.0e}", str(part["new_operators"])]
        body.append([*row, *[""] * (len(head) - 1 - len(row)), "ok" if not failed else "FAILED"])
    return rows(head, body)


def peers(results: Results) -> str:
    """One row per architecture: parameters left, and the seconds of analysis and cut, in each tool."""
    head = ["model", "exporter", "graphopt left %", "s", "Torch-Pruning left %", "s", "time ratio"]
    head += [f"onnxsim {exporter} left %" for exporter in EXPORTERS] + ["error"]
    body = []
    for architecture, entry in results.items():
        if not any("onnxsim" in entry.get(exporter, {}) for exporter in EXPORTERS) and "torch-pruning" not in entry:
            continue
        exporter = next(name for name in EXPORTERS if name in entry)
        found = entry[exporter]["graphopt"]
        row = [architecture, exporter]
        row += [f"{100 * found['as_is']['left']:.0f}", f"{found['total_s']:.2f}"] if not failed_checks(found) else ["FAILED", ""]
        row += torch_cells(entry.get("torch-pruning"))
        ratio = time_ratio(entry)
        row.append("" if ratio is None else f"{ratio:.3f}")
        others = [entry.get(name, {}).get("onnxsim") for name in EXPORTERS]
        row += [onnxsim_cell(other) for other in others]
        row.append(", ".join(f"{other['error']:.0e}" for other in others if other and "error" in other))
        body.append(row)
    return rows(head, body) if body else ""


def torch_cells(found: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return ["", ""]
    seconds = f"{found['seconds']:.2f}" if "seconds" in found else ""
    if not found["works"]:
        return ["fails", seconds]
    remark = "" if found["shapes"] else " (other output shapes)"
    return [f"{100 * found['left']:.0f}" + (remark if cuts(found) else " (nothing cut)"), seconds]


def cuts(found: Mapping[str, Any]) -> bool:
    """Whether Torch-Pruning's forward pass runs, and with fewer parameters than before."""
    return bool(found.get("works")) and found["left"] < 0.999


def onnxsim_cell(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    left = f"{100 * found['left']:.0f}" if "left" in found else ""
    return left + (" (stale shapes)" if found.get("strict") else "") if found["works"] else f"invalid{left and f' ({left})'}"


def time_ratio(entry: Mapping[str, Any]) -> float | None:
    """Our seconds over Torch-Pruning's where both cut, on the exporter that comes first."""
    other = entry.get("torch-pruning", {})
    found = next(entry[exporter]["graphopt"] for exporter in EXPORTERS if exporter in entry)
    if failed_checks(found) or found["as_is"]["left"] > 0.999 or not cuts(other):
        return None
    return float(found["total_s"] / other["seconds"])


def remarks(results: Results) -> Iterator[str]:
    """What failed, in words."""
    for architecture, exporter, found in entries(results, "graphopt"):
        for text in failed_checks(found):
            yield f"graphopt, {architecture} {exporter}: {text}"
    for architecture, entry in results.items():
        other = entry.get("torch-pruning")
        if other is not None and not other["works"]:
            yield f"Torch-Pruning, {architecture}: {other.get('stage', '')} {other['why']}"
    for architecture, exporter, found in entries(results, "onnxsim"):
        if not found["works"]:
            yield f"onnxsim, {architecture} {exporter}: {found.get('why') or found.get('checker')}"
    torch = [entry["torch-pruning"] for entry in results.values() if "torch-pruning" in entry]
    if torch:
        runs = sum(other["works"] for other in torch)
        good = [other for other in torch if cuts(other) and other["shapes"]]
        yield (
            f"\nTorch-Pruning: the forward pass runs for {runs} of {len(torch)} architectures; {len(good)} of them are smaller and keep their "
            f"output shapes, {mean_left(good):.0%} of parameters left"
        )
    others = [found for _, _, found in entries(results, "onnxsim")]
    if others:
        works = [found for found in others if found["works"]]
        wrong = sum(not found.get("error", 1) <= MOST_ERROR for found in works)
        yield (
            f"onnxsim: {len(works)} of {len(others)} files valid and running ({wrong} of them not equal to their masked originals, "
            f"{sum(bool(found['strict']) for found in works)} with shapes that contradict), {mean_left(works):.0%} of parameters left"
        )
    good = [found["as_is"] for _, _, found in entries(results, "graphopt") if not failed_checks(found)]
    if good:
        yield f"graphopt: {len(good)} of {sum(1 for _ in entries(results, 'graphopt'))} files pass, {mean_left(good):.0%} of parameters left"


def mean_left(parts: Sequence[Mapping[str, Any]]) -> float:
    return statistics.mean(part["left"] for part in parts) if parts else float("nan")


def limits(results: Results) -> list[tuple[bool, str]]:
    """(passed, what was measured and what was to be reached)."""
    files = [(architecture, found) for architecture, _, found in entries(results, "graphopt")]
    crashes = sum("as_is" not in found for _, found in files)
    failed = sum("as_is" in found and bool(failed_checks(found)) for _, found in files)
    found_limits = [
        (crashes == 0, f"crashes: {crashes} of {len(files)} files ({len(results)} architectures)"),
        (failed == 0, f"files that fail a check: {failed} (none)"),
    ]
    for kind, words in (("exact", "without inexact groups"), ("inexact", "with inexact groups")):
        shares = [found[kind] for architecture, found in files if kind in found and is_vision(architecture)]
        if shares:
            text = f"parameters under prunable units, vision, {words}: mean {statistics.mean(shares):.1%}, least {min(shares):.1%}"
            found_limits.append((statistics.mean(shares) >= LEAST_COVERAGE[kind], f"{text} (mean at least {LEAST_COVERAGE[kind]:.0%})"))
    ratios = [ratio for entry in results.values() if (ratio := time_ratio(entry)) is not None]
    if ratios:
        text = f"analysis + cut over Torch-Pruning's time: median {statistics.median(ratios):.3f}, worst {max(ratios):.3f}, {len(ratios)} models"
        found_limits.append((statistics.median(ratios) <= MOST_TIME, f"{text} (median at most {MOST_TIME})"))
    return found_limits


def yes(flag: bool) -> str:
    return "yes" if flag else "NO"
