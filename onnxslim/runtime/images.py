"""A folder of images as samples: resized, scaled, normalized and laid out as the options say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from onnxslim.errors import DataError, MissingRuntimeError, UsageError
from onnxslim.runtime.items import Item
from onnxslim.runtime.match import cast
from onnxslim.runtime.readers import Request
from onnxslim.runtime.specs import Array, InputSpec

if TYPE_CHECKING:
    from PIL.Image import Image  # type: ignore[import-not-found,unused-ignore]

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
)
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_GREY = 114


@dataclass(frozen=True)
class ImageOptions:
    """How pixels become an input: ``(pixel * scale - mean) / std``.

    Args:
        size: ``(height, width)``; None takes them from the model.
        resize: ``stretch``; ``crop`` (covers the size, centre cut out); ``letterbox`` (fits in,
            grey around); ``keep-height`` (height fits, width follows, cut or padded with zeros
            where the width is fixed).
        channel_order: ``rgb`` or ``bgr``.
        scale: Factor on pixels of 0 to 255; None is 1/255 for a float input, 1 for an integer one.
        mean: Per channel, or one for all.
        std: Per channel, or one for all.
        layout: ``nchw`` or ``nhwc``; None takes it from the model.
    """

    size: tuple[int, int] | None = None
    resize: Literal["stretch", "crop", "letterbox", "keep-height"] = "stretch"
    channel_order: Literal["rgb", "bgr"] = "rgb"
    scale: float | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    layout: Literal["nchw", "nhwc"] | None = None


def parse_image_size(text: str) -> tuple[int, int]:
    """Parses ``224`` or ``HEIGHT,WIDTH`` (also ``HEIGHTxWIDTH``)."""
    parts = text.lower().replace("x", ",").split(",")
    try:
        sizes = [int(part) for part in parts]
    except ValueError:
        sizes = []
    if len(sizes) not in (1, 2) or min(sizes) < 1:
        raise UsageError(f"--image-size {text!r} is no size; write it as 224 or HEIGHT,WIDTH")
    return sizes[0], sizes[-1]


def parse_channels(option: str, text: str) -> tuple[float, ...]:
    """Parses ``0.485,0.456,0.406`` or one number for all channels."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{option} {text!r}: expected numbers such as 0.485,0.456,0.406") from None


class ImageFolder:
    """Samples of one image each; the pictures are opened when they are read."""

    def __init__(self, paths: Sequence[Path], request: Request, options: ImageOptions) -> None:
        self._paths, self._options = paths, options
        _pillow()
        self._spec = _target(request)
        self._nhwc, self._channels = _channels(self._spec, options)
        self._size = _size(self._spec, options, self._nhwc)
        self._scale, self._mean, self._std = _normalization(self._spec, options, self._channels)
        self.sizes = [1] * len(paths)
        batch = (self._spec.shape or (None,))[0]
        self.fixed = batch if isinstance(batch, int) else None
        self.batchable = True

    @property
    def row_bytes(self) -> int:
        """How much one image takes."""
        height, width = self._size
        return height * (width or 4 * height) * self._channels * 4

    def read(self, index: int, rows: Array) -> Item:
        """One image."""
        pixels = self._load(self._paths[index]).astype(np.float32) * np.float32(self._scale)
        array = (pixels - self._mean) / self._std
        width = self._size[1]
        if self._options.resize == "keep-height" and width is not None:
            array = np.pad(array[:, :width], ((0, 0), (0, max(width - array.shape[1], 0)), (0, 0)))
        if not self._nhwc:
            array = array.transpose(2, 0, 1)
        if self._spec.kind == "int":
            array = np.rint(array)
            array = array.astype(np.int64)
        array = cast(self._spec, np.ascontiguousarray(array)[None], self._paths[index].name)
        return Item({self._spec.name: array}, {}, 1)

    def labels(self, index: int, rows: Array) -> Array | None:
        """Images have none."""
        return None

    def _load(self, path: Path) -> Array:
        """The picture as ``(H, W, channels)`` bytes of the wanted size and channel order."""
        image_module, ops = _pillow()
        try:
            with image_module.open(path) as opened:
                if opened.mode in ("I", "F") or opened.mode.startswith("I;"):
                    raise DataError(
                        f"{path.name} has pixels of type {opened.mode}, more than 8 bits;"
                        " use an .npz file"
                    )
                image = ops.exif_transpose(opened).convert(_MODES[self._channels])
        except (OSError, ValueError, SyntaxError, image_module.DecompressionBombError) as error:
            raise DataError(f"{path.name} cannot be read as an image: {error}") from None
        pixels = np.asarray(_resized(image, self._size, self._options.resize, image_module))
        pixels = pixels.reshape(*pixels.shape[:2], self._channels)
        if self._options.channel_order == "bgr" and self._channels >= 3:
            order = [2, 1, 0, 3][: self._channels]
            pixels = pixels[:, :, order]
        return pixels


