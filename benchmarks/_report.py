"""Tables of the comparison."""

from __future__ import annotations

import statistics
from typing import Any

OURS, FAST = "ours", "ours --no-verify"
HEAD = ("tool", "nodes", "init bytes", "max error", "cpu s", "wall s", "time", "peak MB", "")


def correct(row: Any) -> bool:
    """Whether the tool wrote a model that computes the same."""
    return row.size is not None and not row.problem and row.verdict.correct


def best(rows: list[Any]) -> Any | None:
    """The other tool with the fewest nodes, then bytes, among the correct ones."""
    peers = [row for row in rows if not row.tool.startswith(OURS) and correct(row)]
    return min(peers, key=lambda row: (row.size.nodes, row.size.bytes), default=None)


def worse(rows: list[Any]) -> str:
    """How ours is behind the best correct peer; empty when it is not."""
    ours, peer = next((r for r in rows if r.tool.startswith(OURS)), None), best(rows)
    if ours is None or peer is None:
        return ""
    if not correct(ours):
        return f"ours is wrong: {ours.problem or ours.verdict.relative}"
    if ours.size.nodes > peer.size.nodes:
        return f"{ours.size.nodes} nodes, {peer.tool} {peer.size.nodes} ({_operators(ours, peer)})"
    reaching = [
        r.size.bytes
        for r in rows
        if not r.tool.startswith(OURS) and correct(r) and r.size.nodes <= peer.size.nodes
    ]
    if ours.size.bytes > min(reaching):
        return (
            f"{ours.size.bytes:,} bytes, the smallest of {ours.size.nodes} nodes {min(reaching):,}"
        )
    return ""


def _operators(ours: Any, peer: Any) -> str:
    a, b = ours.size.operators, peer.size.operators
    changes = {op: a.get(op, 0) - b.get(op, 0) for op in sorted({*a, *b})}
    return " ".join(f"{op}{n:+d}" for op, n in changes.items() if n)


def table(name: str, original: Any, rows: list[Any]) -> str:
    """Text of one model."""
    lines = [f"\n{name}: {original.nodes} nodes, {original.bytes:,} bytes"]
    base = _median(rows[0].cpu)
    cells = [HEAD] + [_cells(row, base) for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEAD))]
    for line in cells:
        padded = [c.ljust(w) if i in (0, 8) else c.rjust(w) for i, (c, w) in _zip(line, widths)]
        lines.append("  " + "  ".join(padded).rstrip())
    behind = worse(rows)
    return "\n".join([*lines, *([f"  BEHIND: {behind}"] if behind else [])])


def _zip(line: tuple[str, ...], widths: list[int]) -> Any:
    return enumerate(zip(line, widths, strict=True))


