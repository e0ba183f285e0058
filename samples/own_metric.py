"""An accuracy function of one's own: ``--metric samples/own_metric.py:even_or_odd``.

It gets the outputs by name and the labels of a batch, and gives points (0 to 100) per sample.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import onnxslim
from onnxslim import demo


def even_or_odd(outputs: dict[str, np.ndarray], labels: np.ndarray) -> np.ndarray:
    """100 where the digit found is even or odd as the true one is."""
    digits = next(iter(outputs.values())).argmax(axis=1)
    return np.where(digits % 2 == labels % 2, 100.0, 0.0)


if __name__ == "__main__":
    slim = onnxslim.optimize(demo.model_path()).model
    report = onnxslim.validate(
        demo.model_path(), slim, data=demo.labelled_path(), labels="y",
        metric=f"{Path(__file__)}:even_or_odd",
    )  # fmt: skip
    print(f"even or odd: {report.score.reference} -> {report.score.candidate} points")
