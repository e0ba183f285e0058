"""Multiply-accumulates and parameters of a model as a function of what is pruned.

Every cost is a sum of products of axis sizes: a convolution's is its dense cost times the kept part
of its filters times the kept part of its input channels. Changing one group changes few products.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.analysis.cost import batch_of_one, node_macs
from onnxslim.analysis.dependency import Dependency
from onnxslim.analysis.dependency.groups import Indices
from onnxslim.analysis.dims import Dim
from onnxslim.analysis.symbols import substitute, symbols
from onnxslim.graph.edit import all_graphs, attr, get_input, rank_of, shape_of

Owners = Mapping[int, Indices]
"""By group id: (n,) its unit at each position of an axis, -1 elsewhere."""

Positions = Mapping[str, Mapping[int, Owners]]
"""By value name and axis: which groups the positions belong to. Axes that stay are left out."""

Axis = tuple[str, int]

_NO_PARAMETERS = frozenset((ir.DataType.INT64, ir.DataType.BOOL, ir.DataType.STRING))


@dataclass(frozen=True)
class Term:
    """``constant`` times the sizes of the axes.

    Attributes:
        constant: Cost per product of axis sizes.
        axes: Names and axes of tensors, each owned by at least one group.
    """

    constant: float
    axes: tuple[Axis, ...]


class CostModel:
    """Cost of a decision, cheap to bring up to date.

    Args:
        terms: What is added up.
        fixed: Cost that no group has a part in.
        positions: Owners of the axes of the terms.
        orders: By group id: its units in the order in which they leave.
        block: Sizes above it count as the next multiple of it.
    """

    def __init__(
        self,
        terms: Iterable[Term],
        fixed: float,
        positions: Positions,
        orders: Mapping[int, Indices],
        block: int = 1,
    ) -> None:
        self._fixed, self._block = fixed, block
        self._axes: list[Axis] = []
        self._sizes: list[int] = []
        self._left: dict[tuple[int, int], npt.NDArray[np.int64]] = {}
        self._axes_of: dict[int, list[int]] = defaultdict(list)
        self._terms_of: dict[int, dict[int, None]] = defaultdict(dict)
        self._constants: list[float] = []
        self._factors: list[tuple[int, ...]] = []
        numbers: dict[Axis, int] = {}
        for term in terms:
            for axis in term.axes:
                if axis not in numbers:
                    numbers[axis] = self._add_axis(axis, positions, orders)
            self._add_term(term, [numbers[axis] for axis in term.axes])
        self._removed = dict.fromkeys(orders, 0)
        self._costs = [self._term(i) for i in range(len(self._constants))]
        self.total = self._fixed + sum(self._costs)

    def _add_axis(self, axis: Axis, positions: Positions, orders: Mapping[int, Indices]) -> int:
        index = len(self._axes)
        owners = positions[axis[0]][axis[1]]
        self._axes.append(axis)
        self._sizes.append(len(next(iter(owners.values()))))
        for group, units in owners.items():
            order = orders.get(group)
            if order is None:
                continue
            per_unit = np.bincount(units[units >= 0], minlength=len(order))
            self._left[index, group] = np.concatenate([[0], np.cumsum(per_unit[order])])
            self._axes_of[group].append(index)
        return index

    def _add_term(self, term: Term, axes: list[int]) -> None:
        index = len(self._constants)
        self._constants.append(term.constant)
        self._factors.append(tuple(axes))
        for axis in dict.fromkeys(axes):
            for at, group in self._left:
                if at == axis:
                    self._terms_of[group][index] = None

    def _term(self, index: int) -> float:
        product = self._constants[index]
        for axis in self._factors[index]:
            size = self._sizes[axis]
            product *= size if size <= self._block else -(-size // self._block) * self._block
        return product

    def removed(self, group: int) -> int:
        """How many units of a group are out now."""
        return self._removed[group]

    def remove(self, group: int, count: int) -> float:
        """Let exactly the first ``count`` units of a group be out; returns the total cost."""
        before, self._removed[group] = self._removed[group], count
        for axis in self._axes_of[group]:
            left = self._left[axis, group]
            self._sizes[axis] -= int(left[count] - left[before])
        for index in self._terms_of[group]:
            cost = self._term(index)
            self.total += cost - self._costs[index]
            self._costs[index] = cost
        return self.total


class BlockedCost:
    """Cost that also bounds what a machine spends that computes channels in blocks.

    ``total`` is the larger of the cost and of the cost of whole blocks, the latter as a part of the
    dense model's and divided by ``slack``: widths that fill blocks cost what they did, widths that
    fill them badly cost more.

    Args:
        plain: The cost.
        blocked: The same with sizes rounded up.
        slack: How much larger the blocks' part of the dense model may be.
    """

    def __init__(self, plain: CostModel, blocked: CostModel, slack: float) -> None:
        self.plain, self._blocked = plain, blocked
        self._scale = plain.total / max(blocked.total * slack, 1e-30)

    @property
    def total(self) -> float:
        """What is compared with the limit."""
        return max(self.plain.total, self._blocked.total * self._scale)

    def removed(self, group: int) -> int:
        """How many units of a group are out now."""
        return self.plain.removed(group)

    def remove(self, group: int, count: int) -> float:
        """Let exactly the first ``count`` units of a group be out; returns the total cost."""
        self.plain.remove(group, count)
        self._blocked.remove(group, count)
        return self.total


AnyCost = CostModel | BlockedCost
"""What choosing widths needs: ``total``, ``remove`` and ``removed``."""


def positions_of(dependency: Dependency) -> dict[str, dict[int, dict[int, Indices]]]:
    """Owners of the axes of all tensors of a model.

    Axis 1 of the filters of a grouped convolution is owned as its first block: the same number of
    input channels stays in each.
    """
    found: dict[str, dict[int, dict[int, Indices]]] = {}
    known: dict[int, dict[int, Indices]] = {}
    builder, solved = dependency.builder, dependency.solved
    for value, axes in builder.axes_of.items():
        for axis, labels in enumerate(axes or ()):
            if labels is None or not value.name:
                continue
            if id(labels) not in known:
                known[id(labels)] = _owners(solved.group_of[labels], solved.unit_of[labels])
            if known[id(labels)]:
                found.setdefault(value.name, {})[axis] = known[id(labels)]
    for _, weight, table in builder.grouped:
        owners = _owners(solved.group_of[table[0]], solved.unit_of[table[0]])
        if owners and weight.name:
            found.setdefault(weight.name, {})[1] = owners
    return found


def _owners(groups: Indices, units: Indices) -> dict[int, Indices]:
    numbers = np.unique(groups[groups >= 0]).tolist()
    return {number: np.where(groups == number, units, -1) for number in numbers}


def macs_terms(
    model: ir.Model, positions: Positions, bindings: Mapping[str, int]
) -> tuple[list[Term], float] | None:
    """MACs as terms and a fixed rest; None when shapes stay unknown.

    Args:
        model: With inferred shapes.
        positions: Owners of axes.
        bindings: Sizes of symbols.
    """
    sizes: dict[str, Dim] = dict(bindings)
    terms, fixed = [], 0.0
    for node in model.graph:
        macs = node_macs(node)
        number = None if macs is None else _bound(macs, sizes)
        if not isinstance(number, int):
            return None
        if not number:
            continue
        for part, axes in _shares(node):
            owned = tuple(found for found in (_owned(c, positions) for c in axes) if found)
            if owned:
                dense = 1
                for name, axis in owned:
                    dense *= _size(positions, name, axis)
                terms.append(Term(number * part / dense, owned))
            else:
                fixed += number * part
    return terms, fixed


def parameter_terms(model: ir.Model, positions: Positions) -> tuple[list[Term], float]:
    """Elements of all weights, as :func:`onnxslim.analysis.cost.parameter_count` counts them."""
    terms, fixed = [], 0.0
    for graph in all_graphs(model):
        for name, value in graph.initializers.items():
            tensor = value.const_value
            if tensor is None or not len(tensor.shape) or tensor.dtype in _NO_PARAMETERS:
                continue
            axes = tuple((name, axis) for axis in positions.get(name, ()))
            rest = float(tensor.size)
            for _, axis in axes:
                rest /= max(_size(positions, name, axis), 1)
            if axes:
                terms.append(Term(rest, axes))
            else:
                fixed += rest
    return terms, fixed


def _size(positions: Positions, name: str, axis: int) -> int:
    return len(next(iter(positions[name][axis].values())))


def _owned(candidates: Iterable[tuple[ir.Value | None, int]], positions: Positions) -> Axis | None:
    """The first of several names of one axis that a group owns a part of."""
    for value, axis in candidates:
        rank = rank_of(value)
        if value is None or rank is None or not -rank <= axis < rank:
            continue
        found = (value.name or "", axis % rank)
        if positions.get(found[0], {}).get(found[1]):
            return found
    return None


_Axes = list[list[tuple[ir.Value | None, int]]]


def _shares(node: ir.Node) -> list[tuple[float, _Axes]]:
    """Parts of a node's cost, each with the axes it is proportional to (and their other names)."""
    x, w, out = get_input(node, 0), get_input(node, 1), node.outputs[0]
    kind = node.op_type
    if kind in ("LSTM", "GRU", "RNN"):
        return _recurrent(w, get_input(node, 2))
    if kind == "ConvTranspose":
        return [(1.0, [[(x, 1), (w, 0)], [(w, 1)]])]
    if kind.endswith(("Conv", "ConvInteger")):
        w = get_input(node, 3) if kind == "QLinearConv" else w
        return [(1.0, [[(out, 1), (w, 0)], [(w, 1)]])]
    if "Gemm" in kind or "MatMul" in kind:
        return [(1.0, _product(node, x, w if kind != "QLinearMatMul" else get_input(node, 3)))]
    return [(1.0, [[(out, axis)] for axis in range(rank_of(out) or 0)])]


