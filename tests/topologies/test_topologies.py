"""The topologies are what they claim: valid, running, with weights that are all different."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxslim.testing import shared_worker
from tests.topologies import TOPOLOGIES, UNRUNNABLE
from tests.topologies.feeding import feed_of


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_is_valid_and_documented(name: str) -> None:
    model = TOPOLOGIES[name]()
    onnx.checker.check_model(model, full_check=name not in UNRUNNABLE)
    assert TOPOLOGIES[name].__doc__
    assert model.SerializeToString() == TOPOLOGIES[name]().SerializeToString()


@pytest.mark.parametrize("name", [n for n in TOPOLOGIES if n not in UNRUNNABLE])
def test_runs(name: str) -> None:
    """In two batch sizes where the batch is free; outputs vary and fit what is declared."""
    model = TOPOLOGIES[name]()
    session = shared_worker().session(model.SerializeToString())
    declared = {v.name: v.type.tensor_type.shape.dim for v in model.graph.output}
    free = any(d.dim_param for v in model.graph.input for d in v.type.tensor_type.shape.dim)
    for sizes in ({"N": 3, "L": 4}, {"N": 1}) if free else ({},):
        answers = session.run(feed_of(model, 1, **sizes))
        for output, array in answers.items():
            assert isinstance(array, np.ndarray)
            fixed = [(i, d.dim_value) for i, d in enumerate(declared[output]) if d.dim_value]
            assert len(declared[output]) == array.ndim
            assert [(i, array.shape[i]) for i, _ in fixed] == fixed
            if array.dtype == np.float32:
                assert np.isfinite(array).all() and 1e-3 < array.std() < 100


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_weights_differ(name: str) -> None:
    """No two float vectors are equal: an exporter's merging of equal weights plays no part."""
    tensors = TOPOLOGIES[name]().graph.initializer
    weights = [t for t in tensors if t.name[:2] not in ("c_", "i_", "s_")]
    assert len(weights) > 2
    assert len(weights) == len({numpy_helper.to_array(t).tobytes() for t in weights})
