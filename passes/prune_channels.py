"""Remove the channels, filters, neurons, hidden units and heads that a model misses least.

Coordinates of tensor axes that can only leave together form units, units that take part in the
same places form groups (``onnxslim.analysis.dependency``). In every group the units with the lowest
scores leave; how many says the budget. Weights are sliced, attributes and literal sizes follow.

Source: Fang et al. 2023 (DepGraph), arXiv:2301.12900, for pruning whole groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

import onnx_ir as ir

from onnxslim.analysis.allocation import tempered
from onnxslim.analysis.budget import Budget, Granularity, Kind, parse_layer_ratio, schedule
from onnxslim.analysis.copies import working_copy
from onnxslim.analysis.dependency import Group, analyze
from onnxslim.analysis.dependency.groups import Mask
from onnxslim.analysis.saliency.base import Array, Criterion
from onnxslim.analysis.saliency.statistics import Statistics, measure
from onnxslim.analysis.saliency.weights import Weights
from onnxslim.errors import CalibrationError, UsageError
from onnxslim.graph.save import stage
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.criteria import get_criterion
from onnxslim.pipeline.privatize import privatize
from onnxslim.pipeline.pruning import PRUNED, Decision, Planner, Wishes
from onnxslim.pipeline.reference import Reference
from onnxslim.pipeline.scoring import score_groups
from onnxslim.pipeline.sensitivity import predicted_errors
from onnxslim.pipeline.surgery import cut

T = TypeVar("T")


@register
@dataclass(frozen=True)
class PruneChannels(Pass):
    """Remove whole channels, hidden units and attention heads, across all layers they connect.

    Exactly one of ``ratio``, ``macs`` and ``params`` says how much. Layers are left alone when an
    operator between them and the next layer has no rule, or when their outputs are the model's.

    Args:
        ratio: Part of the channels to remove, 0 to below 1.
        macs: Keep at most this part of the multiply-accumulates (up to 1), or this number.
        params: Keep at most this part of the parameters (up to 1), or this number.
        criterion: How units are scored; ``auto`` is ``obs`` with calibration data, else ``l2``.
        scope: Where units compete: in their group, in the model, or in groups of a kind; ``auto``:
            widths with the least predicted error for ``macs`` and ``params`` with calibration data,
            else every group alike.
        keep: GLOBs of layers that are not touched.
        layers: ``GLOB=R``: ratios of single layers, whatever the budget says.
        round_to: Kept channels are a multiple of it; 0 is 8, less where a budget asks for it.
        min_channels: Channels that every group keeps; 0 is the larger of 8 and 12 %.
        steps: Number of steps in which the budget is approached, with new scores each time.
        schedule: ``linear`` or ``polynomial``: how far each step goes.
        dims: ``NAME=SIZE``: sizes of dynamic dimensions, for counting MACs (128 by default).
        seed: Of criteria that draw.
        caution: How much predicted errors count for more where a group loses much; 0 not at all.
    """

    name: ClassVar[str] = "prune-channels"
    numerics: ClassVar[Numerics] = Numerics.LOSSY

    ratio: float = 0.0
    macs: float = 0.0
    params: float = 0.0
    criterion: str = "auto"
    scope: Literal["auto", "local", "global", "isomorphic"] = "auto"
    keep: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    round_to: int = 0
    min_channels: int = 0
    steps: int = 1
    schedule: Literal["linear", "polynomial"] = "linear"
    dims: tuple[str, ...] = ()
    seed: int = 0
    caution: float = 1.0

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Decide and cut; returns the number of tensors that became smaller or private."""
        budget, wishes = self.budget(), self.wishes()
        criterion = self.chosen(ctx.calibration is not None)
        if criterion.needs_data and ctx.calibration is None:
            raise CalibrationError(
                f"the criterion {criterion.name} looks at activations, but there are no samples; "
                "give --data, or another --criterion"
            )
        count = privatize(ctx)
        dense = working_copy(model)
        planner = Planner(analyze(dense), wishes)
        decision = self._decide(planner, budget, criterion, ctx)
        count += cut(ctx, decision.kept)
        ctx.reference = Reference(dense, decision.kept)
        model.meta[PRUNED] = decision
        if decision.granularity.halvings:
            ctx.warnings.append(
                f"widths are multiples of {decision.granularity.multiple}, not of 8, because the "
                "budget cannot be met otherwise; odd widths can be slower than the dense model"
            )
        return count

    def budget(self) -> Budget:
        """The one budget that was given.

        Raises:
            UsageError: When there is none or more than one.
        """
        kinds: tuple[Kind, ...] = ("ratio", "macs", "params")
        given = [k for k in kinds if getattr(self, k)]
        if len(given) != 1:
            what = " and ".join(given) or "none"
            raise UsageError(f"expected one of ratio, macs and params as a budget, found {what}")
        return Budget(given[0], getattr(self, given[0]))

    def wishes(self) -> Wishes:
        """Everything else that was asked for."""
        sizes = {}
        for text in self.dims:
            name, _, size = text.rpartition("=")
            if not name or not size.isdigit():
                raise UsageError(f"dims has {text!r}: expected NAME=SIZE")
            sizes[name] = int(size)
        return Wishes(
            "local" if self.scope == "auto" else self.scope,
            Granularity(self.round_to or None, self.min_channels or None),
            self.keep,
            tuple(parse_layer_ratio(text) for text in self.layers),
            sizes,
        )

    def chosen(self, has_data: bool) -> Criterion:
        """The criterion, ``auto`` resolved."""
        automatic = "obs" if has_data else "l2"
        name = automatic if self.criterion == "auto" else self.criterion
        return get_criterion(name, seed=self.seed)

    def _allocates(self, budget: Budget, criterion: Criterion) -> bool:
        """Whether widths follow from predicted errors."""
        return (
            self.scope == "auto" and criterion.needs_grams and budget.kind != "ratio"
            and self.steps == 1
        )  # fmt: skip

    def _decide(
        self, planner: Planner, budget: Budget, criterion: Criterion, ctx: PassContext
    ) -> Decision:
        model = planner.dependency.model
        dense = 0.0 if budget.kind == "ratio" else planner.dense(budget.kind)
        weights, statistics = Weights(), Statistics()
        if criterion.needs_data:
            statistics = _remembered(
                ctx,
                f"statistics {criterion.needs_grams}",
                lambda: _measured(ctx, model, planner.groups, criterion.needs_grams),
            )
        masks: dict[int, Mask] = {}
        parts = schedule(self.steps, self.schedule)
        for number, part in enumerate(parts):
            scores = score_groups(planner.groups, _scorer(criterion, weights, statistics), masks)
            target = budget if number == len(parts) - 1 else budget.at(part, dense)
            errors = None
            if self._allocates(target, criterion):
                predicted = _remembered(
                    ctx,
                    "predicted errors",
                    lambda: predicted_errors(ctx, model, planner.groups, statistics),
                )
                errors = tempered(predicted, self.caution)
            decision = planner.decide(target, scores, masks, errors)
            masks = {group.id: stays for group, stays in decision.groups}
            weights = Weights(decision.kept)
        return decision


def _scorer(
    criterion: Criterion, weights: Weights, statistics: Statistics
) -> Callable[[Group], Array]:
    return lambda group: criterion.score(group, weights, statistics)


def _remembered(ctx: PassContext, key: str, compute: Callable[[], T]) -> T:
    """What an earlier run on a copy of the same model found, or what ``compute`` finds now."""
    key = f"prune-channels {key}"
    if key not in ctx.memory:
        ctx.memory[key] = compute()
    found: T = ctx.memory[key]
    return found


def _measured(
    ctx: PassContext, model: ir.Model, groups: Iterable[Group], grams: bool
) -> Statistics:
    feeds: Iterable[Mapping[str, Any]] = ctx.calibration
    with stage(model) as staged, ctx.worker.session(staged.model_path, label="the model") as s:
        return measure(s, feeds, groups, covariances=grams)
