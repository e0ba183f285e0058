"""The one place that turns a tensor's external location into bytes of a file.

Every external tensor of a model, wherever it is, goes through :meth:`Resolver.resolve`: inside
the model's folder, a regular file of its own, sizes compared with integers before anything is
mapped. Nothing is opened before ``lstat`` has said what it is.
"""

from __future__ import annotations

import mmap
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from onnxslim.errors import UnsupportedModelError
from onnxslim.graph.messages import show

_DIGITS = re.compile(r"[0-9]{1,20}", re.ASCII)
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_READ |= getattr(os, "O_BINARY", 0)
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)

REGION = "onnxslim.region"
"""``tensor.meta`` key: the :class:`Region` of a mapped file that holds the tensor's bytes."""


@dataclass(frozen=True)
class MappedFile:
    """A file mapped read-only; ``view`` is empty for an empty file."""

    path: str
    identity: tuple[int, int]
    view: memoryview

    def __deepcopy__(self, memo: object) -> MappedFile:
        return self  # a mapping is shared, never copied


@dataclass(frozen=True)
class Region:
    """Bytes ``[offset, offset + length)`` of a mapped file."""

    file: MappedFile
    offset: int
    length: int

    @property
    def key(self) -> tuple[tuple[int, int], int, int]:
        """Equal for two tensors that are the same bytes of the same file."""
        return self.file.identity, self.offset, self.length

    @property
    def view(self) -> memoryview:
        """The bytes, not copied."""
        return self.file.view[self.offset : self.offset + self.length]


Payload = Region | ir.TensorProtocol
"""What a placeholder in ``raw_data`` stands for: bytes of a file, or a tensor in memory."""


def kind_of(mode: int) -> str:
    """What a file that is not a regular file is, in words."""
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFLNK: "a symlink",
    }
    return kinds.get(stat.S_IFMT(mode), "not a regular file")


def map_file(descriptor: int, path: str) -> MappedFile:
    """Map an open regular file read-only; the descriptor can be closed afterwards."""
    status = os.fstat(descriptor)
    identity = (status.st_dev, status.st_ino)
    if status.st_size == 0:
        return MappedFile(path, identity, memoryview(b""))
    mapped = mmap.mmap(descriptor, status.st_size, access=mmap.ACCESS_READ)
    return MappedFile(path, identity, memoryview(mapped))


