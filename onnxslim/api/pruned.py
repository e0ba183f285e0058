"""What :func:`onnxslim.prune` gives back, and how it says what was done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from onnxslim.api.prune_options import Goal
from onnxslim.api.results import Result

if TYPE_CHECKING:
    from onnxslim.analysis.budget import Budget
    from onnxslim.analysis.dependency import Group, Kept
    from onnxslim.pipeline.pruning import Cost, Decision
    from onnxslim.report.documents import PruneDocument

Recovery = Literal["none", "data-free", "data"]


@dataclass
class PruneResult(Result):
    """A pruned model.

    Attributes:
        budget: What was asked for and what was reached.
        groups: Groups with what stays of each, as in the JSON document.
        frozen: Layers that stay whole, with the reason.
        recovery: What brought accuracy back.
        quality: Comparison with the model as given: outputs, score, latency; None when not made.
        headline: Budget and channels in one line.
        decision: Everything that was decided; None when the budget cannot be met.
    """

    budget: dict[str, Any] = field(default_factory=dict)
    groups: list[dict[str, Any]] = field(default_factory=list)
    frozen: list[dict[str, str]] = field(default_factory=list)
    recovery: Recovery = "none"
    quality: dict[str, Any] | None = None
    headline: str = ""
    decision: Decision | None = None
    command: str = "prune"

    def document(self) -> PruneDocument:
        """The JSON document of the command."""
        from onnxslim.report.documents import PruneDocument

        return PruneDocument(
            **{f: getattr(base, f) for base in [super().document()] for f in _FIELDS},
            schema=1,
            budget=self.budget,
            recovery=self.recovery,
            groups=self.groups,
            frozen=self.frozen,
            quality=self.quality,
        )


_FIELDS = ("command", "input", "output", "before", "after", "passes", "verification", "warnings",
           "edits")  # fmt: skip


def headline(decision: Decision) -> str:
    """``keeping at most 70 % of the MACs, removing about 38 % of the channels``."""
    before, after = decision.channels
    gone = 100 * (before - after) / max(before, 1)
    budget = decision.budget
    if budget.kind == "ratio":
        kept = [
            f"{100 * cost.part:.0f} % of the {name}"
            for name, cost in _costs(decision)
            if cost.part is not None
        ]
        return f"removing {gone:.0f} % of the channels, keeping about {' and '.join(kept)}"
    return (
        f"keeping at most {_asked(budget, decision)}, removing about {gone:.0f} % of the channels"
    )


def _costs(decision: Decision) -> list[tuple[str, Cost]]:
    return [("MACs", decision.macs), ("parameters", decision.parameters)]


def _asked(budget: Budget, decision: Decision) -> str:
    name, cost = _costs(decision)[budget.kind == "params"]
    dense = cost.before or 0.0
    part = 100 * budget.limit(dense) / dense if dense else 100.0
    percent = f"{part:.3g} % of the {name}"
    return f"{budget.amount:.6g} {name} ({percent})" if budget.absolute else percent


def missed_entry(goal: Budget | Goal) -> dict[str, Any]:
    """``budget`` of the document when it cannot be met."""
    return {"kind": goal.kind, "asked": goal.amount, "met": False}


def budget_entry(decision: Decision, goal: Budget | Goal) -> dict[str, Any]:
    """``budget`` of the document."""
    before, after = decision.channels
    grain = decision.granularity
    return {
        "kind": goal.kind,
        "asked": goal.amount,
        "met": True,
        "macs": _cost_entry(decision.macs),
        "parameters": _cost_entry(decision.parameters),
        "channels": {"before": before, "after": after},
        "round_to": grain.multiple,
        "min_channels": grain.min_channels,
        "halvings": grain.halvings,
    }


def _cost_entry(cost: Cost) -> dict[str, float | int | None]:
    whole = [None if x is None else round(x) for x in (cost.before, cost.after)]
    part = None if cost.part is None else round(cost.part, 6)
    return {"before": whole[0], "after": whole[1], "part": part}


def group_entries(decision: Decision, *, explained: bool = False) -> list[dict[str, Any]]:
    """``groups`` of the document, ``explained`` with what couples their layers."""
    found: list[dict[str, Any]] = [
        {
            "id": group.id,
            "kind": group.kind,
            "channels_before": group.size * group.width,
            "channels_after": int(stays.sum()) * group.width,
            "units": [group.size, int(stays.sum())],
            "kept": _kept_entry(group, decision.kept),
            "layers": list(group.layers),
        }
        for group, stays in decision.groups
    ]
    if explained:
        for entry, (group, _) in zip(found, decision.groups, strict=True):
            entry["coupled"] = [
                {"layers": [first, second], "through": list(path)}
                for first, second, path in decision.dependency.couplings(group)
            ]
    return found


def _kept_entry(group: Group, kept: Kept) -> dict[str, dict[str, list[Any]]]:
    found: dict[str, dict[str, list[Any]]] = {}
    for site in group.sites:
        name = site.value.name or ""
        if not site.constant:
            continue
        if site.axis == 1 and name in kept.grouped:
            found.setdefault(name, {})["1"] = kept.grouped[name].tolist()
        elif site.axis in kept.axes.get(name, {}):
            found.setdefault(name, {})[str(site.axis)] = kept.axes[name][site.axis].tolist()
    return found


def frozen_entries(decision: Decision) -> list[dict[str, str]]:
    """``frozen`` of the document."""
    return [{"layer": f.layer, "reason": f.reason} for f in decision.frozen]


def advice(has_data: bool, quality: Mapping[str, Any] | None) -> list[str]:
    """What data would bring, for a model that was pruned without."""
    if has_data or quality is None:
        return []
    known = [o["sqnr_db"] for o in quality["outputs"].values() if o["sqnr_db"] is not None]
    close = f"its outputs have {min(known):.1f} dB on random inputs; " if known else ""
    return [
        f"PRUNED WITHOUT SAMPLE DATA: {close}give --data with some hundred unlabelled inputs, and "
        "the weights are fitted to them again, layer by layer"
    ]
