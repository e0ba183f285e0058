"""The page in a real browser: nothing on the console, nothing asked for, everything works."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest

import onnxslim
from onnxslim.api.reporting import write_report
from onnxslim.demo import model_path
from tests.nets import net
from tests.report.chromium import Chromium, find
from tests.report.test_html_page import evil_model

pytestmark = pytest.mark.skipif(find() is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("chromium")) as found:
        yield found


@pytest.fixture(scope="module")
def optimized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    result = onnxslim.optimize(model_path())
    path = tmp_path_factory.mktemp("reports") / "optimized.html"
    return write_report(path, result.to_json(), before=model_path(), after=result.model)


def ready(browser: Chromium, path: Path, **more: Any) -> None:
    browser.open(path, **more)
    assert browser.complaints() == [] and browser.requests() == [path.as_uri()]


def painted(browser: Chromium) -> int:
    """Different colours on the canvas, after the next two frames."""
    return int(
        browser.run("""new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => {
            const c = document.getElementById("canvas");
            const copy = new OffscreenCanvas(c.width, c.height);
            const pen = copy.getContext("2d", {willReadFrequently: true});
            pen.drawImage(c, 0, 0);
            const d = pen.getImageData(0, 0, c.width, c.height).data;
            done(new Set(new Uint32Array(d.buffer)).size);
        })))""")
    )


def shows(browser: Chromium, colours: int) -> bool:
    """Whether the canvas comes to hold that many colours: a busy machine is late with frames."""
    deadline = time.monotonic() + 20
    while painted(browser) < colours:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def press(browser: Chromium, key: str) -> None:
    browser.run(f"""document.getElementById("canvas").dispatchEvent(
        new KeyboardEvent("keydown", {{key: {key!r}, bubbles: true}}))""")


def test_it_opens(browser: Chromium, optimized: Path) -> None:
    ready(browser, optimized)
    assert browser.run("document.getElementById('canvas').dataset.ready") == "55"
    assert shows(browser, 11)


def test_dark_mode(browser: Chromium, optimized: Path) -> None:
    script = "getComputedStyle(document.body).backgroundColor"
    ready(browser, optimized)
    light = browser.run(script)
    ready(browser, optimized, dark=True)
    assert browser.run(script) != light
    assert shows(browser, 11)


def test_going_through_the_changes(browser: Chromium, optimized: Path) -> None:
    ready(browser, optimized)
    assert browser.run("document.getElementById('panel').hidden") is True
    press(browser, "n")
    first = browser.run("document.getElementById('panel').textContent")
    press(browser, "n")
    second = browser.run("document.getElementById('panel').textContent")
    assert "BatchNormalization" in first + second and first != second
    press(browser, "p")
    assert browser.run("document.getElementById('panel').textContent") == first
    press(browser, "Escape")
    assert browser.run("document.getElementById('panel').hidden") is True


def test_search_and_overlay(browser: Chromium, optimized: Path) -> None:
    ready(browser, optimized)
    browser.run("""{const f = document.getElementById("find"); f.value = "stem";
        f.dispatchEvent(new Event("input"));
        f.dispatchEvent(new KeyboardEvent("keydown", {key: "Enter"}));}""")
    assert "of" in browser.run("document.getElementById('hits').textContent")
    assert "/stem/Conv" in browser.run("document.getElementById('panel').textContent")
    choices = browser.run("[...document.getElementById('colour').options].map(o => o.value)")
    assert {"status", "kind", "macs", "parameters"} <= set(choices)
    for choice in choices:
        browser.run(f"""{{const c = document.getElementById("colour"); c.value = {choice!r};
            c.dispatchEvent(new Event("change"));}}""")
        assert shows(browser, 6)
    assert browser.complaints() == []


def test_from_a_change_to_the_graph(browser: Chromium, optimized: Path) -> None:
    ready(browser, optimized)
    browser.run("document.querySelector('button.show').click()")
    assert "BatchNormalization" in browser.run("document.getElementById('panel').textContent")


def test_tables_sort_and_filter(browser: Chromium, tmp_path: Path) -> None:
    found = onnxslim.inspect(model_path())
    ready(browser, write_report(tmp_path / "r.html", found.to_json()))
    assert browser.run("document.getElementById('canvas')") is None
    column = """[...document.querySelectorAll("#layers tbody tr")].filter(r => !r.hidden)
        .map(r => Number(r.cells[3].dataset.v))"""
    assert browser.run(column) != sorted(browser.run(column), reverse=True)
    browser.run("document.querySelectorAll('#layers th')[3].click()")
    assert browser.run(column) == sorted(browser.run(column), reverse=True)
    browser.run("document.querySelectorAll('#layers th')[3].click()")
    assert browser.run(column) == sorted(browser.run(column))
    browser.run("""{const f = document.querySelector("#layers .filter"); f.value = "/stem/";
        f.dispatchEvent(new Event("input"));}""")
    assert len(browser.run(column)) == 1


def test_names_that_hold_markup_do_nothing(browser: Chromium, tmp_path: Path) -> None:
    model = evil_model()
    document = onnxslim.inspect(model).to_json()
    ready(browser, write_report(tmp_path / "r.html", document, before=model))
    browser.run("""{const f = document.getElementById("find"); f.value = "script";
        f.dispatchEvent(new Event("input"));
        f.dispatchEvent(new KeyboardEvent("keydown", {key: "Enter"}));}""")
    assert "<img" in browser.run("document.getElementById('panel').textContent")
    assert browser.run("document.images.length") == 0 and browser.complaints() == []


def test_it_prints(browser: Chromium, optimized: Path, tmp_path: Path) -> None:
    ready(browser, optimized)
    browser.pdf(tmp_path / "r.pdf")
    assert (tmp_path / "r.pdf").read_bytes().startswith(b"%PDF")
    assert browser.complaints() == []


def test_the_document_can_be_saved(browser: Chromium, optimized: Path) -> None:
    ready(browser, optimized)
    browser.run("document.getElementById('save').click()")
    time.sleep(0.2)
    assert browser.complaints() == []


def chain(count: int, change: int | None = None) -> onnx.ModelProto:
    names = ["x", *(f"t{i}" for i in range(count))]
    ops = ["Exp" if i == change else ("Relu", "Neg")[i % 2] for i in range(count)]
    pairs = zip(names, names[1:], ops, strict=False)
    return net("  ".join(f"{b} = {op}({a})" for a, b, op in pairs))


def test_a_large_graph_opens_folded_and_unfolds(browser: Chromium, tmp_path: Path) -> None:
    first, second = chain(6000), chain(6000, 3000)
    delta = onnxslim.diff(first, second)
    path = write_report(tmp_path / "r.html", delta.to_json(), before=first, after=second)
    ready(browser, path)
    assert browser.run("document.getElementById('canvas').dataset.ready") == "6002"
    assert browser.run("document.getElementById('fold').checked") is True
    assert shows(browser, 11)
    browser.run("document.getElementById('fold').click()")
    assert shows(browser, 6)
    press(browser, "0")
    assert shows(browser, 2) and browser.complaints() == []
