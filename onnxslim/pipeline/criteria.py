"""Where criteria are found: those shipped, and plug-ins of the group ``onnxslim.criteria``."""

from __future__ import annotations

import dataclasses
from importlib.metadata import entry_points
from typing import Any

from onnxslim.analysis.saliency.activation import Apoz, MeanActivation, Wanda
from onnxslim.analysis.saliency.base import Criterion
from onnxslim.analysis.saliency.geometry import Cosine, Fpgm
from onnxslim.analysis.saliency.magnitude import L1, L2, BnScale, Lamp, Random
from onnxslim.analysis.saliency.obs import Obs
from onnxslim.errors import UsageError

GROUP = "onnxslim.criteria"
SHIPPED: tuple[type[Criterion], ...] = (
    L1, L2, BnScale, Fpgm, Lamp, Cosine, Random, MeanActivation, Apoz, Wanda, Obs,
)  # fmt: skip


def criterion_names() -> list[str]:
    """Names of all criteria, the shipped ones first."""
    return [*(c.name for c in SHIPPED), *sorted(p.name for p in entry_points(group=GROUP))]


def get_criterion(name: str, *, seed: int = 0) -> Criterion:
    """A criterion by name.

    Args:
        name: As ``--criterion`` takes it; ``auto`` is not one, it is resolved before.
        seed: For criteria with a field of that name.

    Raises:
        UsageError: When there is none of that name, or a plug-in is none.
    """
    for cls in SHIPPED:
        if cls.name == name:
            return _made(cls, seed)
    for point in entry_points(group=GROUP):
        if point.name == name:
            return _plugin(point, seed)
    known = ", ".join(criterion_names())
    raise UsageError(f"there is no criterion {name!r}: expected one of {known}")


def _plugin(point: Any, seed: int) -> Criterion:
    try:
        found = point.load()
    except (ImportError, AttributeError) as error:
        raise UsageError(f"criterion {point.name!r} does not load: {error}") from error
    if not callable(getattr(found, "score", None)):
        raise UsageError(f"criterion {point.name!r} is no criterion: it has no method score")
    return _made(found, seed) if isinstance(found, type) else found


def _made(cls: type[Any], seed: int) -> Criterion:
    fields = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
    options = {"seed": seed} if any(f.name == "seed" for f in fields) else {}
    found: Criterion = cls(**options)
    return found