class Resolver:
    """Finds and maps the data files of one model.

    Args:
        folder: The model's folder; None for a model that did not come from a file.
        model_identity: Device and inode of the model file, which is no data file.
        allow_external_dir: Data files may be symlinks into this folder (a Hugging Face cache).
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None,
        *,
        model_identity: tuple[int, int] | None = None,
        allow_external_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        self._folder = None if folder is None else os.path.realpath(folder)
        self._model = model_identity
        self._allowed = None if allow_external_dir is None else os.path.realpath(allow_external_dir)
        self.follows_symlinks = False
        self._files: dict[str, MappedFile] = {}
        self._regions: dict[tuple[tuple[int, int], int, int], None] = {}

    @property
    def bytes(self) -> int:
        """Bytes of all different regions given out so far."""
        return sum(length for _, _, length in self._regions)

    def resolve(self, entries: Iterable[tuple[str, str]], nbytes: int, where: str) -> Region:
        """The bytes of one external tensor.

        Args:
            entries: ``external_data`` as (key, value) pairs.
            nbytes: Bytes that the tensor's type and dimensions need.
            where: Names the tensor in errors.

        Raises:
            UnsupportedModelError: When the location is not a plain file of the model's own
                folder, or offset and length do not fit it.
        """
        fields = _fields(entries, where)
        location = fields.get("location", "")
        _check_location(location, where)
        file = self._file(location, where)
        offset = _number(fields, "offset", where) or 0
        length = _number(fields, "length", where)
        if length is not None and length != nbytes:
            raise UnsupportedModelError(
                f"{where}: external data length is {length} bytes; its type and dimensions "
                f"need {nbytes}"
            )
        size = len(file.view)
        if offset + nbytes > size:
            raise UnsupportedModelError(
                f"{where}: external data ends at byte {offset + nbytes} of {show(location)}, "
                f"which has {size}; expected the complete data file beside the model"
            )
        region = Region(file, offset, nbytes)
        self._regions[region.key] = None
        return region

    def _file(self, location: str, where: str) -> MappedFile:
        if location not in self._files:
            self._files[location] = self._open(location, where)
        return self._files[location]

    def _open(self, location: str, where: str) -> MappedFile:
        if self._folder is None:
            raise UnsupportedModelError(
                f"{where}: its data is in the external file {show(location)} and the model has no "
                "folder; give a path, or base_dir"
            )
        try:
            path = self._real_path(location, where)
            status = os.lstat(path)
            _check_file(status, location, where, self._model)
            descriptor = os.open(path, _READ | _NO_FOLLOW)
        except OSError as error:
            raise UnsupportedModelError(
                f"{where}: cannot read the external data file {show(location)} "
                f"({error.strerror}); expected it beside the model"
            ) from error
        try:
            opened = os.fstat(descriptor)
            _check_file(opened, location, where, self._model)
            if (opened.st_dev, opened.st_ino) != (status.st_dev, status.st_ino):
                raise UnsupportedModelError(f"{where}: {show(location)} changed while it was read")
            return map_file(descriptor, path)
        finally:
            os.close(descriptor)

    def _real_path(self, location: str, where: str) -> str:
        """The path without symlinks; a symlink is followed only into the allowed folder."""
        assert self._folder is not None
        path = self._folder
        for part in location.split("/"):
            path = os.path.join(path, part)
            if stat.S_ISLNK(os.lstat(path).st_mode):
                return self._allowed_path(os.path.join(self._folder, location), location, where)
        if os.path.realpath(path) != os.path.normpath(path):
            raise UnsupportedModelError(f"{where}: {show(location)} changed while it was read")
        return path

    def _allowed_path(self, path: str, location: str, where: str) -> str:
        real = os.path.realpath(path)
        if self._allowed is not None and Path(real).is_relative_to(self._allowed):
            self.follows_symlinks = True
            return real
        raise UnsupportedModelError(
            f"{where}: the external data file {show(location)} is a symlink; expected a regular "
            "file in the model's folder (a folder of trusted data files can be named with "
            "--allow-external-dir DIR)"
        )


def _check_file(
    status: os.stat_result, location: str, where: str, model: tuple[int, int] | None
) -> None:
    found = None
    if not stat.S_ISREG(status.st_mode):
        found = kind_of(status.st_mode)
    elif status.st_nlink > 1:
        found = f"a hard link (its file has {status.st_nlink} names)"
    elif (status.st_dev, status.st_ino) == model:
        found = "the model file itself"
    if found is not None:
        raise UnsupportedModelError(
            f"{where}: the external data file {show(location)} is {found}; expected a regular "
            "file of its own in the model's folder"
        )


def _fields(entries: Iterable[tuple[str, str]], where: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for key, value in entries:
        if not isinstance(key, str) or not isinstance(value, str):
            raise UnsupportedModelError(f"{where}: external data is described by invalid UTF-8")
        if key in ("location", "offset", "length"):
            if key in fields:
                raise UnsupportedModelError(
                    f"{where}: external data has the key {key!r} twice; expected it once"
                )
            fields[key] = value
    return fields


def _number(fields: dict[str, str], key: str, where: str) -> int | None:
    if key not in fields:
        return None
    if not _DIGITS.fullmatch(fields[key]):
        raise UnsupportedModelError(
            f"{where}: external data {key} is {show(fields[key])}; expected a number of bytes"
        )
    return int(fields[key])


def _check_location(location: str, where: str) -> None:
    parts = location.split("/")
    found = None
    if not location or "\0" in location:
        found = "is missing" if not location else "has a NUL character"
    elif "\\" in location or ":" in location.split("/")[0] or "://" in location:
        found = "is not a relative path with forward slashes"
    elif "*/_ORT_MEM_ADDR_/*" in location:
        found = "is an address in memory"
    elif location.startswith("/"):
        found = "is an absolute path"
    elif ".." in parts or "." in parts or "" in parts:
        found = "has a '.', '..' or empty part"
    if found is not None:
        raise UnsupportedModelError(
            f"{where}: external data location {show(location)} {found}; expected the name of a "
            "file in the model's folder"
        )
