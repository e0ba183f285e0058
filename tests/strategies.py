"""Hypothesis strategies: small valid models with everything that passes must cope with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import onnx
from hypothesis import strategies as st

from tests.fuzz.builder import Array
from tests.fuzz.generate import build, feeds


class _Drawn:
    """Decisions that hypothesis draws, so that it can shrink the model."""

    def __init__(self, draw: Callable[[st.SearchStrategy[int]], int]) -> None:
        self._draw = draw

    def integer(self, low: int, high: int) -> int:
        return self._draw(st.integers(low, high))


class Sample:
    """A model with what to feed it; shown as ONNX text (hypothesis would spread a dataclass)."""

    def __init__(self, model: onnx.ModelProto, feeds: Iterable[Mapping[str, Array]]) -> None:
        self.model = model
        self.feeds = tuple(dict(feed) for feed in feeds)

    def __repr__(self) -> str:
        return f"Sample({onnx.printer.to_text(self.model)})"


@st.composite
def models(draw: st.DrawFn, max_nodes: int = 16) -> Sample:
    """Models of up to about ``max_nodes`` nodes.

    Layers with BatchNormalization, elementwise and data-moving operators, shape arithmetic, QDQ,
    constant subgraphs, operators without effect, duplicates, shared weights, Constant nodes,
    overridable initializers, If, functions; opsets 9 to 21, float16, dynamic batch.
    """
    choices = _Drawn(draw)
    model, inputs = build(choices, choices.integer(1, max_nodes), choices.integer(2, 6))
    return Sample(model, feeds(model, inputs, 0))
