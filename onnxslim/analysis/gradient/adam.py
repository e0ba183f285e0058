"""Adam with steps relative to the size of what is stepped.

Source: Kingma, Ba 2015, arXiv:1412.6980; relative steps: Shazeer, Stern 2018, arXiv:1804.04235,
section 8.
"""

from __future__ import annotations

import numpy as np

from onnxslim.analysis.gradient.rule import Array

_BETAS = (0.9, 0.99)
_FLOOR = 1e-3  # smallest size of weights that steps are relative to


class Adam:
    """Adam with steps relative to the root mean square of each tensor as it was.

    Args:
        weights: By name.
    """

    def __init__(self, weights: dict[str, Array]) -> None:
        self._scale = {
            n: max(float(np.sqrt(np.mean(np.square(w, dtype=np.float64)))), _FLOOR)
            for n, w in weights.items()
        }
        self._first = {n: np.zeros_like(w) for n, w in weights.items()}
        self._second = {n: np.zeros_like(w) for n, w in weights.items()}
        self._steps = 0

    def step(self, weights: dict[str, Array], grads: dict[str, Array], rate: float) -> None:
        """Change the weights in place."""
        self._steps += 1
        a, b = _BETAS
        for name, gradient in grads.items():
            first, second = self._first[name], self._second[name]
            first += (1 - a) * (gradient - first)
            second += (1 - b) * (gradient * gradient - second)
            mean = first / (1 - a**self._steps)
            spread = np.sqrt(second / (1 - b**self._steps))
            move = mean / (spread + np.float32(1e-12 + 1e-3 * float(spread.mean())))
            weights[name] -= np.float32(rate * self._scale[name]) * move
