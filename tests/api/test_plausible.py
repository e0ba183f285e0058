"""Data that contradicts the first BatchNormalization is recognised."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxslim.api.plausible import contradiction
from onnxslim.graph.load import from_proto
from onnxslim.testing import shared_worker
from tests.nets import net

RNG = np.random.default_rng(0)
IMAGES = (RNG.standard_normal((32, 3, 12, 12)) * [[[[1.0]], [[2.0]], [[3.0]]]] + 0.5).astype(
    np.float32
)
WEIGHT = RNG.standard_normal((8, 3, 3, 3)).astype(np.float32)
CONV = net("y = Conv(x, w)", x="float[N,3,12,12]", w=WEIGHT)


def trained() -> Any:
    """A model whose running statistics are those of IMAGES."""
    with shared_worker().session(CONV.SerializeToString()) as session:
        inner = session.run({"x": IMAGES})["y"].astype(np.float64)
    return from_proto(
        net(
            "h = Conv(x, w)  y = BatchNormalization(h, scale, shift, mean, var)",
            x="float[N,3,12,12]",
            w=WEIGHT,
            scale=(8,),
            shift=(8,),
            mean=inner.mean((0, 2, 3)).astype(np.float32),
            var=inner.var((0, 2, 3)).astype(np.float32),
        )
    )


def said(images: Any) -> str:
    return contradiction(trained(), shared_worker(), [{"x": images.astype(np.float32)}])


def test_the_training_data_is_plausible() -> None:
    assert said(IMAGES) == ""
    assert said(IMAGES[:4]) == ""


@pytest.mark.parametrize("factor", [1 / 255, 255.0])
def test_another_scale_is_named(factor: float) -> None:
    text = said(IMAGES * factor)
    assert "varies" in text and "--scale" in text


def test_a_missing_mean_is_named() -> None:
    assert "standard deviations" in said(IMAGES + 40)


def test_a_model_without_batch_normalization_says_nothing() -> None:
    assert contradiction(from_proto(CONV), shared_worker(), [{"x": IMAGES * 255}]) == ""
