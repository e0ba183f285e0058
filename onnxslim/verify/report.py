"""The answer of ``validate``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from onnxslim.verify.gates import Gate
from onnxslim.verify.layers import Layer, first_diverging
from onnxslim.verify.scores import Score
from onnxslim.verify.verification import OutputResult


@dataclass(frozen=True)
class ValidationReport:
    """What was found.

    Args:
        ok: Every gate holds.
        provider: Where both ran, ``A,B`` when the candidate ran elsewhere.
        samples: How many samples.
        gates: Those given, or one ``noise`` gate per output.
        outputs: By name of the reference.
        score: With labels.
        agreement: Percent of the samples on which both say the same class.
        layers: Inner tensors, in the order they are computed; None unless asked for.
        warnings: What the user should know.
        failure: Why the candidate could not be compared; empty when it could.
    """

    ok: bool
    provider: str
    samples: int
    gates: tuple[Gate, ...] = ()
    outputs: Mapping[str, OutputResult] = field(default_factory=dict)
    score: Score | None = None
    agreement: float | None = None
    layers: tuple[Layer, ...] | None = None
    warnings: tuple[str, ...] = ()
    failure: str = ""

    def to_json(self) -> dict[str, Any]:
        """The document of the contract; ``sqnr_db`` is null where nothing differs."""
        document: dict[str, Any] = {
            "schema": 1,
            "command": "validate",
            "ok": self.ok,
            "provider": self.provider,
            "samples": self.samples,
            "gates": [gate.to_json() for gate in self.gates],
            "outputs": {name: result.to_json() for name, result in self.outputs.items()},
        }
        if self.score is not None:
            document["score"] = self.score.to_json()
        elif self.agreement is not None:
            document["agreement"] = self.agreement
        if self.layers is not None:
            first = first_diverging(self.layers)
            document["layers"] = [layer.to_json() for layer in self.layers]
            document["first_diverging"] = None if first is None else first.tap.name
        document["warnings"] = list(self.warnings)
        document["failure"] = self.failure or None
        return document
