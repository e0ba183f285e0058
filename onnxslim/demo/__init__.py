"""The model and data that ship with the package, as used by ``onnxslim demo`` and the samples."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any


def _path(name: str) -> Path:
    return Path(str(files(__name__) / name))


def model_path() -> Path:
    """Return the model: a small ResNet for MNIST digits, BatchNormalization kept."""
    return _path("resnet_mnist.onnx")


def calibration_path() -> Path:
    """Return unlabelled training samples (``input``: N, 1, 28, 28; uint8)."""
    return _path("calib.npz")


def labelled_path() -> Path:
    """Return the held-out samples (``input``) and their labels (``y``: N; int64)."""
    return _path("test.npz")


def facts() -> dict[str, Any]:
    """Return what the training script measured: data set, accuracy, parameters, settings."""
    loaded: dict[str, Any] = json.loads(_path("demo.json").read_text(encoding="utf-8"))
    return loaded
