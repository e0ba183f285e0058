"""Calibration and test data for a model: given beside it, or drawn by what its inputs look like."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxslim.graph.load import load
from onnxslim.runtime.feeds import random_feed
from onnxslim.runtime.specs import InputSpec, specs_of

Arrays = dict[str, np.ndarray[Any, Any]]

_EXPORTER = re.compile(r"_(dynamo|ts)$")


@dataclass(frozen=True)
class Data:
    """Samples of a model's inputs, along the first axis.

    Attributes:
        calibration: By input name; what every tool is given.
        test: By input name; what results are judged on.
        labels: (N,) classes of the test samples, or None.
        drawn: There was none: these are no real samples.
    """

    calibration: Arrays
    test: Arrays
    labels: np.ndarray[Any, Any] | None
    drawn: bool


def data_for(model: Path, folder: Path, count: int) -> Data:
    """``NAME.calib.npz`` and ``NAME.test.npz`` (labels ``y``) of the folder, or drawn samples."""
    for stem in (model.stem, _EXPORTER.sub("", model.stem)):
        files = [folder / f"{stem}.{kind}.npz" for kind in ("calib", "test")]
        if all(f.is_file() for f in files):
            calibration, test = (_read(f) for f in files)
            labels = test.pop("y", None)
            inputs = [spec.name for spec in specs_of(load(model))]
            short = {name: array[:count] for name, array in calibration.items()}
            return Data(_named(short, inputs), _named(test, inputs), labels, False)
    return drawn(model, folder, count)


def _read(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _named(arrays: Arrays, inputs: list[str]) -> Arrays:
    """A single array is the single input, whatever it is called."""
    return dict(zip(inputs, arrays.values(), strict=True)) if len(inputs) == 1 else arrays


def drawn(model: Path, folder: Path, count: int) -> Data:
    """Pictures of handwritten digits in the folder for images, random feeds for the rest."""
    loaded = load(model)
    specs = specs_of(loaded)
    pictures = next(iter(sorted(folder.glob("mnist*_resnet20.test.npz"))), None)
    size = picture_size(specs)
    if len(specs) == 1 and size is not None and pictures is not None:
        digits = _read(pictures)["input"][:, 0] * 0.5 + 0.5
        images = compose(digits, count * 2, *size)
        name = specs[0].name
        return Data({name: images[:count]}, {name: images[count:]}, None, True)
    feeds = [random_feed(specs, seed, model=loaded) for seed in range(2 * count)]
    halves = feeds[:count], feeds[count:]
    joined = [{s.name: np.concatenate([f[s.name] for f in half]) for s in specs} for half in halves]
    return Data(joined[0], joined[1], None, True)


def picture_size(specs: list[InputSpec]) -> tuple[int, int, int] | None:
    """Channels, height and width of a single image input; sizes left open become usual ones."""
    shape = specs[0].shape
    if specs[0].kind != "float" or shape is None or len(shape) != 4 or shape[1] not in (1, 3):
        return None
    height = shape[2] if isinstance(shape[2], int) else 48
    width = shape[3] if isinstance(shape[3], int) else 192 if height == 48 else height
    return int(shape[1]), height, width


def compose(
    digits: np.ndarray[Any, Any], count: int, channels: int, height: int, width: int
) -> np.ndarray[Any, Any]:
    """Lines of digits on coloured paper with uneven light; float32 in about [-1, 1].

    Args:
        digits: (N, 28, 28) in [0, 1].
        count: How many pictures.
        channels: 1 or 3.
        height: Of a picture.
        width: Of a picture.
    """
    rng = np.random.default_rng(0)
    images = np.empty((count, channels, height, width), np.float32)
    for image in images:
        line_height = int(rng.integers(max(height // 2, 8), height + 1))
        ink = np.zeros((height, width))
        top, x = int(rng.integers(0, height - line_height + 1)), int(rng.integers(0, 8))
        rows = np.arange(line_height) * 28 // line_height
        while x + line_height <= width:
            one = digits[rng.integers(len(digits))][np.ix_(rows, rows)]
            ink[top : top + line_height, x : x + line_height] += one
            x += int(line_height * rng.uniform(0.6, 1.2))
        if rng.random() < 0.5:
            ink = ink[::-1, ::-1]
        light = np.linspace(*rng.uniform(0.6, 1.0, 2), width) * rng.uniform(0.7, 1.0)
        paper, pen = rng.uniform(0.4, 1.0, channels), rng.uniform(0.0, 0.5, channels)
        mixed = paper[:, None, None] * (1 - ink) + pen[:, None, None] * np.clip(ink, 0, 1)
        noisy = mixed * light + 0.03 * rng.standard_normal((channels, height, width))
        image[:] = (np.clip(noisy, 0, 1) - 0.5) / 0.5
    return images
