"""Rules on values that inference knows nothing of: nothing may leave there."""

from __future__ import annotations

import pytest

from tests.analysis.dependency.oracle import Ruled, rule
from tests.analysis.dependency.test_computing import CASES, model_of

NO_DATA = {"Gather of a table", "DequantizeLinear", "DequantizeLinear by blocks"}
"""Their first input is no data, or they have none."""


def _of_unknown_rank(case: str, index: int) -> Ruled:
    """A case whose input number ``index`` has no shape."""
    proto = model_of(case)
    for value in (proto.graph.input[index], *proto.graph.output):
        value.type.tensor_type.ClearField("shape")
    return rule(proto)


@pytest.mark.parametrize("case", [c for c in CASES if c not in NO_DATA])
def test_nothing_leaves_where_the_rank_is_unknown(case: str) -> None:
    assert _of_unknown_rank(case, 0).classes() == []


def test_an_initial_state_of_unknown_rank_keeps_the_hidden_units() -> None:
    ruled = _of_unknown_rank("LSTM with states", 1)
    roots = ruled.roots(ruled.node.outputs[0], 3)
    assert roots is None or not roots.any()
