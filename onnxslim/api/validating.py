"""Run two models on the same inputs and judge the difference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from onnxslim.api.options import RunOptions
from onnxslim.api.sources import ModelLike

if TYPE_CHECKING:
    from onnxslim.verify.report import ValidationReport


def validate(
    reference: ModelLike,
    candidate: ModelLike,
    *,
    gates: Mapping[str, float] | None = None,
    labels: str | None = None,
    metric: str = "top1",
    layers: bool = False,
    data: object = None,
    options: RunOptions | None = None,
    allow_external_dir: str | None = None,
) -> ValidationReport:
    """TODO."""
    raise NotImplementedError