def _cells(row: Any, base: float | None) -> tuple[str, ...]:
    cpu, wall = _median(row.cpu), _median(row.wall)
    return (
        row.tool,
        str(row.size.nodes) if row.size else "-",
        f"{row.size.bytes:,}" if row.size else "-",
        "-" if row.verdict.relative is None else f"{row.verdict.relative:.1e}",
        _number(cpu),
        _number(wall),
        _number(cpu / base if cpu and base else None) + "x",
        f"{row.peak_bytes / 1e6:.0f}",
        row.problem or ("" if correct(row) else "WRONG"),
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None


def summary(originals: dict[str, Any], results: dict[str, list[Any]]) -> str:
    """Text of all models."""
    lines = ["\nsummary"]
    for tool, stats in _stats(originals, results).items():
        lines.append(f"  {tool:18}" + ", ".join(f"{k} {v}" for k, v in stats.items()))
    for fast, peer in ((OURS, "onnxsim"), (OURS, "onnxslim"), (FAST, "onnxslim")):
        for clock in ("wall", "cpu"):
            ratios = _ratios(originals, results, (fast, peer), clock)
            if ratios:
                worst = max(ratios, key=lambda name: ratios[name])
                lines.append(
                    f"  {clock} of {fast} / {peer}, {len(ratios)} models of more than 50 nodes: "
                    f"median {statistics.median(ratios.values()):.2f}, highest "
                    f"{ratios[worst]:.2f} ({worst})"
                )
    behind = {name: worse(rows) for name, rows in results.items()}
    lines.append(f"  behind the best correct peer: {sum(map(bool, behind.values()))}")
    lines += [f"    {name}: {why}" for name, why in behind.items() if why]
    return "\n".join(lines)


def _ratios(
    originals: dict[str, Any], results: dict[str, list[Any]], pair: tuple[str, str], clock: str
) -> dict[str, float]:
    found = {}
    for name, rows in results.items():
        times = {row.tool: _median(getattr(row, clock)) for row in rows}
        a, b = (times.get(tool) for tool in pair)
        if originals[name].nodes > 50 and a and b:
            found[name] = a / b
    return found


def _stats(originals: dict[str, Any], results: dict[str, list[Any]]) -> dict[str, dict[str, str]]:
    stats: dict[str, dict[str, str]] = {}
    for tool in dict.fromkeys(row.tool for rows in results.values() for row in rows):
        own = {name: row for name, rows in results.items() for row in rows if row.tool == tool}
        good = {name: row for name, row in own.items() if correct(row)}
        fewest = sum(_fewest(results[name], row) for name, row in good.items())
        nodes = [row.size.nodes / max(originals[name].nodes, 1) for name, row in good.items()]
        cpu = [c for row in own.values() if (c := _median(row.cpu)) is not None]
        wall = [c for row in own.values() if (c := _median(row.wall)) is not None]
        peak = [row.peak_bytes / 1e6 for row in own.values() if row.peak_bytes]
        stats[tool] = {
            "correct": f"{len(good)}/{len(own)}",
            "fewest nodes": str(fewest),
            "nodes kept": f"{_median(nodes) or 0:.1%}",
            "cpu s": _number(_median(cpu)),
            "wall s": _number(_median(wall)),
            "peak MB": f"{_median(peak) or 0:.0f}",
        }
    return stats


def _fewest(rows: list[Any], row: Any) -> bool:
    return row.size.nodes == min(r.size.nodes for r in rows if correct(r))


def markdown(originals: dict[str, Any], results: dict[str, list[Any]]) -> str:
    """The README's table: one line per tool, medians over the models."""
    stats = _stats(originals, results)
    keys = list(next(iter(stats.values())))
    lines = [f"| tool | {' | '.join(keys)} |", f"|---|{'---:|' * len(keys)}"]
    lines += [f"| {tool} | {' | '.join(s.values())} |" for tool, s in stats.items()]
    tools = [t for t in stats if t != FAST]
    lines += [
        "",
        f"| model | original | {' | '.join(tools)} |",
        f"|---|{'---:|' * (len(tools) + 1)}",
    ]
    for name, rows in results.items():
        by_tool = {row.tool: row for row in rows}
        low = min((r.size.nodes for r in rows if correct(r)), default=None)
        cells = [_count(by_tool[t], low) for t in tools]
        lines.append(f"| {name} | {originals[name].nodes} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _count(row: Any, low: int | None) -> str:
    if row.size is None:
        return "fails"
    if not correct(row):
        return f"{row.size.nodes} (wrong)"
    return f"**{row.size.nodes}**" if row.size.nodes == low else str(row.size.nodes)


def differences(known: dict[str, Any], results: dict[str, list[Any]]) -> str:
    """Where a peer's nodes or bytes are not those of ``peers.json``."""
    lines = []
    for name, rows in results.items():
        for row in rows:
            said = known.get(name, {}).get(row.tool)
            if said is None:
                continue
            now = (row.size.nodes, row.size.bytes) if row.size else (None, None)
            if now != (then := (said.get("nodes"), said.get("bytes"))):
                lines.append(f"  {name} {row.tool}: {then} then, {now} now")
    return "\n".join([f"\nother than the known counts: {len(lines)}", *lines])


def latency_line(name: str, found: dict[str, float]) -> str:
    """Text of one model of ``--latency``."""
    return (
        f"{name:38} {found['milliseconds']:9.3f} ms  low {found['ratio_low']:.3f}  "
        f"min {found['ratio_min']:.3f}  median {found['ratio_median']:.3f}  "
        f"(noise {found['noise_low']:.3f}, {found['noise_median']:.3f}; {found['tries']:.0f} tries)"
    )
