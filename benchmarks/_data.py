"""Calibration and test data for a model: given beside it, or drawn by what its inputs look like."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from _text import compose

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
    return drawn(model, count)


def more_for(model: Path, folder: Path | None, data: Data) -> Data:
    """The data with ``NAME.more.npz`` of the folder behind its test samples, if there is one."""
    path = None if folder is None else folder / f"{_EXPORTER.sub('', model.stem)}.more.npz"
    if path is None or not path.is_file() or data.labels is None:
        return data
    more = _read(path)
    labels = np.concatenate([data.labels, more.pop("y")])
    given = _named(more, list(data.test))
    test = {name: np.concatenate([array, given[name]]) for name, array in data.test.items()}
    return replace(data, test=test, labels=labels)


def _read(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _named(arrays: Arrays, inputs: list[str]) -> Arrays:
    """A single array is the single input, whatever it is called."""
    return dict(zip(inputs, arrays.values(), strict=True)) if len(inputs) == 1 else arrays


def drawn(model: Path, count: int) -> Data:
    """Pictures of printed text for images, random feeds for the rest."""
    loaded = load(model)
    specs = specs_of(loaded)
    size = picture_size(specs)
    if len(specs) == 1 and size is not None:
        images = compose(count * 2, *size)
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
