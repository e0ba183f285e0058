"""Settings of all tests: hypothesis draws the same examples in every run."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings

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
