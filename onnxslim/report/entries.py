"""The parts of the documents that are made in every run, as plain classes.

Pydantic takes a tenth of a second to import: :mod:`onnxslim.report.documents` needs it, these do
not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass
class Summary:
    """``S`` of the contract: what a model is made of.

    Attributes:
        nodes: Nodes of all graphs and subgraphs, ``Constant`` left out.
        parameters: Elements of all weights, shared ones counted once.
        macs: Multiply-accumulate operations for one sample; None when shapes stay unknown.
        bytes: Size of the file and its external data.
        opset: Version of the standard operator set.
        operators: Count per operator type, by name.
    """

    nodes: int
    parameters: int
    macs: int | None
    bytes: int
    opset: int
    operators: dict[str, int]


@dataclass
class PassEntry:
    """What one pass did; an option that JSON has no number for (infinity) becomes a text."""

    name: str
    options: dict[str, Any]
    rewrites: int
    seconds: float
    skipped: dict[str, int]

    def __post_init__(self) -> None:
        self.options = {
            name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in self.options.items()
        }
