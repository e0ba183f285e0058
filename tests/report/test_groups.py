"""Pictures of groups: what is in them, and hostile names."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from onnxslim.api.pruning import prune
from onnxslim.report.groups import Picture, dot, draw, picture, svg
from tests.nets import net

HOSTILE = 'a"b\\<&>'


def decided() -> Picture:
    body = "h = Conv(x, w1)  a = Relu(h)  g = Conv(a, w2)  y = Conv(g, w3)"
    model = net(body, x="float[N,3,6,6]", w1=(16, 3, 1, 1), w2=(16, 16, 1, 1), w3=(4, 16, 1, 1))
    for name, node in zip((HOSTILE, "relu", "second", "last"), model.graph.node, strict=True):
        node.name = name
    result = prune(model, ratio=0.5, dry_run=True)
    assert result.decision is not None
    return picture(result.decision)


def test_layers_and_groups_are_joined() -> None:
    found = decided()
    assert [name for name, _, _ in found.layers] == [HOSTILE, "second", "last"]
    assert [bool(reason) for _, _, reason in found.layers] == [False, False, True]
    assert found.groups == ("group 0: 16 -> 8 channels", "group 1: 16 -> 8 channels")
    assert sorted(found.edges) == [(0, 0, True), (1, 0, False), (1, 1, True), (2, 1, False)]


def test_svg_is_well_formed_and_says_the_names() -> None:
    root = ET.fromstring(svg(decided()))
    text = "".join(root.itertext())
    assert HOSTILE in text and "group 1: 16 -> 8 channels" in text
    paths = [e for e in root.iter() if e.tag.endswith("path")]
    assert len(paths) == 4


def test_dot_escapes_names() -> None:
    text = dot(decided())
    assert 'label="a\\"b\\\\<&>\\nConv"' in text
    assert text.count(" -> l") + text.count(" -> g") == 4


@pytest.mark.parametrize(
    ("name", "start"), [("g.dot", "digraph"), ("g.gv", "digraph"), ("g.svg", "<svg")]
)
def test_the_extension_decides(name: str, start: str, tmp_path: Path) -> None:
    body = "h = Conv(x, w1)  y = Conv(h, w2)"
    model = net(body, x="float[N,3,6,6]", w1=(16, 3, 1, 1), w2=(4, 16, 1, 1))
    result = prune(model, ratio=0.5, dry_run=True)
    assert result.decision is not None
    draw(result.decision, tmp_path / name)
    assert (tmp_path / name).read_text().startswith(start)
    assert len(list(tmp_path.iterdir())) == 1
