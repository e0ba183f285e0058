"""Settings of all tests: hypothesis draws the same examples in every run."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings

from onnxslim.api import prune_goals

settings.register_profile(
    "onnxslim",
    derandomize=True,
    deadline=None,
    print_blob=False,
    phases=[Phase.explicit, Phase.generate, Phase.target, Phase.shrink],
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("onnxslim")


@pytest.fixture(autouse=True, scope="session")
def few_steps() -> None:
    """The last passes of ``prune`` take few of their steps: what they bring is tested alone."""
    prune_goals.MIXED_STEPS = 40
