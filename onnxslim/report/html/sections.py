"""Sections of the page, from the JSON document of any command; what is not there is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from onnxslim.errors import UnknownPassError
from onnxslim.pipeline.registry import get_pass
from onnxslim.report.html.cells import Card, Cell, Line, Section, bytes_text, change, count, table
from onnxslim.report.html.measures import MEASURES

Document = Mapping[str, Any]

TITLES = {
    "bench": "Benchmark",
    "compress": "Compression",
    "diff": "Difference",
    "inspect": "Inspection",
    "optimize": "Optimization",
    "prune": "Pruning",
    "quantize": "Quantization",
    "validate": "Validation",
}


LEAST_SQNR = 15.0
"""Decibels of the output below which a result is called into question."""


def sections(document: Document) -> list[Section]:
    """All sections that the document has something for, the verdict first."""
    found: list[Section] = []
    for make in (*_PARTS, *MEASURES):
        found += [section for section in make(document) if section is not None]
    return found


def title_of(document: Document) -> str:
    """``Pruning of model.onnx``."""
    command = str(document.get("command", "report"))
    what = document.get("input") or document.get("a")
    if what is None and document.get("models"):
        what = ", ".join(str(m["path"]) for m in document["models"])
    kind = TITLES.get(command, command.capitalize())
    return f"{kind} of {what}" if what else kind


def verdict(document: Document) -> tuple[str, str]:
    """The one line on top, and its tone."""
    command = document.get("command")
    if command == "validate":
        ok = bool(document["ok"])
        return ("Every gate holds" if ok else "A gate does not hold"), "good" if ok else "bad"
    if command == "diff":
        if document["identical"]:
            return "No difference but names, order and storage", "good"
        return f"{document['changes']} differences", "warn"
    checked = document.get("verification")
    if checked is None:
        return "", ""
    if command == "compress" and isinstance(document.get("validation"), Mapping):
        return _compressed(document["validation"])
    if command == "quantize" and checked.get("ok"):
        sqnr = document.get("sqnr_db")
        close = f": output SQNR {sqnr:.1f} dB" if isinstance(sqnr, (int, float)) else ""
        return f"Runs in ONNX Runtime{close}", _loudness(sqnr)
    return _verified(checked)


def _compressed(found: Mapping[str, Any]) -> tuple[str, str]:
    """How close the final result is to the model given, in the words that mean most."""
    score, agreement = found.get("score"), found.get("agreement")
    numbers = [o.get("sqnr_db") for o in found["outputs"].values()]
    worst = min((n for n in numbers if isinstance(n, (int, float))), default=None)
    if score:
        text = f": {score['metric']} {score['reference']:.2f} \u2192 {score['candidate']:.2f}"
    elif agreement is not None:
        text = f": agrees with the model given on {agreement:.2f} % of {found['samples']} samples"
    else:
        text = "" if worst is None else f": output SQNR {worst:.1f} dB"
    return f"Runs in ONNX Runtime{text}", _loudness(worst)


def _loudness(sqnr: Any) -> str:
    return "warn" if isinstance(sqnr, (int, float)) and sqnr < LEAST_SQNR else "good"


def _verified(checked: Mapping[str, Any]) -> tuple[str, str]:
    if checked.get("ok") is False:
        return "The result failed its verification", "bad"
    if checked.get("ok") is None:
        return "The result was not compared with the model given", "warn"
    runs = checked.get("samples")
    level = checked.get("level")
    if level == "masked":
        text = f"Cut exactly: like the model given with the removed channels at 0, on {runs} inputs"
        return text, "good"
    if level == "full":
        return f"Verified in ONNX Runtime: the same outputs on {runs} inputs", "good"
    return f"Verified in ONNX Runtime ({level}) on {runs} inputs", "good"


def _summary(document: Document) -> Iterator[Section]:
    cards: list[Card] = []
    before, after = document.get("before"), document.get("after")
    if before and after:
        for key, label, show in _ROWS:
            b, a = before.get(key), after.get(key)
            tone = "" if key == "nodes" and _is_encoded(after) else _tone(b, a)
            percent = change(b, a) if key != "opset" else ""
            detail = "unchanged" if b == a else f"was {show(b)}" + f", {percent}" * bool(percent)
            cards.append(Card(label, show(a), detail, tone))
    model = document.get("model")
    if isinstance(model, Mapping):
        cards += [Card(label, show(model.get(key))) for key, label, show in _ROWS]
        totals = document.get("totals", {})
        peak = totals.get("peak_activation_bytes")
        cards.append(Card("Activations at the peak", bytes_text(peak)))
    cards += _measured_cards(document)
    if cards:
        yield Section("summary", "Summary", cards=cards)


def _is_encoded(summary: Mapping[str, Any]) -> bool:
    """Whether nodes say where numbers are quantized: more of them cost nothing."""
    return "DequantizeLinear" in summary["operators"]


def _measured_cards(document: Document) -> Iterator[Card]:
    quality = document.get("quality")
    if isinstance(quality, Mapping):
        score, latency = quality.get("score"), quality.get("latency")
        if score:
            lost = score["candidate"] - score["reference"]
            detail = f"was {score['reference']:.2f} %, {lost:+.2f} points, n={score['n']}"
            yield Card(str(score["metric"]), f"{score['candidate']:.2f} %", detail)
        elif quality.get("agreement") is not None and quality.get("inputs") == "data":
            yield Card("Agreement", f"{quality['agreement']:.2f} %", "with the model given")
        if latency:
            yield Card("Latency", f"{latency['after_ms']:.3f} ms",
                       f"was {latency['before_ms']:.3f} ms, one thread",
                       "good" if latency["ratio"] < 1 else "bad")  # fmt: skip
    for key, label, text in (("sqnr_db", "Output SQNR", "{:.1f} dB"),
                             ("speedup", "Speed against float", "{:.2f} x")):  # fmt: skip
        value = document.get(key)
        if isinstance(value, (int, float)):
            tone = "" if key == "sqnr_db" else "good" if value >= 1 else "bad"
            yield Card(label, text.format(value), tone=tone)


_Show = Callable[[Any], str]
_ROWS: tuple[tuple[str, str, _Show], ...] = (
    ("bytes", "File size", bytes_text),
    ("nodes", "Nodes", count),
    ("parameters", "Parameters", count),
    ("macs", "MACs per sample", count),
    ("opset", "Opset", str),
)


def _tone(before: Any, after: Any) -> str:
    if not isinstance(before, (int, float)) or not isinstance(after, (int, float)):
        return ""
    return "good" if after < before else "bad" if after > before else ""


def _warnings(document: Document) -> Iterator[Section]:
    found = [Line(str(w), "warn") for w in document.get("warnings") or ()]
    found += [Line(f"Interface: {e}") for e in document.get("edits") or ()]
    if document.get("failure"):
        found.insert(0, Line(str(document["failure"]), "bad"))
    if found:
        yield Section("warnings", "To know", lines=found)


def _passes(document: Document) -> Iterator[Section]:
    passes = document.get("passes")
    if not passes:
        return
    top = max((p["rewrites"] for p in passes), default=0)
    slowest = max((p["seconds"] for p in passes), default=0.0)
    rows, idle = [], []
    for number, p in enumerate(passes, 1):
        if not p["rewrites"] and not p["skipped"]:
            idle.append(p["name"])
            continue
        options = ", ".join(f"{k}={v}" for k, v in _set_options(p))
        refused = sum(p["skipped"].values())
        rows.append((
            number, p["name"], options,
            Cell(str(p["rewrites"]), p["rewrites"], p["rewrites"] / top if top else None,
                 "" if p["rewrites"] else "mute"),
            Cell(str(refused) if refused else "", refused),
            Cell(f"{p['seconds']:.3f}", p["seconds"],
                 p["seconds"] / slowest if slowest else None),
        ))  # fmt: skip
    section = Section("passes", "Passes")
    if rows:
        columns = ("#", "pass", "options", "rewrites", "refused", "seconds")
        section.tables.append(table(columns, rows))
    if idle:
        plural = "pass" if len(idle) == 1 else "passes"
        often = [f"{name} ({n} times)" if n > 1 else name for name, n in Counter(idle).items()]
        section.lines.append(Line(f"{len(idle)} {plural} found nothing to do", "mute", often))
    for p in passes:
        reasons = sorted(p["skipped"].items(), key=lambda item: (-item[1], item[0]))
        if reasons:
            items = [f"{n} \u00d7 {reason}" for reason, n in reasons]
            total = sum(p["skipped"].values())
            section.lines.append(Line(f"{p['name']} refused {total}", "", items))
    yield section


def _set_options(entry: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Options of a pass that are not what they are by default."""
    try:
        defaults = get_pass(entry["name"])().options()
    except UnknownPassError:
        defaults = {}
    for key, value in entry["options"].items():
        usual = defaults.get(key, ...)
        if value != usual and not (isinstance(usual, tuple) and value == list(usual)):
            yield key, value


