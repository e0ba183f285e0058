"""The passes: one file each, found by ``onnxslim.pipeline.registry``, ordered by recipes."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """``onnxslim.passes.FoldBatchNorm``: the pass class of that name, imported on first use."""
    if name.startswith("_"):
        raise AttributeError(name)
    from onnxslim.errors import UnknownPassError
    from onnxslim.pipeline.registry import get_pass

    try:
        return get_pass(name)
    except UnknownPassError as error:
        raise AttributeError(str(error)) from error
