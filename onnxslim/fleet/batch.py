"""One recipe over many models.

Every model is a work item of its own, with a record beside its result: a run that was interrupted
goes on where it was, and what did not change is not done again.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnxslim import __version__
from onnxslim.api.executors import each, open_executor
from onnxslim.api.options import RunOptions
from onnxslim.errors import OnnxSlimError, UsageError
from onnxslim.pipeline.recipes import format_recipe, get_recipe

_CHUNK = 1 << 20


@dataclass(frozen=True)
class WorkItem:
    """One model; picklable.

    Attributes:
        model: The file to read.
        output: The file to write.
        recipe: Its text as TOML.
        options: How models are run.
        verify: Compare the result with the original.
        key: Digest of everything that the result depends on.
    """

    model: str
    output: str
    recipe: str
    options: RunOptions
    verify: bool
    key: str

    @property
    def record(self) -> Path:
        """Where the result is noted."""
        return Path(self.output + ".json")


@dataclass(frozen=True)
class Entry:
    """What came of one model.

    Attributes:
        input: The file read.
        output: The file written; None when it failed.
        ok: Whether it was.
        skipped: Done by an earlier run, and unchanged since.
        seconds: It took.
        document: As ``optimize --json`` prints it; None when it failed.
        error: One line; empty when ok.
        exit_code: As ``optimize`` would have ended.
    """

    input: str
    output: str | None
    ok: bool
    skipped: bool
    seconds: float
    document: dict[str, Any] | None
    error: str
    exit_code: int

    def to_json(self) -> dict[str, Any]:
        """The entry of the document: counts instead of the whole document."""
        found = {k: getattr(self, k) for k in ("input", "output", "ok", "skipped", "seconds")}
        counts = {k: (self.document or {}).get(k) for k in ("before", "after", "warnings")}
        return {**found, **counts, "error": self.error or None, "exit_code": self.exit_code}


@dataclass(frozen=True)
class BatchResult:
    """What came of all of them, in the order given."""

    recipe: str
    entries: tuple[Entry, ...] = field(default_factory=tuple)

    @property
    def ok(self) -> bool:
        """Whether every model was done."""
        return all(entry.ok for entry in self.entries)

    def to_json(self) -> dict[str, Any]:
        """The document of ``onnxslim batch --json``."""
        return {
            "schema": 1,
            "command": "batch",
            "recipe": self.recipe,
            "ok": self.ok,
            "models": [entry.to_json() for entry in self.entries],
        }


def batch(
    recipe: str | os.PathLike[str],
    models: Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    executor: Executor | str = "processes",
    options: RunOptions | None = None,
    verify: bool = True,
    force: bool = False,
    on_done: Callable[[Entry], None] | None = None,
) -> BatchResult:
    """Run a recipe over many models; a failure is the result of its model alone.

    Args:
        recipe: A recipe's name or a ``.toml`` file.
        models: Files, folders (every ``.onnx`` below them) or patterns.
        output: Folder for the results; sub-folders are kept where names would clash.
        executor: Any ``concurrent.futures`` executor, ``processes:N`` or ``dask://HOST:PORT``.
        options: How models are run.
        verify: Compare each result with its original.
        force: Do again what an earlier run has done.
        on_done: Called with each entry as it ends.

    Raises:
        UsageError: For a recipe or files that do not exist.
    """
    text = format_recipe(get_recipe(os.fspath(recipe)))
    items = _items(text, find(models), Path(output), options or RunOptions(), verify)
    report = on_done or (lambda entry: None)
    done: dict[str, Entry] = {}
    if not force:
        done = {i.output: entry for i in items if (entry := _known(i)) is not None}
    for entry in done.values():
        report(entry)
    left = [item for item in items if item.output not in done]
    if isinstance(executor, str):
        with open_executor(executor) as pool:
            fresh = _spread(pool, left, report)
    else:
        fresh = _spread(executor, left, report)
    found = {**done, **{item.output: e for item, e in zip(left, fresh, strict=True)}}
    return BatchResult(os.fspath(recipe), tuple(found[item.output] for item in items))


def find(models: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The files that paths, folders and patterns mean, each once.

    Raises:
        UsageError: When one of them means nothing.
    """
    found: dict[Path, None] = {}
    for given in models:
        text = os.fspath(given)
        path = Path(text)
        if path.is_dir():
            files = sorted(path.rglob("*.onnx"))
        elif path.exists():
            files = [path]
        else:
            files = [Path(name) for name in sorted(glob.glob(text, recursive=True))]
        if not files:
            raise UsageError(
                f"{text} is no model and no folder with .onnx files: "
                "give files, folders or a pattern"
            )
        found.update(dict.fromkeys(files))
    return list(found)