def _stages(document: Document) -> Iterator[Section]:
    rows = [
        (s["name"], Cell("kept" if s["kept"] else "rolled back",
                         tone="good" if s["kept"] else "warn"), s["reason"])
        for s in document.get("stages") or ()
    ]  # fmt: skip
    if rows:
        yield Section("stages", "Stages", tables=[table(("stage", "", "because"), rows)])


def _operators(document: Document) -> Iterator[Section]:
    before, after = document.get("before"), document.get("after")
    if not (before and after):
        return
    was, now = before["operators"], after["operators"]
    top = max([*was.values(), *now.values(), 1])
    names = sorted({*was, *now}, key=lambda op: (-max(was.get(op, 0), now.get(op, 0)), op))
    rows = []
    for op in names:
        b, a = was.get(op, 0), now.get(op, 0)
        pair = Cell(f"{b} \u2192 {a}", a, b / top, "pair", a / top)
        tone = "good" if a < b else "warn" if a > b else "mute"
        rows.append((op, pair, Cell(f"{a - b:+d}" if a != b else "", a - b, tone=tone)))
    section = Section("operators", "Operators")
    section.tables.append(table(("operator", "before \u2192 after", "change"), rows))
    yield section


def _verification(document: Document) -> Iterator[Section]:
    checked, final = document.get("verification"), document.get("validation")
    command = document.get("command")
    outputs = document.get("outputs") if command == "validate" else None
    if isinstance(final, Mapping):
        outputs = final.get("outputs")
    elif checked and checked.get("outputs"):
        outputs = checked["outputs"]
    if not isinstance(outputs, Mapping) or not outputs:
        return
    columns = ("max_abs", "max_rel", "cosine", "sqnr_db", "limit")
    rows = [
        (name, *(o.get(c) for c in columns),
         Cell(str(o.get("status")), tone=_STATUS.get(str(o.get("status")), "")))
        for name, o in outputs.items()
    ]  # fmt: skip
    title = "Outputs, compared with the model given"
    if command == "prune":
        title = "Outputs of the cut, before weights were repaired"
    section = Section("outputs", title)
    section.tables.append(table(
        ("output", "max abs", "max rel", "cosine", "SQNR dB", "limit", "status"), rows,
        "SQNR is empty where nothing differs.",
    ))  # fmt: skip
    yield section


_STATUS = {
    **dict.fromkeys(("ok", "tie"), "good"),
    **dict.fromkeys(("exceeds", "shape", "dtype", "missing"), "bad"),
}

_PARTS: tuple[Callable[[Document], Iterator[Section]], ...] = (
    _summary,
    _warnings,
    _stages,
    _passes,
    _operators,
    _verification,
)
