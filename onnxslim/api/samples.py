"""Sample data for a model, as the options describe it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir as ir

from onnxslim.api.options import RunOptions
from onnxslim.errors import UsageError
from onnxslim.runtime.data import DataOptions, DataSource, ImageOptions, open_data
from onnxslim.runtime.dims import Description
from onnxslim.runtime.images import parse_channels, parse_image_size
from onnxslim.runtime.specs import InputSpec


def open_samples(
    options: RunOptions,
    specs: Sequence[InputSpec],
    description: Description,
    model: ir.Model,
    *,
    samples: int | None = None,
    labels: str | None = None,
    calibration: bool = False,
    allow_random: bool = False,
) -> DataSource:
    """Open ``options.data`` for a model.

    Raises:
        DataError: When the data is missing or does not fit the inputs.
    """
    reading = DataOptions(
        samples=options.samples if options.samples is not None else samples,
        seed=options.seed,
        labels=labels,
        images=image_options(options.data_options),
        description=description,
        calibration=calibration,
        allow_random=allow_random,
    )
    return open_data(options.data, specs, reading, model=model)


_CHOICES = {
    "resize": ("stretch", "crop", "letterbox", "keep-height"),
    "channel_order": ("rgb", "bgr"),
    "layout": ("nchw", "nhwc"),
}


def image_options(texts: Mapping[str, Any]) -> ImageOptions:
    """Image options from values as the command line has them.

    Raises:
        UsageError: For a value that is none of those allowed.
    """
    found: dict[str, Any] = {}
    for key, value in texts.items():
        allowed = _CHOICES.get(key)
        if allowed is not None and value not in allowed:
            option = key.replace("_", "-")
            raise UsageError(f"--{option} is {value!r}: expected one of {', '.join(allowed)}")
        if key == "image_size" and isinstance(value, str):
            found["size"] = parse_image_size(value)
        elif key in ("mean", "std") and isinstance(value, str):
            found[key] = parse_channels(f"--{key}", value)
        else:
            found[key] = value
    return ImageOptions(**found)
