"""All that the rule of one operator says, as text.

``x[ab,cc,..,-] w[ab] -> y[ab,-]``: one letter per class, so that equal letters leave together; a
dot for a position that stays, a dash for an axis that has no labels.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.dependency.atoms import STAYS, Labels
from tests.analysis.dependency.oracle import Ruled, rule
from tests.nets import net

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Told:
    """What a rule said, as text."""

    def __init__(self, ruled: Ruled) -> None:
        self.ruled, self.names = ruled, {STAYS: "."}

    def labels(self, labels: Labels | None) -> str:
        if labels is None:
            return "-"
        solution = self.ruled.solution
        classes = np.where(solution.stays[labels], STAYS, solution.root[labels]).tolist()
        for found in classes:
            self.names.setdefault(found, LETTERS[len(self.names) - 1])
        return "".join(self.names[found] for found in classes)

    def value(self, value: ir.Value) -> str:
        axes = self.ruled.builder.axes_of.get(value)
        told = "?" if axes is None else ",".join(self.labels(a) for a in axes)
        return f"{value.name}[{told}]"

    def text(self) -> str:
        node, builder = self.ruled.node, self.ruled.builder
        values = dict.fromkeys(v for v in node.inputs if v is not None)
        parts = [self.value(v) for v in values if v in builder.axes_of]
        parts += ["->", *(self.value(v) for v in node.outputs if v.name)]
        uses = [f"{s.role.name.lower()} {s.value.name}{s.axis}" for s in builder.sites]
        uses += ["equal " + "|".join(map(self.labels, e.blocks)) for e in builder.equal]
        uses += ["part " + self.labels(p) for p in builder.parts]
        return "; ".join(chain([" ".join(parts)], uses))


def told(body: str, **given: Any) -> str:
    return Told(rule(net(body, **{"opset": 17, **given}))).text()
