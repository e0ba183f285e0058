"""The page as text: escaped, closed to the network, the same for the same result."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

import onnx
import pytest

import onnxslim
from onnxslim.api.reporting import check_report, report_text, write_report
from onnxslim.demo import labelled_path, model_path
from onnxslim.errors import UsageError
from onnxslim.pipeline.registry import get_pass
from onnxslim.report.html.cells import MOST_ROWS, Curve, bar, cell, change, table
from onnxslim.report.html.page import chart, nice
from onnxslim.report.html.sections import sections, title_of, verdict
from tests.nets import net

EVIL = '</script><img src=x onerror="alert(1)">\u2028<!--'


class Parser(HTMLParser):
    """Tags, and what looks like one of ours gone wrong."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def data_of(text: str) -> Any:
    found = re.search(r'id="data">([A-Za-z0-9+/=]*)</script>', text)
    assert found is not None
    return json.loads(gzip.decompress(base64.b64decode(found[1])))


def evil_model() -> onnx.ModelProto:
    model = net("h = Conv(x, w)  y = Relu(h)")
    model.producer_name = EVIL
    model.graph.node[0].name = EVIL
    model.graph.node[1].op_type = EVIL
    model.graph.node[1].domain = EVIL
    model.opset_import.add(domain=EVIL, version=1)
    return model


def inspected(model: Any) -> str:
    return report_text(onnxslim.inspect(model).to_json(), before=model)


def test_names_that_hold_markup_stay_text() -> None:
    text = inspected(evil_model())
    assert EVIL not in text
    tags = Parser(text).tags
    assert [t for t, _ in tags].count("script") == 2 and "img" not in [t for t, _ in tags]
    assert not [a for _, attributes in tags for a in attributes if a.startswith("on")]
    boxes = data_of(text)["graph"]["boxes"]
    assert EVIL in {b["n"] for b in boxes}


