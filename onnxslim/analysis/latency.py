"""A table of layer latencies by width, measured on one machine and read on any other.

Decisions read the table, never a clock: the same table gives the same decision.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from onnxslim.errors import DataError

KIND = "onnxslim-latency-table"
SCHEMA = 1
ALIGNMENT = 4
"""Kernels that work on blocks of channels fall back to slower ones at other widths."""


@dataclass(frozen=True)
class Work:
    """What one linear layer computes, but for its widths.

    Args:
        op: ``Conv``, ``ConvTranspose``, ``Gemm``, ``MatMul``, ``LSTM``, ``GRU`` or ``RNN``.
        rows: Sizes around the channels: ``(N, H, W)`` of the input of a convolution, the leading
            dimensions of a product's input, ``(T, N)`` of a recurrent layer.
        kernel: Of a convolution.
        attributes: Those that change the arithmetic.
        tied: The layer has one width: input and output channels are cut together (depthwise).
        groups: Of a convolution; None when it is depthwise, where it follows the width.
        bias: Whether a bias is added.
        dtype: ``float32`` or ``float16``.
    """

    op: str
    rows: tuple[int, ...]
    kernel: tuple[int, ...] = ()
    attributes: tuple[tuple[str, Any], ...] = ()
    tied: bool = False
    groups: int | None = 1
    bias: bool = False
    dtype: str = "float32"


@dataclass(frozen=True)
class Grid:
    """Measured times of one kind of work.

    Args:
        work: What was computed.
        c_in: Widths measured, rising.
        c_out: Likewise; of tied work a single 0.
        ms: Times, ``[len(c_in)][len(c_out)]``.
        odd_in: Factor on the time when the input width is no multiple of :data:`ALIGNMENT`.
        odd_out: Likewise for the output width.
    """

    work: Work
    c_in: tuple[int, ...]
    c_out: tuple[int, ...]
    ms: tuple[tuple[float, ...], ...]
    odd_in: float = 1.0
    odd_out: float = 1.0

    def predict(self, c_in: int, c_out: int) -> float:
        """Milliseconds at these widths, between the points measured, linear in each width.

        Noise is taken out first: a wider layer is never predicted to be faster.
        """
        table = np.asarray(self.ms, dtype=np.float64)
        table = np.maximum.accumulate(np.maximum.accumulate(table, axis=0), axis=1)
        at_out = np.array([_line(self.c_out, row, c_out) for row in table])
        ms = _line(self.c_in, at_out, c_in)
        if c_in % ALIGNMENT and c_in not in self.c_in:
            ms *= self.odd_in
        if not self.work.tied and c_out % ALIGNMENT and c_out not in self.c_out:
            ms *= self.odd_out
        return float(ms)


def _line(points: Sequence[int], values: np.ndarray, at: int) -> float:
    """The value at ``at``; below the first point along the first piece, never under a quarter."""
    if len(points) == 1:
        return float(values[0])
    if at >= points[0]:
        return float(np.interp(at, points, values))
    slope = (values[1] - values[0]) / (points[1] - points[0])
    return float(max(values[0] - slope * (points[0] - at), values[0] / 4))


@dataclass(frozen=True)
class LayerEntry:
    """One layer of the model.

    Args:
        grid: Index of its grid.
        c_in: Its width.
        c_out: Its width.
        scale: Its time in the model, divided by that of the grid at its widths: what is merged
            into it, and the caches that its neighbours leave.
        elements: Output elements per output channel.
    """

    grid: int
    c_in: int
    c_out: int
    scale: float = 1.0
    elements: int = 0


@dataclass(frozen=True)
class LatencyTable:
    """Latencies of a model's linear layers by width.

    Args:
        grids: What was measured; layers that do the same work share one.
        layers: By node name of the model as given.
        median_ms: The whole model.
        other_ms: All other nodes together; scales with the activations.
        fixed_ms: What is left: dispatch; the same at every width.
        about: ``model``, ``provider``, ``threads``, ``optimization``, ``onnxruntime``, ``machine``,
            ``inputs``.
    """

    grids: tuple[Grid, ...]
    layers: Mapping[str, LayerEntry]
    median_ms: float
    other_ms: float = 0.0
    fixed_ms: float = 0.0
    about: Mapping[str, Any] = field(default_factory=dict)

    def predict(self, layer: str, c_in: int, c_out: int) -> float:
        """Milliseconds of a layer in the model at these widths.

        Args:
            layer: Node name, as in the model that was measured.
            c_in: Input channels.
            c_out: Output channels.

        Raises:
            KeyError: The table does not have that layer.
        """
        entry = self.layers[layer]
        return self.grids[entry.grid].predict(c_in, c_out) * entry.scale

    def predict_model(self, widths: Mapping[str, tuple[int, int]]) -> float:
        """Milliseconds of the whole model with some layers at other widths.

        Other nodes are taken to cost in proportion to the outputs of the linear layers.

        Args:
            widths: ``(c_in, c_out)`` by layer; layers left out keep theirs.
        """
        linear, before, after = 0.0, 0, 0
        for name, entry in self.layers.items():
            c_in, c_out = widths.get(name, (entry.c_in, entry.c_out))
            linear += self.predict(name, c_in, c_out)
            before += entry.c_out * entry.elements
            after += c_out * entry.elements
        return linear + self.fixed_ms + self.other_ms * (after / before if before else 1.0)

    def to_json(self) -> dict[str, Any]:
        """The file's content."""
        return {
            "schema": SCHEMA,
            "kind": KIND,
            **dict(self.about),
            "median_ms": self.median_ms,
            "other_ms": self.other_ms,
            "fixed_ms": self.fixed_ms,
            "layers": {name: asdict(entry) for name, entry in self.layers.items()},
            "grids": [asdict(grid) for grid in self.grids],
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table, whole or not at all."""
        target = Path(path)
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        part.write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")
        os.replace(part, target)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a table.

        Raises:
            DataError: The file is no such table.
        """
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls.from_json(found)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            raise DataError(
                f"{path} is no latency table ({reason}): expected a file that"
                " `onnxslim bench MODEL --table FILE` wrote"
            ) from error

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` gives.

        Raises:
            ValueError: It is something else.
        """
        if found.get("kind") != KIND or found.get("schema") != SCHEMA:
            raise ValueError(f"kind {found.get('kind')!r}, schema {found.get('schema')!r}")
        grids = tuple(_grid(item) for item in found["grids"])
        layers = {str(name): LayerEntry(**entry) for name, entry in found["layers"].items()}
        for name, entry in layers.items():
            if not 0 <= entry.grid < len(grids):
                raise ValueError(f"layer {name!r} has no grid")
        own = ("schema", "kind", "median_ms", "other_ms", "fixed_ms", "layers", "grids")
        return cls(
            grids,
            layers,
            float(found["median_ms"]),
            float(found["other_ms"]),
            float(found["fixed_ms"]),
            {key: value for key, value in found.items() if key not in own},
        )


def _grid(item: Mapping[str, Any]) -> Grid:
    work = dict(item["work"])
    for key in ("rows", "kernel"):
        work[key] = tuple(work[key])
    work["attributes"] = tuple((str(k), _frozen(v)) for k, v in work["attributes"])
    ms = tuple(tuple(map(float, row)) for row in item["ms"])
    c_in, c_out = tuple(map(int, item["c_in"])), tuple(map(int, item["c_out"]))
    if len(ms) != len(c_in) or any(len(row) != len(c_out) for row in ms) or not c_in or not c_out:
        raise ValueError(f"{len(ms)} rows of times for {len(c_in)} x {len(c_out)} widths")
    return Grid(Work(**work), c_in, c_out, ms, float(item["odd_in"]), float(item["odd_out"]))


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
