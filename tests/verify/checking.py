"""Comparing two small models in tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from onnxslim.runtime.worker import Worker
from onnxslim.verify.numerics import Verification, verify
from tests.nets import net


def check(
    worker: Worker, reference: onnx.ModelProto, candidate: onnx.ModelProto, **options: Any
) -> Verification:
    """Verify one model against another."""
    return verify(
        reference.SerializeToString(),
        candidate.SerializeToString(),
        worker=worker,
        model=ir.from_proto(reference),
        **options,
    )


def same_outputs(body: str, like: onnx.ModelProto, **given: Any) -> onnx.ModelProto:
    """A model with the outputs that another one declares."""
    model = net(body, **given)
    del model.graph.output[:]
    model.graph.output.extend(like.graph.output)
    return model


def feeds(*shapes: Sequence[int], name: str = "x") -> list[dict[str, np.ndarray]]:
    """Normal random feeds of one input."""
    rng = np.random.default_rng(7)
    return [{name: rng.standard_normal(shape).astype(np.float32)} for shape in shapes]
