"""Quantization tries equalized channels and fitted integers, and keeps what helps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxslim.api.quantizing import quantize
from onnxslim.testing import shared_worker
from tests.nets import net

TEXT = "h = Conv<pads=[1,1,1,1]>(x, w, b)  r = Relu(h)  g = Conv(r, v)  y = GlobalAveragePool(g)"


def model(spread: float) -> onnx.ModelProto:
    """Two convolutions whose inner channels differ in size."""
    rng = np.random.default_rng(0)
    factors = np.exp(spread * rng.standard_normal(24)).astype(np.float32)
    w = rng.standard_normal((24, 6, 3, 3)).astype(np.float32) * factors[:, None, None, None]
    v = rng.standard_normal((16, 24, 3, 3)).astype(np.float32) / factors[None, :, None, None]
    given: dict[str, Any] = {"x": "float[N,6,12,12]", "w": w, "v": v, "b": (24,)}
    return net(TEXT, **given)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "x.npz"
    rng = np.random.default_rng(1)
    mix = rng.standard_normal((3, 6))
    x = np.moveaxis(rng.standard_normal((96, 12, 12, 3)) @ mix + 0.2, -1, 1)
    np.savez(path, x=x.astype(np.float32))
    return path


def run(spread: float, data: Path, **settings: Any) -> Any:
    return quantize(
        model(spread), data=data, include=("*",), cache=False, worker=shared_worker(), **settings
    )


def names(result: Any) -> list[str]:
    return [entry.name for entry in result.passes if entry.rewrites]


def test_uneven_channels_are_equalized(data: Path) -> None:
    result = run(2.0, data)
    plain = run(2.0, data, improve=False)
    assert "equalize-channels" in names(result)
    assert "equalize-channels" not in names(plain)
    assert result.judgement.sqnr_db > plain.judgement.sqnr_db + 10


def test_even_channels_are_not(data: Path) -> None:
    assert "equalize-channels" not in names(run(0.1, data))


def test_integers_are_fitted_where_that_helps(data: Path) -> None:
    result = run(0.1, data)
    assert "reconstruct-integers" in names(result)
    plain = run(0.1, data, improve=False)
    assert "reconstruct-integers" not in names(plain)
    assert result.judgement.sqnr_db > plain.judgement.sqnr_db
