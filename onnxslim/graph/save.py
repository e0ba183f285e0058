"""Write a model so that at every moment the old file or the new one is there, whole.

A model is staged first: complete, loadable, under a temporary name in the target's folder. It is
then committed (renamed over the target) or discarded. Data files carry the hash of their content
in their name, so that a new one never touches the old pair; the old one is removed last.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from onnxslim.errors import OnnxSlimError, UsageError
from onnxslim.graph.external import kind_of
from onnxslim.graph.payload import ExternalSink, InlineSink
from onnxslim.graph.proto import bodies
from onnxslim.graph.serialize import serialize, skeleton
from onnxslim.graph.signature import signature
from onnxslim.graph.temporary import TemporaryFile, remove_stale

INLINE_LIMIT: Final = 1_900_000_000
"""Bytes of weights above which they go into a data file (protobuf ends at 2 GiB)."""

EXTERNAL_LIMIT: Final = 64 << 20
"""The same for a model whose weights were external."""

_LARGEST_OLD_MODEL = 256 << 20


@dataclass(frozen=True)
class SavedModel:
    """What was written.

    Args:
        path: The model file.
        data_path: Its data file, when there is one.
        bytes: Size of both.
    """

    path: Path
    data_path: Path | None
    bytes: int


def check_target(
    path: str | os.PathLike[str],
    model: str | os.PathLike[str] | None = None,
    *,
    force: bool = True,
) -> Path:
    """The real file that writing to ``path`` replaces; nothing is changed.

    Args:
        path: A symlink is resolved.
        model: The model that is read; named in the error when it is the target too.
        force: Whether an existing file may be replaced.

    Raises:
        UsageError: When it is a device, FIFO or folder, its folder is missing, or it exists and
            ``force`` is false.
    """
    target = Path(os.path.realpath(path))
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        mode = None
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot write {path}: {_reason(error)}") from error
    if mode is not None and not stat.S_ISREG(mode):
        raise UsageError(f"cannot write {path}: it is {kind_of(mode)}; give the name of a file")
    if mode is not None and not force:
        if model is not None and os.path.realpath(model) == str(target):
            raise UsageError(f"{path} is the model itself; give another name, or --force")
        raise UsageError(f"{path} exists; give another name, or --force to replace it")
    if not target.parent.is_dir():
        raise UsageError(f"cannot write {path}: there is no folder {target.parent}; create it")
    return target


def check_text_target(
    path: str | os.PathLike[str], *models: str | os.PathLike[str] | None, force: bool = True
) -> Path:
    """As :func:`check_target`, for a text beside models: it never replaces one of them.

    Raises:
        UsageError: Also when it is one of ``models``.
    """
    target = check_target(path)
    if any(model is not None and os.path.realpath(model) == str(target) for model in models):
        raise UsageError(f"{path} is a model: give another name for the text written there")
    return check_target(path, force=force)


def save(model: ir.Model, path: str | os.PathLike[str], *, force: bool = True) -> SavedModel:
    """Write ``model`` to ``path``, atomically.

    Args:
        model: Not changed.
        path: An existing file is replaced in one step; a symlink's target is.
        force: False: an existing file is an error.

    Raises:
        UsageError: When ``path`` cannot be a target.
        OnnxSlimError: When the disk is full or writing fails; the old file is unchanged.
    """
    target = check_target(path, force=force)
    with stage(model, target.parent, name=target.name) as staged:
        return staged.commit(target)


class Staged:
    """A complete model under a temporary name; made by :func:`stage`.

    Attributes:
        model_path: Can be loaded now, by ONNX Runtime too.
        data_path: Its data file, when it has one.
    """

    def __init__(
        self,
        proto: onnx.ModelProto,
        file: TemporaryFile,
        data: tuple[TemporaryFile, ExternalSink] | None,
        private: Path | None,
    ) -> None:
        self._proto = proto
        self._file = file
        self._data = data
        self._private = private

    @property
    def model_path(self) -> Path:
        """The staged model file."""
        return self._file.path

    @property
    def data_path(self) -> Path | None:
        """The staged data file."""
        return self._data[0].path if self._data else None

    @property
    def bytes(self) -> int:
        """Size that both will have once committed under the name they were staged for."""
        if self._data is None:
            return self._file.size
        model: int = self._proto.ByteSize()
        return model + self._data[0].size

    def commit(self, path: str | os.PathLike[str]) -> SavedModel:
        """Put the staged model in the place of ``path``.

        Args:
            path: In the folder that the model was staged in.

        Raises:
            OnnxSlimError: When that fails; the old file is unchanged.
        """
        target = check_target(path)
        if target.parent != self._file.path.parent:
            raise UsageError(f"the model was staged in {self._file.path.parent}, not for {target}")
        with _writing(target):
            old_data = _data_files_of(target)
            final = self._final_data(target)
            is_new = final is not None and not final.exists()
            if final is not None:
                self._commit_data(target, final)
            size = self.bytes
            self._file.like(target)
            try:
                self._file.rename(target)
            except OSError:
                if final is not None and is_new:
                    final.unlink(missing_ok=True)
                raise
            for path_ in old_data:
                if path_ != final:
                    path_.unlink(missing_ok=True)
        self.discard()
        return SavedModel(target, final, size)

    def _final_data(self, target: Path) -> Path | None:
        if self._data is None:
            return None
        return target.with_name(_data_name(target, self._data[1]))

    def _commit_data(self, target: Path, final: Path) -> None:
        """Rename the data file to its final name and write the model that refers to it."""
        assert self._data is not None
        data, sink = self._data
        sink.relocate(final.name)
        model = TemporaryFile(target.parent, target.name)
        try:
            model.write(serialize(self._proto))
            model.sync()
        except OSError:
            model.discard()
            raise
        self._file.discard()
        self._file = model
        data.like(target)
        data.rename(final)

    def discard(self) -> None:
        """Remove what was staged and not committed."""
        self._file.discard()
        if self._data:
            self._data[0].discard()
        if self._private is not None:
            shutil.rmtree(self._private, ignore_errors=True)

    def __enter__(self) -> Staged:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.discard()


def stage(
    model: ir.Model, folder: str | os.PathLike[str] | None = None, *, name: str | None = None
) -> Staged:
    """Write ``model`` under a temporary name.

    Args:
        model: Not changed.
        folder: Of the target. None: a private temporary folder, for a model that is only to be
            run; weights in external files are copied into it.
        name: Of the target; the temporary names contain it.

    Returns:
        To be used as a context manager: what is not committed is removed.

    Raises:
        OnnxSlimError: When writing fails; nothing is left behind.
    """
    private = None
    name = name or "model.onnx"
    if folder is None:
        private = Path(tempfile.mkdtemp(prefix="onnxslim-"))
        folder = private
    else:
        remove_stale(Path(folder))
    opened: list[TemporaryFile] = []
    try:
        with _writing(Path(folder) / name):
            return _stage(model, Path(os.path.realpath(folder)), name, private, opened)
    except BaseException:
        for file in opened:
            file.discard()
        if private is not None:
            shutil.rmtree(private, ignore_errors=True)
        raise


def _stage(
    model: ir.Model, folder: Path, name: str, private: Path | None, opened: list[TemporaryFile]
) -> Staged:
    total = weight_bytes(model)
    data: tuple[TemporaryFile, ExternalSink] | None = None
    inline: InlineSink | None = None
    if total > (EXTERNAL_LIMIT if signature(model).is_external else INLINE_LIMIT):
        data_file = TemporaryFile(folder, name, ".data")
        opened.append(data_file)
        data = data_file, ExternalSink(data_file, data_file.path.name)
        proto = skeleton(model, data[1])
        data_file.sync()
    elif total > EXTERNAL_LIMIT:
        inline = InlineSink()
        proto = skeleton(model, inline)
    else:
        proto = skeleton(model, None)
    file = TemporaryFile(folder, name)
    opened.append(file)
    if inline is not None:
        inline.write(serialize(proto), file)
    else:
        file.write(serialize(proto))
    file.sync()
    if data is not None:
        data[1].relocate(_data_name(folder / name, data[1]))
    return Staged(proto, file, data, private)


def weight_bytes(model: ir.Model) -> int:
    """Bytes of all initializers, subgraphs included."""
    return sum(
        value.const_value.nbytes
        for graph in bodies(model)
        for value in graph.initializers.values()
        if value.const_value is not None and value.const_value.dtype != ir.DataType.STRING
    )


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OnnxSlimError(
            f"cannot write {target}: {_reason(error)}; nothing was changed (free some space, or "
            "write to another folder)"
        ) from error


def _reason(error: OSError | ValueError) -> str:
    return str(error.strerror) if isinstance(error, OSError) else str(error)


def _data_name(target: Path, sink: ExternalSink) -> str:
    return f"{_stem(target)}.{sink.digest}.data"


def _stem(target: Path) -> str:
    return target.stem.encode()[:200].decode(errors="ignore")


def _data_files_of(target: Path) -> list[Path]:
    """The data files of our naming that the model at ``target`` refers to now."""
    try:
        if not target.is_file() or target.stat().st_size > _LARGEST_OLD_MODEL:
            return []
        proto = onnx.ModelProto.FromString(target.read_bytes())
    except (OSError, DecodeError):
        return []
    ours = re.compile(re.escape(_stem(target)) + r"\.[0-9a-f]{12}\.data")
    names = [
        entry.value
        for tensor in proto.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location" and isinstance(entry.value, str)
    ]
    return [target.with_name(n) for n in dict.fromkeys(names) if ours.fullmatch(n)]
