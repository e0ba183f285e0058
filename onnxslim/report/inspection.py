"""The answer of ``inspect``: what a model is made of and what costs what."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from onnxslim.analysis.layers import Layer
from onnxslim.report.entries import Summary

COLUMNS = (
    "name",
    "op",
    "scope",
    "output_shape",
    "output_type",
    "parameters",
    "weight_bytes",
    "sparsity",
    "macs",
    "macs_share",
    "activation_bytes",
)
"""Columns of the CSV form."""


@dataclass(frozen=True)
class Port:
    """An input or output of the model."""

    name: str
    type: str
    shape: tuple[int | str, ...] | None


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Args:
        path: The file; None for a model from memory.
        model: Counts.
        inputs: Of the model.
        outputs: Of the model.
        layers: Those asked for, sorted as asked.
        operators: Per operator type ``count``, ``parameters``, ``macs``, ``activation_bytes``.
        totals: ``macs`` (a formula when symbolic), ``weight_bytes``, ``weight_types`` (elements by
            type), ``sparsity``, ``peak_activation_bytes``, ``unread_parameters``.
        facts: ``ir_version``, ``opsets``, ``producer``, ``functions``, ``metadata``.
        bound: Sizes that symbols were given for the costs.
        hidden: Layers left out by filters and limits.
        warnings: What a person should know.
    """

    path: str | None
    model: Summary
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    layers: tuple[Layer, ...]
    operators: dict[str, dict[str, Any]]
    totals: dict[str, Any]
    facts: dict[str, Any]
    bound: dict[str, int] = field(default_factory=dict)
    hidden: int = 0
    warnings: tuple[str, ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        """The layers as plain data; ``macs`` is a number or null, a formula stands beside it."""
        return [_row(layer, self.totals["macs"]) for layer in self.layers]

    def to_json(self) -> dict[str, Any]:
        """The document of the contract."""
        return {
            "schema": 1,
            "command": "inspect",
            "input": self.path,
            "model": asdict(self.model),
            "inputs": [_port(p) for p in self.inputs],
            "outputs": [_port(p) for p in self.outputs],
            "totals": self.totals,
            "operators": self.operators,
            "layers": self.rows(),
            "hidden_layers": self.hidden,
            "bound": self.bound,
            **self.facts,
            "warnings": list(self.warnings),
        }

    def to_csv(self) -> str:
        """One line per layer, a header first; what is unknown is empty."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in self.rows():
            cells = {**row, "macs": row["macs"] if row["macs"] is not None else row["macs_formula"]}
            shape = row["output_shape"]
            cells["output_shape"] = None if shape is None else f"[{', '.join(map(str, shape))}]"
            writer.writerow(["" if cells[c] is None else cells[c] for c in COLUMNS])
        return out.getvalue()


def _port(port: Port) -> dict[str, Any]:
    shape = None if port.shape is None else list(port.shape)
    return {"name": port.name, "type": port.type, "shape": shape}


def _row(layer: Layer, total: Any) -> dict[str, Any]:
    known = isinstance(layer.macs, int)
    share = layer.macs / total if isinstance(layer.macs, int) and _positive(total) else None
    return {
        "name": layer.name,
        "op": layer.op,
        "scope": layer.scope,
        "depth": layer.depth,
        "output_shape": None if layer.output_shape is None else list(layer.output_shape),
        "output_type": layer.output_type,
        "weights": [list(shape) for shape in layer.weights],
        "parameters": layer.parameters,
        "weight_bytes": layer.weight_bytes,
        "sparsity": _sparsity(layer.zeros, layer.parameters),
        "macs": layer.macs if known else None,
        "macs_formula": None if known else layer.macs,
        "macs_share": None if share is None else round(share, 6),
        "activation_bytes": layer.activation_bytes,
    }


def _positive(total: Any) -> bool:
    return isinstance(total, int) and total > 0


def _sparsity(zeros: int | None, parameters: int) -> float | None:
    return None if zeros is None or not parameters else round(zeros / parameters, 6)


def by_operator(found: Sequence[Layer]) -> dict[str, dict[str, Any]]:
    """Costs per operator type, largest arithmetic first; a node with subgraphs counts without them.

    ``macs`` and ``activation_bytes`` are null when one of the nodes has no known number.
    """
    counts: Counter[str] = Counter()
    totals: dict[str, dict[str, Any]] = {}
    for index, layer in enumerate(found):
        inner = [x for x in _inside(found, index) if x.depth == layer.depth + 1]
        entry = totals.setdefault(layer.op, {"parameters": 0, "macs": 0, "activation_bytes": 0})
        counts[layer.op] += 1
        entry["parameters"] += layer.parameters - sum(x.parameters for x in inner)
        entry["macs"] = _added(entry["macs"], 0 if inner else layer.macs)
        entry["activation_bytes"] = _added(entry["activation_bytes"], layer.activation_bytes)
    order = sorted(totals, key=lambda op: (-(totals[op]["macs"] or 0), -counts[op], op))
    return {op: {"count": counts[op], **totals[op]} for op in order}


def _inside(found: Sequence[Layer], index: int) -> list[Layer]:
    end = index + 1
    while end < len(found) and found[end].depth > found[index].depth:
        end += 1
    return list(found[index + 1 : end])


def _added(total: int | None, part: Any) -> int | None:
    return total + part if isinstance(total, int) and isinstance(part, int) else None
