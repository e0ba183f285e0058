"""Sections about layers: costs, times, channels, accuracy, gates, and what differs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from onnxslim.report.diff.telling import facts, groups
from onnxslim.report.html.cells import (
    Card,
    Cell,
    Curve,
    Line,
    Section,
    bar,
    bytes_text,
    cell,
    count,
    table,
)

_LINES = 200
"""Lines of one group of changes on the page."""

Document = Mapping[str, Any]


def _budget(document: Document) -> Iterator[Section]:
    groups, budget = document.get("groups"), document.get("budget") or {}
    if groups is None:
        return
    section = Section("channels", "Channels kept")
    for key, label in (("macs", "MACs"), ("parameters", "Parameters"), ("channels", "Channels")):
        entry = budget.get(key)
        if isinstance(entry, Mapping) and entry.get("before"):
            after = entry.get("after") or 0
            kept = f"{100 * after / entry['before']:.1f} % kept"
            section.cards.append(Card(label, count(after), f"of {count(entry['before'])}, {kept}"))
    if document.get("recovery"):
        section.cards.append(Card("Recovery", str(document["recovery"])))
    top = max((g["channels_before"] for g in groups), default=1)
    rows = [
        (
            str(g["id"]), g.get("kind", ""), _names(g["layers"]),
            Cell(f"{g['channels_before']} \u2192 {g['channels_after']}", g["channels_after"],
                 g["channels_before"] / top, "pair", g["channels_after"] / top),
            bar(100 * g["channels_after"] / max(g["channels_before"], 1), 100,
                f"{100 * g['channels_after'] / max(g['channels_before'], 1):.0f} %"),
        )
        for g in groups
    ]  # fmt: skip
    if rows:
        columns = ("group", "of", "layers", "channels before \u2192 after", "kept")
        section.tables.append(table(columns, rows))
    frozen = document.get("frozen") or ()
    if frozen:
        whole = [(f["layer"], f["reason"]) for f in frozen]
        section.tables.append(table(("stays whole", "because"), whole))
    yield section


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _sensitivity(document: Document) -> Iterator[Section]:
    found = document.get("sensitivity")
    if not found:
        return
    ratios = sorted({p["ratio"] for g in found for p in g["curve"]})
    values = [{p["ratio"]: p["sqnr_db"] for p in g["curve"]} for g in found]
    top = max((v for row in values for v in row.values()), default=0.0)
    rows = [
        (str(g["id"]), _names(g["layers"]), g["units"],
         *(bar(row.get(r), top, tone=_loud(row.get(r))) for r in ratios))
        for g, row in zip(found, values, strict=True)
    ]  # fmt: skip
    labels = [f"{100 * r:.0f} % out" for r in ratios]
    names = [_names(g["layers"]) for g in found]
    series = [(label, [row.get(r) for row in values])
              for r, label in zip(ratios, labels, strict=True)]  # fmt: skip
    section = Section("sensitivity", "Sensitivity: output SQNR in dB after pruning one group alone")
    section.curves.append(Curve(f"SQNR by group ({', '.join(labels)})", "dB", names, series))
    columns = ("group", "layers", "units", *labels)
    note = f"Judged on {document.get('samples')} samples; the lower, the more a group matters."
    section.tables.append(table(columns, rows, note))
    yield section


def _quantized(document: Document) -> Iterator[Section]:
    found = document.get("layers")
    if not found or "quantized" not in found[0]:
        return
    section = Section("quantized", "Layers, quantized or not")
    calibration = document.get("calibration") or {}
    done = sum(bool(x["quantized"]) for x in found)
    section.cards.append(Card("Quantized", f"{done} of {len(found)}", "layers"))
    if calibration.get("method"):
        detail = f"{calibration.get('samples')} samples"
        section.cards.append(Card("Calibrator", str(calibration["method"]), detail))
    numbers = [x.get("sqnr_db") for x in found]
    top = max([n for n in numbers if isinstance(n, (int, float))], default=0.0)
    rows = [
        (
            x["name"], x.get("op"),
            Cell(_runs(x), tone="good" if x["quantized"] else "mute"),
            bar(x.get("sqnr_db"), top, tone=_loud(x.get("sqnr_db"))), x.get("reason") or "",
        )
        for x in found
    ]  # fmt: skip
    section.tables.append(table(("layer", "operator", "runs as", "SQNR dB", "reason"), rows))
    if top:
        names = [str(x["name"]) for x in found]
        section.curves.append(Curve("SQNR, in the order of the graph", "dB", names,
                                    [("SQNR", numbers)]))  # fmt: skip
    yield section


def _runs(layer: Mapping[str, Any]) -> str:
    return str(layer.get("runs") or ("int8" if layer["quantized"] else "float"))


def _loud(sqnr: float | None) -> str:
    """Below 15 dB a layer is damaged, below 25 dB it is worth a look."""
    if sqnr is None:
        return "mute"
    return "bad" if sqnr < 15 else "warn" if sqnr < 25 else "good"


def _gates(document: Document) -> Iterator[Section]:
    final = document.get("validation")
    source = final if isinstance(final, Mapping) else document
    gates, score = source.get("gates"), source.get("score")
    if not score and (not gates or source is final):
        return  # `compress` has no gates of the user's there
    section = Section("gates", "Gates")
    if score:
        low, high = score["interval"]
        detail = f"was {score['reference']:.2f}; difference {low:+.2f} to {high:+.2f} at 95 %"
        section.cards.append(Card(str(score["metric"]), f"{score['candidate']:.2f}", detail))
        section.cards.append(Card("Agreement", f"{score['agreement']:.2f} %", f"n={score['n']}"))
    rows = [
        (g["name"], g["limit"], g["value"],
         Cell("holds" if g["ok"] else "fails", tone="good" if g["ok"] else "bad"))
        for g in gates or ()
    ]  # fmt: skip
    if rows:
        section.tables.append(table(("gate", "limit", "value", ""), rows))
    yield section


def _drift(document: Document) -> Iterator[Section]:
    found = document.get("layers")
    if document.get("command") != "validate" or not found:
        return
    section = Section("drift", "Inner tensors, in the order they are computed")
    first = document.get("first_diverging")
    if first:
        section.lines.append(Line(f"The first to diverge is {first}", "bad"))
    names = [str(x["name"]) for x in found]
    values = [x.get("sqnr_db") for x in found]
    if any(isinstance(v, (int, float)) for v in values):
        section.curves.append(Curve("SQNR", "dB", names, [("SQNR", values)]))
    columns = ("max_abs", "max_rel", "cosine", "sqnr_db", "limit")
    rows = [
        (x["name"], *(x.get(c) for c in columns),
         Cell(str(x.get("status")), tone="bad" if x["name"] == first else ""))
        for x in found
    ]  # fmt: skip
    section.tables.append(
        table(("tensor", "max abs", "max rel", "cosine", "SQNR dB", "limit", "status"), rows)
    )
    yield section


def _costs(document: Document) -> Iterator[Section]:
    found = document.get("layers")
    if document.get("command") != "inspect" or not found:
        return
    most = {k: _most(found, k) for k in ("macs", "parameters", "activation_bytes")}
    rows = [
        (
            "\u00b7 " * x["depth"] + x["name"], x["op"],
            "?" if x["output_shape"] is None else f"[{', '.join(map(str, x['output_shape']))}]",
            _sized(x["macs"], most["macs"], count, x["macs_formula"]),
            _sized(x["parameters"], most["parameters"], count),
            cell(x["sparsity"]) if x["sparsity"] is not None else Cell(""),
            _sized(x["activation_bytes"], most["activation_bytes"], bytes_text),
        )
        for x in found
    ]  # fmt: skip
    section = Section("layers", "Layers")
    columns = ("layer", "operator", "output", "MACs", "parameters", "zeros", "activations")
    section.tables.append(table(columns, rows))
    yield Section("types", "Operators", tables=[_types(document["operators"])])
    yield section


def _types(operators: Mapping[str, Mapping[str, Any]]) -> Any:
    most = {k: _most(list(operators.values()), k) for k in ("count", "macs", "parameters")}
    rows = [
        (op, bar(e["count"], most["count"], str(e["count"])),
         _sized(e["macs"], most["macs"], count), _sized(e["parameters"], most["parameters"], count))
        for op, e in operators.items()
    ]  # fmt: skip
    return table(("operator", "nodes", "MACs", "parameters"), rows)


def _most(rows: Sequence[Mapping[str, Any]], key: str) -> float:
    return max([r[key] for r in rows if isinstance(r[key], (int, float))], default=0.0)


def _sized(value: Any, top: float, show: Callable[[Any], str], formula: Any = None) -> Cell:
    if not isinstance(value, (int, float)):
        text = formula or value
        return Cell(str(text) if text is not None else "?", -1.0, tone="mute")
    if not value:
        return Cell("", 0.0)
    return bar(value, top, show(value))


def _bench(document: Document) -> Iterator[Section]:
    models = document.get("models")
    if document.get("command") != "bench" or not models:
        return
    top = max(m["p90_ms"] for m in models)
    rows = []
    for m in models:
        low, high = m["ratio_interval"]
        rows.append((
            m["path"], bytes_text(m["bytes"]),
            Cell(f"{m['median_ms']:.4g} ms", m["median_ms"], m["median_ms"] / top if top else None),
            f"{m['p10_ms']:.4g} to {m['p90_ms']:.4g} ms",
            Cell(f"{m['ratio_to_first']:.3f}", m["ratio_to_first"],
                 tone="good" if high < 1 else "bad" if low > 1 else ""),
            f"{low:.3f} to {high:.3f}", m["runs"],
        ))  # fmt: skip
    columns = ("model", "size", "median", "10 % to 90 %", "ratio", "95 %", "runs")
    where = document.get("machine", {})
    note = (
        f"{document['provider']}, {document['threads']} thread(s), ONNX Runtime"
        f" {where.get('onnxruntime')}, {where.get('cpu')}; every model had its turn in each of"
        f" {document['rounds']} rounds; ratios are taken within a round."
    )
    yield Section("latency", "Latency", tables=[table(columns, rows, note)])
    for number, m in enumerate(models):
        if m.get("layers"):
            yield _timed(m, number)


def _timed(model: Mapping[str, Any], number: int) -> Section:
    top = _most(model["layers"], "ms")
    rows = [
        (x["name"], x["op"], bar(x["ms"], top, f"{x['ms']:.4f}"),
         Cell("" if x["share"] is None else f"{100 * x['share']:.1f}", x["share"]),
         " + ".join(dict.fromkeys(e["op"] for e in x["executed"])), _names(x["sources"]))
        for x in model["layers"]
    ]  # fmt: skip
    columns = ("layer", "operator", "ms", "%", "runs as", "nodes of the model")
    return Section(f"times{number}", f"Time per layer: {model['path']}",
                   tables=[table(columns, rows)])  # fmt: skip


def _difference(document: Document) -> Iterator[Section]:
    delta = document if document.get("command") == "diff" else document.get("delta")
    if not isinstance(delta, Mapping) or "hunks" not in delta:
        return
    section = Section("difference", "What differs")
    counts = delta["counts"]
    section.cards = [
        Card("Unchanged nodes", str(counts["unchanged"]), f"of {counts['a']}"),
        Card("Removed", str(len(delta["nodes"]["removed"]))),
        Card("Added", str(len(delta["nodes"]["added"]))),
        Card("Changed", str(sum(len(delta[k]["changed"]) for k in ("nodes", "initializers")))),
    ]  # fmt: skip
    told: Any = SimpleNamespace(**delta)
    told.hunks = [SimpleNamespace(**hunk) for hunk in delta["hunks"]]
    for group in groups(told):
        lines = group.lines[:_LINES]
        if len(lines) < len(group.lines):
            lines.append(f"... {len(group.lines) - len(lines)} more, in the JSON document below")
        section.lines.append(Line(group.heading, "", lines, str(group.first)))
    section.lines += [Line(text, "warn") for text in facts(told)]
    section.lines += [Line(str(text), "mute") for text in delta["cosmetic"]]
    yield section


MEASURES: tuple[Callable[[Document], Iterator[Section]], ...] = (
    _bench,
    _budget,
    _sensitivity,
    _quantized,
    _gates,
    _drift,
    _costs,
    _difference,
)