def _pillow() -> tuple[Any, Any]:
    try:
        from PIL import Image, ImageOps  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise MissingRuntimeError(
            "reading images needs Pillow, which is not installed:"
            " pip install 'onnxslim-toolkit[images]'"
        ) from None
    return Image, ImageOps


def _target(request: Request) -> InputSpec:
    needed = request.needed
    fitting = [
        s
        for s in needed
        if s.shape is not None and len(s.shape) == 4 and s.kind in ("float", "int")
    ]
    if len(fitting) != 1 or len(needed) != 1:
        told = ", ".join(map(str, needed))
        raise DataError(
            f"a folder of images serves a model with one input of four axes; this one has {told}"
            " (others can be given with --input-value)"
        )
    return fitting[0]


def _channels(spec: InputSpec, options: ImageOptions) -> tuple[bool, int]:
    """Whether the layout is NHWC, and the number of channels."""
    shape = spec.shape or ()
    able: dict[str, int | str | None] = {"nchw": shape[1], "nhwc": shape[3]}
    if options.layout is not None:
        layout = options.layout
    else:
        exact = [k for k, d in able.items() if d in _MODES]
        found = exact or [k for k, d in able.items() if not isinstance(d, int)]
        if not found:
            raise DataError(f"input {spec} has no axis of 1, 3 or 4 channels; it takes no images")
        layout = "nhwc" if found[0] == "nhwc" else "nchw"
    channels = able[layout]
    count = channels if isinstance(channels, int) else 3
    if count not in _MODES:
        raise DataError(f"input {spec} has {count} channels in {layout}; images have 1, 3 or 4")
    return layout == "nhwc", count


def _size(spec: InputSpec, options: ImageOptions, nhwc: bool) -> tuple[int, int | None]:
    shape = spec.shape or ()
    declared = shape[1:3] if nhwc else shape[2:4]
    height, width = options.size or (None, None)
    if (
        options.resize == "keep-height"
        and not isinstance(declared[1], int)
        and options.size is not None
    ):
        width = None if options.size[0] == options.size[1] else width
    for axis, (have, want) in enumerate(zip(declared, (height, width), strict=True)):
        if isinstance(have, int) and want is not None and have != want:
            raise DataError(
                f"--image-size gives {'width' if axis else 'height'} {want},"
                f" but input {spec} wants {have}"
            )
    height = declared[0] if isinstance(declared[0], int) else height
    width = declared[1] if isinstance(declared[1], int) else width
    if height is None or (width is None and options.resize != "keep-height"):
        raise UsageError(
            f"input {spec} has no fixed image size; give one with --image-size HEIGHT,WIDTH"
        )
    return height, width


def _normalization(
    spec: InputSpec, options: ImageOptions, channels: int
) -> tuple[float, Array, Array]:
    scale = options.scale
    if scale is None:
        scale = 1.0 / 255.0 if spec.kind == "float" else 1.0
    found = []
    for option, values, default in (("--mean", options.mean, 0.0), ("--std", options.std, 1.0)):
        if len(values) not in (0, 1, channels):
            raise UsageError(
                f"{option} has {len(values)} values, but images have {channels} channels"
            )
        found.append(np.asarray(values or (default,), np.float32))
    if not np.all(found[1]):
        raise UsageError("--std has a zero; expected the standard deviation of each channel")
    return scale, found[0], found[1]


def _resized(image: Image, size: tuple[int, int | None], how: str, module: Any) -> Image:
    """The picture in the wanted size (``keep-height``: in the wanted height)."""
    height, width = size
    filter_ = module.Resampling.BILINEAR
    if how == "keep-height" or width is None:
        return image.resize((max(round(image.width * height / image.height), 1), height), filter_)
    if how == "stretch":
        return image.resize((width, height), filter_)
    ratios = (width / image.width, height / image.height)
    ratio = max(ratios) if how == "crop" else min(ratios)
    inner = image.resize(
        (max(round(image.width * ratio), 1), max(round(image.height * ratio), 1)), filter_
    )
    left, top = (width - inner.width) // 2, (height - inner.height) // 2
    if how == "crop":
        return inner.crop((-left, -top, -left + width, -top + height))
    canvas: Image = module.new(image.mode, (width, height), (_GREY,) * len(image.getbands()))
    canvas.paste(inner, (left, top))
    return canvas
