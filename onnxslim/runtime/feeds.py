"""Random, valid, reproducible content for the inputs of any model."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxslim.errors import DataError, UsageError
from onnxslim.runtime.dims import Description, Values
from onnxslim.runtime.hints import Hint, hints_of
from onnxslim.runtime.sizes import Dims
from onnxslim.runtime.specs import Array, Feed, InputSpec, kind_of, shape_text

if TYPE_CHECKING:
    import onnx_ir as ir

_MAX_BYTES = 2 << 30
_NO_BOUND = 10
_LARGEST_INDEX = 30_000
_WORDS = ("hello", "world", "a b c", "Onnx", "42")
_LENGTHS = re.compile(r"(^|[^a-z])(len|lens|length|lengths)($|[^a-z])")
_RATES = frozenset({"sr", "fs", "rate", "sample_rate", "sampling_rate", "samplerate"})


@dataclass(frozen=True)
class Draw:
    """How content is drawn.

    Args:
        seed: Together with an input's name it decides that input's content.
        low: Lower end of floats.
        high: Upper end of floats.
        bounds: Values of these integer inputs stay below; wins over what the model shows.
    """

    seed: int = 0
    low: float = -1.0
    high: float = 1.0
    bounds: Mapping[str, int] = field(default_factory=dict)


def random_feed(
    specs: Sequence[InputSpec],
    seed: int = 0,
    *,
    model: ir.Model | None = None,
    description: Description | None = None,
    sizes: Mapping[str, int] | None = None,
) -> Feed:
    """Draws one feed with guessed sizes for what is dynamic.

    Args:
        specs: The inputs.
        seed: The same seed gives the same feed.
        model: Used to see which integers index a table, and which sizes layers want.
        description: What the user said; it wins.
        sizes: Sizes of dynamic dimensions by key (``Dims``), over the guesses.

    Raises:
        DataError: An input is a sequence, an optional, sparse, or too large.
    """
    given = description or Description()
    hints = {} if model is None else hints_of(model)
    dims = Dims(specs, given, hints)
    shapes = dims.shapes({**dims.sizes(), **(sizes or {})})
    return draw_feed(specs, shapes, given, hints, Draw(seed))


def draw_feed(
    specs: Sequence[InputSpec],
    shapes: Mapping[str, tuple[int, ...]],
    description: Description,
    hints: Mapping[str, Hint],
    draw: Draw,
) -> Feed:
    """Draws content for inputs of known shapes."""
    feed: Feed = {}
    for spec in specs:
        shape = shapes[spec.name]
        _refuse(spec, shape)
        if spec.name in description.values:
            feed[spec.name] = filled(spec, shape, description.values[spec.name])
            continue
        rng = np.random.default_rng(zlib.crc32(f"{draw.seed}/{spec.name}".encode()))
        hint = hints.get(spec.name, Hint())
        bound = draw.bounds.get(spec.name, hint.bound)
        steps = _steps(specs, shapes, spec.name)
        feed[spec.name] = _content(spec, shape, rng, draw, bound, steps)
    return feed


def filled(spec: InputSpec, shape: tuple[int, ...], value: Values) -> Array:
    """An array full of what ``--input-value`` gave.

    Raises:
        UsageError: The value does not fit the type or the last axis.
    """
    content = np.asarray(value)
    kind, expected = kind_of(content.dtype), spec.kind
    ranks = {"bool": 0, "int": 1, "float": 2, "complex": 3}
    numbers = kind in ranks and expected in ranks and ranks[kind] <= ranks[expected]
    if not (numbers or (expected == "string" and kind == "string")):
        raise UsageError(f"--input-value: {value!r} does not fit input {spec}")
    try:
        full = np.broadcast_to(content, shape)
    except ValueError:
        raise UsageError(
            f"--input-value: {content.size} values for input {spec.name!r} do not fill"
            f" {shape_text(shape)}"
        ) from None
    if isinstance(spec.dtype, str):
        return full.astype(object)
    if expected == "int" and not np.array_equal(full.astype(spec.dtype).astype(np.int64), full):
        raise UsageError(f"--input-value: {value!r} is out of range for input {spec}")
    return full.astype(spec.dtype)


def zeros(spec: InputSpec, shape: tuple[int, ...]) -> Array:
    """What a state starts from."""
    _refuse(spec, shape)
    if isinstance(spec.dtype, str):
        return np.full(shape, "", dtype=object)
    return np.zeros(shape, spec.dtype)


def feed_back(
    feed: Mapping[str, Array], outputs: Mapping[str, Array], state: Mapping[str, str]
) -> Feed:
    """The next step's feed: the outputs named by ``--state OUT=IN`` become inputs."""
    return {**feed, **{name: outputs[out] for out, name in state.items()}}