def _product(node: ir.Node, a: ir.Value | None, b: ir.Value | None) -> _Axes:
    """Every axis of the result, and the contracted one."""
    out = node.outputs[0]
    rank = rank_of(out) or 0
    transposed = bool(attr(node, "transA", 0)), bool(attr(node, "transB", 0))
    columns = (b, -2 if transposed[1] else -1)
    axes: _Axes = [[(out, i)] for i in range(rank - 1)]
    if shape_of(b) is not None and len(shape_of(b) or ()) > 1:
        axes.append([(out, rank - 1), columns])
    inner = [(a, -2 if transposed[0] else -1), (b, -1 if transposed[1] else -2)]
    return [*axes, inner]


def _recurrent(w: ir.Value | None, r: ir.Value | None) -> list[tuple[float, _Axes]]:
    """Input and recurrent weights: gates by input, gates by hidden."""
    sizes = [float(np.prod(v.shape.numpy())) if v is not None and v.shape is not None else 0.0
             for v in (w, r)]  # fmt: skip
    total = sum(sizes) or 1.0
    return [
        (sizes[0] / total, [[(w, 1)], [(w, 2)]]),
        (sizes[1] / total, [[(r, 1)], [(r, 2)]]),
    ]


ASSUMED = (128, 1024, 8192, 65536)
"""What dynamic dimensions count as when nobody says their sizes: sequences, heights, widths.

The first that leaves no layer without work: strides eat up short signals.
"""


def bindings_of(model: ir.Model, given: Mapping[str, int]) -> dict[str, int]:
    """A size for every symbol in the shapes: as given, 1 for a batch, else one of `ASSUMED`."""
    known = {**batch_of_one(model), **given}
    costs = [m for m in map(node_macs, model.graph) if m is not None and not isinstance(m, int)]
    free = {name for macs in costs for name in symbols(macs)} - known.keys()
    for size in ASSUMED:
        found = {**known, **dict.fromkeys(sorted(free), size)}
        if all(_positive(macs, found) for macs in costs):
            return found
    return {**known, **dict.fromkeys(sorted(free), ASSUMED[0])}


def _positive(macs: Dim, bindings: Mapping[str, int]) -> bool:
    try:
        number = substitute(macs, dict(bindings))
    except ValueError:  # sizes that cannot be
        return False
    return isinstance(number, int) and number > 0


def _bound(macs: Dim, sizes: Mapping[str, Dim]) -> Dim | None:
    try:
        return substitute(macs, sizes)
    except ValueError:
        return None
