"""Decides what a model loses: groups, scores, widths, as the pass ``prune-channels`` was asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.allocation import allocate
from onnxslim.analysis.budget import BLOCK, Budget, Granularity, parts_in_blocks
from onnxslim.analysis.dependency import Dependency, Frozen, Group, Kept
from onnxslim.analysis.dependency.groups import Mask
from onnxslim.analysis.pruned_cost import (
    AnyCost,
    BlockedCost,
    CostModel,
    bindings_of,
    macs_terms,
    parameter_terms,
    positions_of,
)
from onnxslim.analysis.saliency.base import Array
from onnxslim.analysis.selection import (
    Candidate,
    Scope,
    candidate,
    mask,
    select_cost,
    select_ratio,
    unevenness,
)
from onnxslim.errors import TargetError, UnsupportedModelError
from onnxslim.graph.globs import nothing_matches
from onnxslim.graph.provenance import is_known, matching_nodes

PRUNED = "onnxslim.pruned"
"""``model.meta`` key: the :class:`Decision` that ``prune-channels`` cut into the model."""


@dataclass(frozen=True)
class Wishes:
    """What is asked for, besides the budget.

    Attributes:
        scope: Where units compete.
        granularity: Portions and minimum.
        keep: GLOBs of layers that are not touched.
        layers: GLOBs with ratios of their own.
        sizes: Sizes of dynamic dimensions, for counting MACs.
    """

    scope: Scope = "local"
    granularity: Granularity = field(default_factory=Granularity)
    keep: tuple[str, ...] = ()
    layers: tuple[tuple[str, float], ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Cost:
    """Before and after, of the model as it is when it is cut; None when shapes stay unknown."""

    before: float | None
    after: float | None

    @property
    def part(self) -> float | None:
        """What is left, 0 to 1."""
        return self.after / self.before if self.before and self.after is not None else None


@dataclass(frozen=True, eq=False)
class Decision:
    """What leaves.

    Attributes:
        dependency: Of the dense model, which is not the one that is cut.
        budget: What was asked for.
        granularity: What it was met with.
        groups: Groups that may be pruned, with what stays of each.
        kept: What stays of every tensor.
        frozen: Layers that stay whole, and why.
        macs: For one sample.
        parameters: Elements of all weights.
    """

    dependency: Dependency
    budget: Budget
    granularity: Granularity
    groups: tuple[tuple[Group, Mask], ...]
    kept: Kept
    frozen: tuple[Frozen, ...]
    macs: Cost
    parameters: Cost

    @property
    def channels(self) -> tuple[int, int]:
        """Units of all groups before and after."""
        before = sum(group.size for group, _ in self.groups)
        return before, sum(int(stays.sum()) for _, stays in self.groups)


_USED = 0.9
"""Blocks of 16 channels are preferred where so much of the MACs allowed can be used with them."""

_BLOCKS: tuple[tuple[Literal["all", "grouped"], float | None], ...] = (
    ("all", None),
    ("grouped", 1.05),
)
"""Which widths fill blocks, and how much larger than the part of the MACs the part of the blocks
computed may be."""

_CLEARLY, _FAR = 0.8, 0.5
"""Parts of a loss that are clearly, and far smaller."""

_UNEVEN = 0.05
"""Variance of the parts that groups keep below which widths are even enough."""


class Planner:
    """Finds widths for one model; the dependency analysis and cost tables are made once.

    Args:
        dependency: Of the model.
        wishes: What is asked for.

    Raises:
        UsageError: When a GLOB matches nothing.
        TargetError: When nothing can be pruned.
    """

    def __init__(self, dependency: Dependency, wishes: Wishes) -> None:
        self.dependency, self.wishes = dependency, wishes
        model = dependency.model
        self._positions = positions_of(dependency)
        untouched: dict[int, str] = {}
        for node, glob in _layers(model, "--keep", wishes.keep).items():
            for group in self._groups_at((*node.inputs, *node.outputs)):
                untouched.setdefault(group, glob)
        self.ratios: dict[int, float] = {}
        for glob, ratio in wishes.layers:
            for node in _layers(model, "--layer", [glob]):
                self.ratios.update(dict.fromkeys(self._groups_at(node.outputs), ratio))
        self.groups = [g for g in dependency.groups if g.id not in untouched]
        self._spared = {
            name: Frozen(name, f"--keep {untouched[group.id]!r}")
            for group in dependency.groups
            if group.id in untouched
            for name in group.layers
        }
        if not self.groups:
            raise TargetError(f"no channel can be pruned{self._reason()}; nothing was written")
        bindings = bindings_of(model, wishes.sizes)
        self._macs = macs_terms(model, self._positions, bindings)
        self._parameters = parameter_terms(model, self._positions)

    def _groups_at(self, values: Iterable[ir.Value | None]) -> list[int]:
        """Ids of the groups with a part in any axis of some tensors."""
        axes = [self._positions.get(v.name or "", {}) for v in values if v is not None]
        return sorted({g for own in axes for owners in own.values() for g in owners})

    def _reason(self) -> str:
        frozen = self.frozen()
        return (
            f": {frozen[0].layer}: {frozen[0].reason}"
            if frozen
            else ": its main graph has no layer with constant weights"
        )

    def frozen(self) -> tuple[Frozen, ...]:
        """Layers that stay whole: by nature, then by wish."""
        pruned = {name for group in self.groups for name in group.layers}
        spared = [f for name, f in self._spared.items() if name not in pruned]
        return (*self.dependency.frozen, *spared)

    def dense(self, kind: str) -> float:
        """MACs or parameters of the whole model.

        Raises:
            UnsupportedModelError: When shapes stay unknown.
        """
        return self._cost(kind, []).total

    def _cost(self, kind: str, items: Sequence[Candidate], block: int = 1) -> CostModel:
        terms = self._macs if kind == "macs" else self._parameters
        if terms is None:
            raise UnsupportedModelError(
                "the MACs of the model cannot be counted, because shapes stay unknown: describe "
                "its inputs with --input-shape, or give --params or --ratio in place of --macs"
            )
        orders = {item.group.id: item.order for item in items}
        return CostModel(*terms, self._positions, orders, block)

    def decide(
        self,
        budget: Budget,
        scores: Mapping[int, Array],
        before: Mapping[int, Mask] | None = None,
        errors: Mapping[int, Array] | None = None,
    ) -> Decision:
        """Widths and units for a budget.

        Args:
            budget: The target.
            scores: By group id (size,); the lowest leave first.
            before: What an earlier step left of the groups; what is out stays out.
            errors: By group id (size + 1,): predicted error when the first k units are out; with
                them a cost is met with the least error, instead of by the scope.

        Raises:
            TargetError: When the budget cannot be met, whatever is removed.
        """
        grain: Granularity = self.wishes.granularity
        if budget.kind == "macs" and grain.round_to is None:
            in_blocks = partial(self._in_blocks, budget, scores, before or {}, errors)
            filled = self._filled(in_blocks, grain, errors is None)
            if filled is not None:
                return filled
        while True:
            items = self._candidates(scores, before or {}, grain)
            removed, reached = self._select(budget, items, errors)
            if removed is not None:
                return self._decision(budget, grain, items, removed)
            finer = grain.halved()
            if finer is None or (finer.halvings > 1 and _is_finest(grain, self.groups)):
                raise TargetError(self._missed(budget, reached))
            grain = finer

    def _filled(
        self,
        in_blocks: Callable[[Granularity], tuple[float, Decision] | None],
        grain: Granularity,
        uneven: bool,
    ) -> Decision | None:
        """Widths that fill blocks of channels, those of the parts of grouped convolutions if the
        loss is not far larger so; None where too little of the budget can be used so.

        Args:
            in_blocks: Loss and widths.
            grain: Of all.
            uneven: The loss is how uneven they are.
        """
        whole = in_blocks(grain)
        if not any(map(parts_in_blocks, self.groups)):
            return None if whole is None else whole[1]
        fast = in_blocks(replace(grain, parts=True))
        if fast is None or whole is None:
            fast = fast or whole
        elif whole[0] < _FAR * fast[0] and (not uneven or fast[0] > _UNEVEN):
            fast = whole
        return None if fast is None else fast[1]

    def _in_blocks(
        self,
        budget: Budget,
        scores: Mapping[int, Array],
        before: Mapping[int, Mask],
        errors: Mapping[int, Array] | None,
        grain: Granularity,
    ) -> tuple[float, Decision] | None:
        """Loss and widths that fill blocks of channels.

        Either all fill them, or, if the loss is clearly smaller so, no more blocks are computed
        than the budget allows by a little.
        """
        found: tuple[float, Decision] | None = None
        for blocks, slack in _BLOCKS:
            own = replace(grain, blocks=blocks)
            items = self._candidates(scores, before, own)
            removed, reached = self._select(budget, items, errors, slack)
            if removed is None or reached < _USED * budget.limit(self.dense("macs")):
                continue
            loss = (
                unevenness(items, removed)
                if errors is None
                else sum(float(errors[group][count]) for group, count in removed.items())
            )
            if found is None or loss < _CLEARLY * found[0]:
                found = loss, self._decision(budget, own, items, removed)
        return found

    def _candidates(
        self, scores: Mapping[int, Array], before: Mapping[int, Mask], grain: Granularity
    ) -> list[Candidate]:
        found = []
        for group in self.groups:
            own = scores[group.id]
            if group.id in before:
                own = np.where(before[group.id], own, -1.0)
            found.append(candidate(group, own, grain, self.ratios.get(group.id)))
        return found

    def _select(
        self,
        budget: Budget,
        items: Sequence[Candidate],
        errors: Mapping[int, Array] | None,
        slack: float | None = None,
    ) -> tuple[dict[int, int] | None, float]:
        """Units that leave per group, or None; and the cost reached."""
        if budget.kind == "ratio":
            removed = select_ratio(items, budget.amount, self.wishes.scope)
            nothing = budget.amount > 0 and not any(removed.values())
            return (None if nothing else removed), 0.0
        plain, limit = self._cost(budget.kind, items), budget.limit(self.dense(budget.kind))
        cost: AnyCost = plain
        if slack is not None:
            cost = BlockedCost(plain, self._cost(budget.kind, items, BLOCK), slack)
        if errors is not None:
            found = allocate(items, errors, cost, limit)
        else:
            found = select_cost(items, cost, limit, self.wishes.scope)
        return found, plain.total

    def _missed(self, budget: Budget, reached: float) -> str:
        if budget.kind == "ratio":
            return f"--ratio {budget.amount:g} removes no channel: every group is at its minimum"
        dense = self.dense(budget.kind)
        what = "MACs" if budget.kind == "macs" else "parameters"
        return (
            f"--{budget.kind} asks for at most {budget.limit(dense):.4g} of {dense:.4g} {what}; "
            f"the least that pruning reaches is {reached:.4g} ({100 * reached / dense:.1f} %): "
            "allow that much, or less with --min-channels 1 --round-to 1 or fewer --keep"
        )

    def _decision(
        self,
        budget: Budget,
        grain: Granularity,
        items: Sequence[Candidate],
        removed: Mapping[int, int],
    ) -> Decision:
        masks = {item.group.id: mask(item, removed[item.group.id]) for item in items}
        costs = []
        for kind in ("macs", "params"):
            if kind == "macs" and self._macs is None:
                costs.append(Cost(None, None))
                continue
            cost = self._cost(kind, items)
            dense = cost.total
            for group, count in removed.items():
                cost.remove(group, count)
            costs.append(Cost(dense, cost.total))
        return Decision(
            self.dependency,
            budget,
            grain,
            tuple((group, masks[group.id]) for group in self.groups),
            self.dependency.kept(masks),
            self.frozen(),
            *costs,
        )


def _is_finest(grain: Granularity, groups: Sequence[Group]) -> bool:
    """Whether halving again changes nothing."""
    finer = grain.halved()
    return finer is None or all(
        (grain.portion(g), grain.least(g)) == (finer.portion(g), finer.least(g)) for g in groups
    )


def _layers(model: ir.Model, option: str, globs: Sequence[str]) -> dict[ir.Node, str]:
    """The nodes that GLOBs mean, each with the first GLOB.

    Raises:
        UsageError: When one matches nothing.
    """
    found: dict[ir.Node, str] = {}
    for glob in globs:
        nodes = matching_nodes(model, glob)
        if not nodes and not is_known(model, glob):
            raise nothing_matches(option, glob)
        for node in nodes:
            found.setdefault(node, glob)
    return found
