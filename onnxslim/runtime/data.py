"""``--data SRC`` in all its forms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxslim.errors import CalibrationError, DataError, UsageError
from onnxslim.runtime.arrays import natural_key
from onnxslim.runtime.dims import check as check_description
from onnxslim.runtime.feeds import Draw, draw_feed
from onnxslim.runtime.hints import hints_of
from onnxslim.runtime.images import SUFFIXES, ImageFolder, ImageOptions
from onnxslim.runtime.items import Batch, Item, item_of
from onnxslim.runtime.readers import (
    ArrayFiles,
    Indexed,
    Replay,
    Request,
    data_set_folders,
    load_function,
    read_data_sets,
    read_feeds,
)
from onnxslim.runtime.sizes import Dims
from onnxslim.runtime.source import DataOptions, DataSource, described_inputs
from onnxslim.runtime.specs import InputSpec
from onnxslim.runtime.stats import InputStats

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["Batch", "DataOptions", "DataSource", "ImageOptions", "InputStats", "open_data"]

_RANDOM_SAMPLES = 8
_FORMS = (
    "expected a .npz file, a folder of .npz, .npy or image files or test_data_set_* folders,"
    " FILE.py:FUNCTION, or random"
)


def open_data(
    src: Any,
    specs: Sequence[InputSpec],
    options: DataOptions | None = None,
    *,
    model: ir.Model | None = None,
) -> DataSource:
    """Opens samples of any of the forms that ``--data`` takes, or that Python code has.

    Args:
        src: A path, ``FILE.py:FUNCTION``, ``random``, an iterable of ``dict[str, ndarray]``, an
            ONNX Runtime ``CalibrationDataReader``, or one ``dict`` with what an ``.npz`` would
            hold: the samples of every input along the first axis.
        specs: The inputs of the model.
        options: How to read.
        model: Read for hints by ``random`` alone.

    Raises:
        DataError: The data is missing, damaged, or does not fit the model.
        CalibrationError: Random samples for a calibration.
        UsageError: An option makes no sense.
        MissingRuntimeError: Images without Pillow.
    """
    options = options or DataOptions()
    for name, number in (("--samples", options.samples), ("the batch size", options.batch)):
        if number is not None and number < 1:
            raise UsageError(f"{name} is {number}; expected at least 1")
    checked = check_description(options.description, specs)
    options = replace(options, description=checked)
    request = Request(specs, described_inputs(specs, options), options.labels)
    if isinstance(src, DataSource):
        return src
    if isinstance(src, str | Path):
        return _from_text(str(src), request, options, model)
    if isinstance(src, Mapping):
        held = ArrayFiles([src], request, single=False)
        return DataSource("data", options, request.specs, reader=held)
    if isinstance(src, Replay | Iterable) or hasattr(src, "get_next"):
        if isinstance(src, bytes):
            src = [src]
        again = src if isinstance(src, Replay) else Replay(src)
        return _streamed("data", again, request, options)
    raise DataError(f"data is a {type(src).__name__}; {_FORMS}, or in Python an iterable of dicts")


def _from_text(
    text: str, request: Request, options: DataOptions, model: ir.Model | None
) -> DataSource:
    if text == "random":
        return _random(request, options, model)
    file, colon, function = text.rpartition(":")
    if colon and file.endswith(".py"):
        return _streamed(text, load_function(Path(file), function), request, options)
    path = Path(text)
    if text.endswith(".py"):
        raise DataError(f"{text!r} names no function; expected FILE.py:FUNCTION")
    if not path.exists():
        raise DataError(f"there is no file or folder {text!r}; {_FORMS}")
    if path.is_dir():
        return _from_folder(path, request, options)
    if path.suffix.lower() not in (".npz", ".npy"):
        raise DataError(f"{path.name!r} is no data that can be read; {_FORMS}")
    reader = ArrayFiles([path], request, single=True)
    return DataSource(text, options, request.specs, reader=reader)


def _from_folder(folder: Path, request: Request, options: DataOptions) -> DataSource:
    sets = data_set_folders(folder)
    files = sorted((p for p in folder.rglob("*") if _visible(p, folder)), key=natural_key)
    arrays = [p for p in files if p.suffix.lower() in (".npz", ".npy") and p.parent == folder]
    images = [p for p in files if p.suffix.lower() in SUFFIXES]
    kinds = [
        k
        for k, found in (("test data sets", sets), ("arrays", arrays), ("images", images))
        if found
    ]
    if len(kinds) > 1:
        raise DataError(f"{folder.name!r} holds {' and '.join(kinds)}; expected one kind of data")
    if not kinds:
        what = (
            "is empty"
            if not files
            else f"holds nothing that can be read (such as {files[0].name!r})"
        )
        raise DataError(f"the folder {folder.name!r} {what}; {_FORMS}")
    if options.labels is not None and not arrays:
        raise DataError(
            f"--labels {options.labels!r} needs .npz data, but {folder.name!r} holds {kinds[0]}"
        )
    if sets:
        return DataSource(
            str(folder), options, request.specs, stream=lambda: read_data_sets(sets, request)
        )
    reader: Indexed
    if images:
        reader = ImageFolder(images, request, options.images)
    else:
        reader = ArrayFiles(arrays, request, single=False)
    return DataSource(str(folder), options, request.specs, reader=reader)


def _visible(path: Path, folder: Path) -> bool:
    parts = path.relative_to(folder).parts
    return path.is_file() and not any(p.startswith(".") or p == "__MACOSX" for p in parts)


def _streamed(
    name: str, start: Callable[[], Iterable[Any]], request: Request, options: DataOptions
) -> DataSource:
    return DataSource(
        name, options, request.specs, stream=lambda: read_feeds(start(), request, name)
    )


def refused() -> CalibrationError:
    """Why random data does not serve for calibration."""
    return CalibrationError(
        "random data gives wrong ranges, so it is refused for calibration;"
        " give real samples with --data, or --allow-random-calibration"
    )


def _random(request: Request, options: DataOptions, model: ir.Model | None) -> DataSource:
    if options.calibration and not options.allow_random:
        raise refused()
    if options.labels is not None:
        raise DataError("--labels needs real data; random samples have no labels")
    given, specs = options.description, request.specs
    hints = {} if model is None else hints_of(model)
    dims = Dims(specs, given, hints)
    shapes = dims.shapes({**dims.sizes(), **options.sizes})

    def draw() -> Iterator[Item]:
        for number in range(options.samples or _RANDOM_SAMPLES):
            feed = draw_feed(specs, shapes, given, hints, Draw(options.seed + number))
            yield item_of(specs, feed, "random", optional=request.described)

    return DataSource("random", options, specs, stream=draw)