def _refuse(spec: InputSpec, shape: tuple[int, ...]) -> None:
    if not spec.feedable:
        raise DataError(
            f"input {spec.name!r} is a {spec.dtype}, which cannot be fed; expected a tensor"
        )
    size = 8 if isinstance(spec.dtype, str) else max(spec.dtype.itemsize, 1)
    if math.prod(shape) * size > _MAX_BYTES:
        raise DataError(
            f"input {spec.name!r} of shape {shape_text(shape)} would take"
            f" {math.prod(shape) * size} bytes; give a smaller one with --input-shape or --dim"
        )


def _steps(specs: Sequence[InputSpec], shapes: Mapping[str, tuple[int, ...]], name: str) -> int:
    """How long the other inputs are: their first dynamic axis behind the batch, else the second."""
    for spec in specs:
        shape = shapes[spec.name]
        if spec.name == name or len(shape) < 2:
            continue
        declared = spec.shape or (None,) * len(shape)
        axes = [i for i in range(1, len(shape)) if not isinstance(declared[i], int)]
        return shape[axes[0] if axes else 1]
    return 16


def _content(
    spec: InputSpec,
    shape: tuple[int, ...],
    rng: np.random.Generator,
    draw: Draw,
    bound: int | None,
    steps: int,
) -> Array:
    if isinstance(spec.dtype, str):
        return np.asarray(rng.choice(_WORDS, size=shape), dtype=object)
    lower = spec.name.lower()
    if spec.kind == "bool" or "mask" in lower:
        return np.ones(shape, spec.dtype)
    if spec.kind == "int":
        named = _named_integers(lower, shape, steps)
        content = _integers(spec.dtype, shape, rng, bound) if named is None else named
        return np.asarray(content).astype(spec.dtype)
    content = rng.random(shape) * (draw.high - draw.low) + draw.low
    if spec.kind == "complex":
        content = content + 1j * rng.random(shape)
    return np.asarray(content).astype(spec.dtype)


def _named_integers(name: str, shape: tuple[int, ...], steps: int) -> Array | None:
    """Content that the name of an integer input asks for, else None."""
    if "token_type" in name or "segment" in name or name.endswith("type_ids"):
        return np.zeros(shape, np.int64)
    if "position" in name or "pos_id" in name:
        return np.broadcast_to(np.arange(shape[-1]), shape) if shape else np.zeros((), np.int64)
    if name in _RATES:
        return np.full(shape, 16_000)
    if _LENGTHS.search(name):
        return np.full(shape, steps)
    return None


def _integers(
    dtype: np.dtype[Any], shape: tuple[int, ...], rng: np.random.Generator, bound: int | None
) -> Array:
    low, high = _range(dtype)
    if bound is None and dtype.itemsize == 1:
        return rng.integers(low, high + 1, shape)
    top = min(bound or _NO_BOUND, _LARGEST_INDEX, high + 1)
    if not shape and bound is None:
        return np.asarray(3)
    return rng.integers(1 if top > 2 else 0, max(top, 1), shape)


def _range(dtype: np.dtype[Any]) -> tuple[int, int]:
    """The range of an integer type, the four-bit and two-bit ones of ml_dtypes included."""
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return int(info.min), int(info.max)
    bits = int(re.sub(r"\D", "", dtype.name) or 4)
    return (
        (0, 2**bits - 1)
        if dtype.name.startswith("u")
        else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    )
