"""Where samples come from: arrays in files, ONNX test data sets, Python code, random draws."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from onnxslim.errors import DataError
from onnxslim.runtime.arrays import Held, Member, listing, load_tensor, natural_key, open_arrays
from onnxslim.runtime.items import Item, item_of, lift
from onnxslim.runtime.match import Layout, cast, castable, expected, layout, role_of
from onnxslim.runtime.specs import Array, Feed, InputSpec

_USER_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)


class Indexed(Protocol):
    """Samples that can be picked: items of known sizes."""

    @property
    def sizes(self) -> Sequence[int]: ...
    @property
    def fixed(self) -> int | None: ...
    @property
    def batchable(self) -> bool: ...
    @property
    def row_bytes(self) -> int: ...
    def read(self, index: int, rows: Array) -> Item: ...
    def labels(self, index: int, rows: Array) -> Array | None: ...


@dataclass(frozen=True)
class Request:
    """What a reader has to serve.

    Args:
        specs: The inputs of the model.
        described: The inputs that ``--input-value`` and ``--state`` take care of.
        labels: The key of the labels.
    """

    specs: Sequence[InputSpec]
    described: frozenset[str]
    labels: str | None

    @property
    def needed(self) -> list[InputSpec]:
        """The inputs that the data must give."""
        return [spec for spec in self.specs if spec.name not in self.described]


@dataclass(frozen=True)
class _File:
    members: Mapping[str, Member | Held]
    labels: Member | Held | None
    layout: Layout


class ArrayFiles:
    """One ``.npz`` file, or ``.npz`` and ``.npy`` files that hold one sample or batch each.

    A mapping of arrays in memory is read as a file is.
    """

    def __init__(
        self, sources: Sequence[Path | Mapping[str, Any]], request: Request, *, single: bool
    ) -> None:
        self._request, self._single = request, single
        self._inflated_of = -1
        self._inflated: dict[str, Array] = {}
        self._files = [self._open(source) for source in sources]
        self.sizes = [file.layout.count for file in self._files]
        fixed = {file.layout.fixed for file in self._files} - {None}
        self.fixed = next(iter(fixed), None)
        self.batchable = all(file.layout.batchable for file in self._files)

    @property
    def row_bytes(self) -> int:
        """How much one sample takes, at most."""
        return max(
            sum(int(np.prod(m.shape[1:])) * m.dtype.itemsize for m in file.members.values())
            for file in self._files
        )

    def read(self, index: int, rows: Array) -> Item:
        """Some samples of one file."""
        file = self._files[index]
        arrays: Feed = {}
        fixed: Feed = {}
        for spec in self._request.needed:
            member = file.members[spec.name]
            array = self._array(index, member).reshape(self._shape(spec, member))
            if file.layout.roles[spec.name] == "repeat":
                fixed[spec.name] = cast(spec, np.asarray(array), member.label)
            else:
                arrays[spec.name] = cast(spec, np.asarray(array[rows]), member.label)
        return Item(
            arrays,
            fixed,
            len(rows),
            file.layout.single,
            alone=not file.layout.batchable,
            labels=self.labels(index, rows),
        )

    def labels(self, index: int, rows: Array) -> Array | None:
        """The labels of some samples of one file."""
        member = self._files[index].labels
        return None if member is None else np.asarray(self._array(index, member)[rows])

    def _array(self, index: int, member: Member | Held) -> Array:
        """The array of a member; what has to be inflated is kept until the next file."""
        if member.offset is not None:
            return member.read()
        if self._inflated_of != index:
            self._inflated_of, self._inflated = index, {}
        if member.key not in self._inflated:
            self._inflated[member.key] = member.read()
        return self._inflated[member.key]

    def _shape(self, spec: InputSpec, member: Member | Held) -> tuple[int, ...]:
        return member.shape if self._single else lift(spec, member.shape)

    def _open(self, source: Path | Mapping[str, Any]) -> _File:
        found: dict[str, Member | Held]
        if isinstance(source, Path):
            name, found = source.name, dict(open_arrays(source))
        else:
            name, found = "data", _held(source)
        labels = self._labels(name, found)
        members = self._choose(name, found)
        needed = self._request.needed
        for spec in needed:
            member = members[spec.name]
            if not castable(spec, member.dtype):
                raise DataError(
                    f"{member.label} is {member.dtype}, but input {spec}; expected {spec.dtype}"
                )
        shapes = {spec.name: self._shape(spec, members[spec.name]) for spec in needed}
        found_layout = layout(needed, shapes, {n: m.label for n, m in members.items()})
        if labels is not None and (not labels.shape or labels.shape[0] != found_layout.count):
            raise DataError(
                f"{labels.label} has shape {list(labels.shape)}, but there are {found_layout.count}"
                " samples; expected one label per sample"
            )
        return _File(members, labels, found_layout)

    def _labels(self, name: str, found: dict[str, Member | Held]) -> Member | Held | None:
        key = self._request.labels
        if key is None:
            return None
        if key not in found:
            raise DataError(f"--labels {key!r}: {name} has no such array, only {listing(found)}")
        if any(spec.name == key for spec in self._request.needed):
            return found[key]
        return found.pop(key)

    def _choose(self, name: str, found: Mapping[str, Member | Held]) -> dict[str, Member | Held]:
        """The array of every input: by its name, or the only one that fits the only input."""
        needed = self._request.needed
        missing = [spec for spec in needed if spec.name not in found]
        if not missing:
            return {spec.name: found[spec.name] for spec in needed}
        if len(needed) > 1:
            raise DataError(
                f"{name} has no array for input {missing[0]}; it has {listing(found)};"
                f" expected {expected(needed)}"
            )
        spec = missing[0]
        fitting = [k for k, m in found.items() if self._fits(spec, m)]
        if len(fitting) == 1:
            return {spec.name: found[fitting[0]]}
        if len(found) == 1:
            return {
                spec.name: next(iter(found.values()))
            }  # its shape or type is complained about next
        how = "none of" if not fitting else "several of"
        raise DataError(
            f"{name} has no array named {spec.name!r} and {how} {listing(found)}"
            f" fit input {spec}; name the right one {spec.name!r}"
        )

    def _fits(self, spec: InputSpec, member: Member | Held) -> bool:
        return castable(spec, member.dtype) and role_of(spec, self._shape(spec, member)) is not None


def _held(arrays: Mapping[str, Any]) -> dict[str, Member | Held]:
    """Arrays in memory as those of a file."""
    if not arrays:
        raise DataError("data has no arrays; expected one per input of the model")
    return {str(k): Held(str(k), _as_array(v, f"data[{k!r}]")) for k, v in arrays.items()}


def data_set_folders(folder: Path) -> list[Path]:
    """The ``test_data_set_*`` folders of a folder, or the folder itself when it is one."""
    if any(folder.glob("input_*.pb")):
        return [folder]
    return sorted((p.parent for p in folder.glob("*/input_0.pb")), key=natural_key)


def read_data_sets(folders: Sequence[Path], request: Request) -> Iterator[Item]:
    """Feeds from ONNX test data sets: ``input_0.pb`` is the first input, and so on."""
    names = [spec.name for spec in request.specs]
    for folder in folders:
        paths = sorted(folder.glob("input_*.pb"), key=natural_key)
        loaded = [load_tensor(path) for path in paths]
        if len(loaded) > len(names):
            raise DataError(
                f"{folder.name} has {len(loaded)} inputs, but the model has {len(names)}"
            )
        told = [name for name, _ in loaded]
        keys = told if len(set(told)) == len(told) and set(told) <= set(names) else names
        feed = {key: array for key, (_, array) in zip(keys, loaded, strict=False)}
        yield item_of(request.specs, feed, folder.name, optional=request.described)


def read_feeds(feeds: Iterable[Any], request: Request, label: str) -> Iterator[Item]:
    """Feeds that Python code gives, each a ``dict[str, ndarray]``: a batch or one sample."""
    iterator = iter(feeds)
    for number in range(sys.maxsize):
        try:
            feed = next(iterator, None)
        except _USER_ERRORS as error:
            raise DataError(f"{label} failed: {type(error).__name__}: {error}") from error
        if feed is None:
            return
        where = f"{label}, feed {number}"
        if not isinstance(feed, Mapping):
            raise DataError(
                f"{where} is a {type(feed).__name__}; expected a dict of arrays by input name"
            )
        arrays = {str(name): _as_array(value, f"{where}: {name!r}") for name, value in feed.items()}
        labels = arrays.pop(request.labels, None) if request.labels is not None else None
        if request.labels is not None and labels is None:
            raise DataError(f"--labels {request.labels!r}: {where} has no such array")
        if labels is not None and labels.ndim == 0:
            labels = labels.reshape(1)
        yield item_of(request.specs, arrays, where, optional=request.described, labels=labels)


def _as_array(value: Any, label: str) -> Array:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{label} is no array: {error}") from None
    if array.dtype.kind == "O" and not all(isinstance(x, str) for x in array.flat):
        raise DataError(
            f"{label} holds Python objects ({type(value).__name__}); expected an array of numbers"
        )
    return array


def load_function(path: Path, name: str) -> Callable[[], Iterable[Any]]:
    """Loads ``FILE.py:FUNCTION``; the file runs with its folder importable, as a script's would be.

    Raises:
        DataError: The file does not exist or fails, or has no such function.
    """
    if not path.is_file():
        raise DataError(f"there is no file {str(path)!r}; expected FILE.py:FUNCTION")
    spec = importlib.util.spec_from_file_location("_onnxslim_data", path)
    if spec is None or spec.loader is None:
        raise DataError(f"{path.name} cannot be loaded as Python code")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    except _USER_ERRORS as error:
        raise DataError(f"{path.name} failed: {type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)
    function = getattr(module, name, None)
    if function is None or not (callable(function) or isinstance(function, Iterable)):
        have = ", ".join(
            n for n, v in vars(module).items() if callable(v) and not n.startswith("_")
        )
        raise DataError(f"{path.name} has no function {name!r}; it has {have or 'none'}")
    return _caller(function, f"{path.name}:{name}")


def _caller(function: Any, label: str) -> Callable[[], Iterable[Any]]:
    def call() -> Iterable[Any]:
        try:
            result = function() if callable(function) else function
        except _USER_ERRORS as error:
            raise DataError(f"{label} failed: {type(error).__name__}: {error}") from error
        if isinstance(result, Mapping) or not isinstance(result, Iterable):
            raise DataError(
                f"{label} gave a {type(result).__name__}; expected to yield dicts of arrays"
            )
        return result

    return call


class Replay:
    """Makes a one-shot iterator, or a ``CalibrationDataReader``, readable again.

    A reader with ``rewind`` is rewound; whatever else can be read once is kept in memory.
    """

    def __init__(self, source: Any) -> None:
        self._source = source
        self._kept: list[Any] | None = None
        self._started = False

    def __call__(self) -> Iterable[Any]:
        if hasattr(self._source, "get_next"):
            if hasattr(self._source, "rewind"):
                if self._started:
                    self._source.rewind()
                self._started = True
                return iter(self._source.get_next, None)
            return self._keep(iter(self._source.get_next, None))
        iterator = iter(self._source)
        return self._keep(iterator) if iterator is self._source else iterator

    def _keep(self, iterator: Iterator[Any]) -> Iterable[Any]:
        if self._kept is None:
            self._kept = list(iterator)
        return self._kept