def test_the_policy_allows_our_script_and_style_only() -> None:
    text = inspected(model_path())
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    rules = policy[1].replace("&#39;", "'")
    assert rules.startswith("default-src 'none';") and "unsafe" not in rules and "http" not in rules
    for tag in ("script", "style"):
        body = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.S)
        assert len(body) == 1
        digest = base64.b64encode(hashlib.sha256(body[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in rules
    attributes = [a for _, found in Parser(text).tags for a in found]
    assert "style" not in attributes


def test_nothing_points_outside() -> None:
    for tag, attributes in Parser(inspected(model_path())).tags:
        for key in ("src", "href", "action", "data"):
            value = attributes.get(key) or ""
            assert value.startswith(("#", "data:")) or not value, (tag, value)


def test_the_same_result_is_the_same_page() -> None:
    found = onnxslim.inspect(model_path()).to_json()
    assert report_text(found, before=model_path()) == report_text(found, before=model_path())


def test_the_page_holds_the_document() -> None:
    found = onnxslim.inspect(model_path()).to_json()
    text = report_text(found, before=model_path())
    assert data_of(text)["document"] == found
    assert "/stem/Conv" in text and "13.05 M" in text


@pytest.fixture(scope="module")
def documents() -> dict[str, dict[str, Any]]:
    model = model_path()
    result = onnxslim.optimize(model)
    return {
        "optimize": result.to_json(),
        "validate": onnxslim.validate(
            model, result.model, layers=True, data=str(labelled_path()), labels="y"
        ).to_json(),
        "inspect": onnxslim.inspect(model).to_json(),
        "bench": onnxslim.bench(
            [model, result.model], bench_options=onnxslim.BenchOptions(runs=3, layers=True)
        ).to_json(),
        "diff": onnxslim.diff(model, result.model).to_json(),
    }


SECTIONS = {
    "optimize": {"summary", "passes", "operators", "outputs"},
    "validate": {"outputs", "gates", "drift"},
    "inspect": {"summary", "types", "layers"},
    "bench": {"latency", "times0", "times1"},
    "diff": {"difference"},
}


@pytest.mark.parametrize("command", SECTIONS)
def test_every_document_has_its_sections(
    documents: dict[str, dict[str, Any]], command: str
) -> None:
    document = documents[command]
    assert {s.key for s in sections(document)} >= SECTIONS[command]
    assert title_of(document)
    text = report_text(document)
    assert 'id="canvas"' not in text and "undefined" not in text.split("<script")[0]


def test_what_differs_reads_as_in_the_terminal(documents: dict[str, dict[str, Any]]) -> None:
    (found,) = (s for s in sections(documents["diff"]) if s.key == "difference")
    told = onnxslim.diff(model_path(), onnxslim.optimize(model_path()).model).text(None)
    lines = [line for one in found.lines for line in one.items]
    assert lines and all(f"  {line}" in told for line in lines)
    heads = [one.text for one in found.lines]
    wanted = "x: BatchNormalization folded into Conv (fold-batchnorm"
    assert any(wanted in text for text in heads), heads
    hunks = documents["diff"]["hunks"]
    assert all(hunks[int(x.key)]["title"] in x.text for x in found.lines if x.key)


def test_passes_that_did_nothing_are_named_once_and_defaults_never() -> None:
    entry = {"rewrites": 0, "skipped": {}, "seconds": 0.1}
    given = {**get_pass("prune-channels")().options(), "macs": 0.5}  # as in the document
    options = json.loads(json.dumps(given))
    document = {
        "command": "prune",
        "passes": [
            *[{**entry, "name": "fold-shape", "options": {}}] * 3,
            {**entry, "name": "prune-channels", "options": options, "rewrites": 2},
            {**entry, "name": "of-another", "options": {"a": 1}, "rewrites": 2},
        ],
    }
    (found,) = (s for s in sections(document) if s.key == "passes")
    assert found.lines[0].text == "3 passes found nothing to do"
    assert found.lines[0].items == ["fold-shape (3 times)"]
    assert [row[2].text for row in found.tables[0].rows] == ["macs=0.5", "a=1"]


def test_verdicts(documents: dict[str, dict[str, Any]]) -> None:
    assert verdict(documents["optimize"])[1] == "good"
    assert verdict(documents["validate"])[1] == "good"
    assert verdict(documents["diff"])[1] == "warn"
    failed = {**documents["optimize"], "verification": {"ok": False}}
    assert verdict(failed)[1] == "bad"
    unchecked = {**documents["optimize"], "verification": {"ok": None, "level": "none"}}
    assert verdict(unchecked)[1] == "warn"
    damaged = {**documents["optimize"], "command": "quantize", "sqnr_db": 9.0}
    assert verdict(damaged) == ("Runs in ONNX Runtime: output SQNR 9.0 dB", "warn")


def test_what_a_pruning_shows() -> None:
    document = {
        "command": "prune", "recovery": "data",
        "budget": {"macs": {"before": 1000, "after": 480, "part": 0.48}},
        "groups": [{"id": 3, "kind": "channel", "channels_before": 64, "channels_after": 48,
                    "kept": {}, "layers": ["a", "b", "c", "d"]}],
        "frozen": [{"layer": "z", "reason": "graph output"}],
        "quality": {"score": {"metric": "top1", "reference": 99.0, "candidate": 98.5, "n": 10},
                    "latency": {"before_ms": 2.0, "after_ms": 1.0, "ratio": 0.5}},
    }  # fmt: skip
    text = report_text(document)
    for wanted in ("64 → 48", "75 %", "a, b, c and 1 more", "graph output", "48.0 % kept",
                   "98.50 %", "1.000 ms"):  # fmt: skip
        assert wanted in text, wanted


def test_what_a_quantization_shows() -> None:
    layer = {"name": "a", "op": "Conv", "quantized": True, "reason": "", "sqnr_db": 12.0}
    kept = {"name": "b", "op": "Gemm", "quantized": False, "reason": "would not pay"}
    document = {"command": "quantize", "calibration": {"method": "mse", "samples": 9},
                "layers": [layer, {**kept, "sqnr_db": None}],
                "sqnr_db": 30.0, "speedup": 0.8}  # fmt: skip
    text = report_text(document)
    for wanted in ("1 of 2", "would not pay", "mse", "30.0 dB", "0.80 x", "int8", "<circle"):
        assert wanted in text, wanted


def test_what_a_sensitivity_shows() -> None:
    curve = [{"ratio": r, "removed": 4, "error": 0.1, "sqnr_db": db}
             for r, db in ((0.25, 30.0), (0.5, -3.0))]  # fmt: skip
    group = {"id": 7, "units": 16, "layers": ["first", "second"], "curve": curve}
    text = report_text({"command": "prune", "sensitivity": [group], "samples": 12})
    for wanted in ("25 % out", "50 % out", "first, second", "12 samples", 'class="line line1"'):
        assert wanted in text, wanted


def test_what_a_compression_shows() -> None:
    final = {"outputs": {"y": {"sqnr_db": 31.0, "status": "ok"}}, "samples": 64, "gates": [],
             "agreement": 99.5}  # fmt: skip
    stages = [{"name": "prune", "kept": False, "reason": "lost 3 points"}]
    checked = {"ok": True, "level": "full", "samples": 2, "outputs": {}}
    document = {"command": "compress", "stages": stages, "validation": final,
                "verification": checked}  # fmt: skip
    assert verdict(document) == (
        "Runs in ONNX Runtime: agrees with the model given on 99.50 % of 64 samples", "good",
    )  # fmt: skip
    text = report_text(document)
    assert "rolled back" in text and "lost 3 points" in text and "the same outputs" not in text


def test_a_long_table_keeps_its_longest_bars() -> None:
    rows = [(f"n{i}", bar(float(i % 1000), 999.0)) for i in range(2000)]
    found = table(("a", "b"), rows)
    assert len(found.rows) == MOST_ROWS and found.hidden == 2000 - MOST_ROWS
    assert min(row[1].value or 0 for row in found.rows) == 1000 - MOST_ROWS / 2


def test_cells() -> None:
    assert cell(None).tone == "mute" and cell(1234567).text == "1,234,567"
    assert bar(5.0, 10.0).part == 0.5 and bar(None, 1.0).part is None and bar(1.0, 0.0).part == 0
    assert change(100, 62) == "-38.0 %" and change(0, 5) == "" and change(None, 5) == ""


def test_curves() -> None:
    made = chart(Curve("t", "dB", ["a", "b", "c", "d"], [("", [10.0, None, 30.0, 40.0])]))
    assert made.lines[0].count("M") == 2 and made.lines[0].count("L") == 1 and len(made.dots) == 3
    assert [t for _, t in made.ticks] == ["0", "10", "20", "30", "40"]
    below = chart(Curve("t", "dB", ["a", "b"], [("", [-2.9, 34.6])]))
    assert [t for _, t in below.ticks] == ["-10", "0", "10", "20", "30", "40"]
    assert chart(Curve("t", "", ["a"], [("", [None])])).dots == []
    assert [nice(v) for v in (0.7, 1.0, 3.0, 60.0, 99.0)] == [0.8, 1.0, 4.0, 80.0, 100.0]


def test_where_a_report_may_go(tmp_path: Any) -> None:
    with pytest.raises(UsageError, match="regular file"):
        check_report(tmp_path)
    with pytest.raises(UsageError, match="does not exist"):
        check_report(tmp_path / "no" / "r.html")
    with pytest.raises(UsageError, match="that is a model"):
        check_report(model_path(), model_path())
    target = write_report(tmp_path / "r.html", {"command": "inspect"})
    assert target.read_text().startswith("<!DOCTYPE html>")
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]