def _items(
    recipe: str, files: Sequence[Path], folder: Path, options: RunOptions, verify: bool
) -> list[WorkItem]:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"-o {folder} is a file: give the name of a folder for the results")
    folder.mkdir(parents=True, exist_ok=True)
    items = []
    for file, name in zip(files, _names(files), strict=True):
        target = folder / name
        if target.resolve() == file.resolve():
            raise UsageError(f"{file} would be replaced by its own result: give another -o DIR")
        target.parent.mkdir(parents=True, exist_ok=True)
        key = _key(file, recipe, options, verify)
        items.append(WorkItem(str(file), str(target), recipe, options, verify, key))
    return items


def _names(files: Sequence[Path]) -> list[Path]:
    """File names; with the folders below the common one where two are equal."""
    names = [file.name for file in files]
    if len(set(names)) == len(names):
        return [Path(name) for name in names]
    whole = [file.resolve() for file in files]
    common = Path(os.path.commonpath([file.parent for file in whole]))
    return [file.relative_to(common) for file in whole]


def _key(file: Path, recipe: str, options: RunOptions, verify: bool) -> str:
    digest = hashlib.sha256(f"{__version__}\n{recipe}\n{options}\n{verify}\n".encode())
    try:
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    except OSError:
        return ""  # the work item will say what is wrong with it
    return digest.hexdigest()


def _known(item: WorkItem) -> Entry | None:
    """What an earlier run found, when its result is still there."""
    try:
        found = json.loads(item.record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    document = found.get("document") if isinstance(found, dict) else None
    if not item.key or not document or found.get("key") != item.key:
        return None
    if not Path(item.output).exists():
        return None
    return Entry(item.model, item.output, True, True, 0.0, document, "", 0)


def _spread(
    executor: Executor, items: Sequence[WorkItem], report: Callable[[Entry], None]
) -> list[Entry]:
    return each(executor, run_item, items, lost=_lost, on_done=lambda _, entry: report(entry))


def _lost(item: WorkItem, error: BaseException) -> Entry:
    text = f"its worker died ({type(error).__name__}: {error})"
    return Entry(item.model, None, False, False, 0.0, None, text, 2)


def run_item(item: WorkItem) -> Entry:
    """Optimize one model and note the result, in whatever process this is."""
    from onnxslim.api.optimizing import optimize

    start = time.monotonic()
    try:
        recipe = Path(item.output + ".recipe.toml")
        recipe.write_text(item.recipe, encoding="utf-8")
        try:
            result = optimize(
                item.model, str(recipe), output=item.output, options=item.options,
                verify=item.verify, force=True,
            )  # fmt: skip
        finally:
            recipe.unlink(missing_ok=True)
        document = result.to_json()
        note = json.dumps({"key": item.key, "document": document})
        part = item.record.with_name(f".{item.record.name}.{os.getpid()}.part")
        part.write_text(note + "\n", encoding="utf-8")
        os.replace(part, item.record)
    except OnnxSlimError as error:
        return _failed(item, start, str(error), error.exit_code)
    except Exception as error:  # one model must not stop the others
        return _failed(item, start, f"{type(error).__name__}: {error}", 2)
    seconds = round(time.monotonic() - start, 3)
    return Entry(item.model, item.output, True, False, seconds, document, "", 0)


def _failed(item: WorkItem, start: float, text: str, code: int) -> Entry:
    seconds = round(time.monotonic() - start, 3)
    return Entry(item.model, None, False, False, seconds, None, text, code)
