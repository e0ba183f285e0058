"""What the dependency analysis finds: groups of coordinates that can only leave together.

A *unit* is the smallest thing that can be removed: one index of a layer's output channels with
every index of every other axis that depends on it (a whole attention head is one unit, too). A
*group* holds the units that take part in the same places, so that they compete with each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class Role(StrEnum):
    """What happens to an axis at a node.

    * ``PRODUCE``: an axis of a constant that makes units (rows of a filter, its bias).
    * ``CONSUME``: the axis is contracted; removing a coordinate removes a summand. There is one
      site for the data tensor and, where the other operand is constant, one for that constant.
    * ``SCALE``: an axis of a constant that acts per unit on the way (normalization, PRelu,
      broadcast operands).
    * ``STATISTIC``: a data axis that the node reduces over: the values of what is kept change.
    """

    PRODUCE = "produce"
    CONSUME = "consume"
    SCALE = "scale"
    STATISTIC = "statistic"


@dataclass(frozen=True, eq=False)
class Site:
    """An axis of a tensor where units of a group take part.

    Attributes:
        node: The node that reads the tensor.
        role: What it does with the axis.
        value: The tensor: an initializer, or a data tensor for ``CONSUME`` and ``STATISTIC``.
        axis: The axis, counted from the front.
        units: (n,) for each position of the axis its unit in the group, -1 for positions that
            belong to other groups or stay.
    """

    node: ir.Node
    role: Role
    value: ir.Value
    axis: int
    units: Indices

    @property
    def constant(self) -> bool:
        """True for an axis of a weight."""
        return self.value.producer() is None and self.value.const_value is not None


@dataclass(frozen=True, eq=False)
class Group:
    """Units that compete: each can be removed alone, all take part in the same places.

    Attributes:
        id: Position in :attr:`Dependency.groups`.
        size: Number of units.
        cells: (size,) cell of each unit; the same number must be kept in every cell (one cell
            when there is no such constraint; blocks of a grouped convolution are cells).
        width: Positions that one unit takes where it is made and where it is read, the lesser of
            both (8 for heads of 8 channels).
        sites: Where they take part.
        layers: Names of the nodes whose weights produce or consume them, in graph order.
        kind: ``channel``, ``head`` (units of several positions) or ``hidden`` (recurrent).
    """

    id: int
    size: int
    cells: Indices
    width: int
    sites: tuple[Site, ...]
    layers: tuple[str, ...]
    kind: str

    @property
    def statistics(self) -> bool:
        """True when a node computes statistics over the units (LayerNormalization)."""
        return any(site.role is Role.STATISTIC for site in self.sites)

    @property
    def cell_count(self) -> int:
        """Number of cells."""
        return int(self.cells.max()) + 1 if self.size else 0

    def of_role(self, role: Role, *, constant: bool | None = None) -> tuple[Site, ...]:
        """The sites of a role."""
        found = (s for s in self.sites if s.role is role)
        return tuple(s for s in found if constant is None or s.constant is constant)


@dataclass(frozen=True)
class Frozen:
    """A layer whose outputs cannot be pruned, and why."""

    layer: str
    reason: str


@dataclass(frozen=True, eq=False)
class Kept:
    """The decision, compiled: which indices stay on which axis of which tensor.

    Attributes:
        axes: By value name (initializers and data tensors of the model before surgery, names
            that surgery keeps) and axis: sorted indices that stay. Axes that stay whole are
            left out.
        grouped: By name of the filter of a grouped convolution: (group, C/group kept) indices, for
            each block of filters those of its axis 1 that stay.
    """

    axes: Mapping[str, Mapping[int, Indices]]
    grouped: Mapping[str, Indices] = field(default_factory=dict)

    def take(self, name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The part of a tensor of the dense model that the pruned model still has."""
        for axis, index in self.axes.get(name, {}).items():
            array = np.take(array, index, axis=axis)
        return array
