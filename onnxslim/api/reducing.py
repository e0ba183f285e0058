"""The smallest model that still fails a check, for a bug report."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.api.shrinking import Shrinker, minimize
from onnxslim.api.sources import ModelLike, open_model, path_of
from onnxslim.errors import OnnxSlimError, TargetError, UsageError
from onnxslim.graph.piece import count_nodes
from onnxslim.graph.save import check_target, save
from onnxslim.pipeline.recipes import get_recipe
from onnxslim.pipeline.spec import format_pass
from onnxslim.verify.structure import verify_structure

Check = Callable[[Path], bool]

_RECIPE = re.compile(r"\s--recipe[ =](\S+)")
_OPTIMIZE = re.compile(r"\bonnxslim\s+optimize\b")
_NOT_FOUND = (126, 127)


@dataclass(frozen=True)
class Outcome:
    """How a check ended.

    Args:
        code: Exit code, negative for a signal; None when it took too long.
        text: What it printed.
    """

    code: int | None
    text: str

    def describe(self) -> str:
        """``exit code 1``, ``SIGSEGV``, ``timeout``."""
        if self.code is None:
            return "timeout"
        if self.code < 0 or self.code > 128:
            number = -self.code if self.code < 0 else self.code - 128
            if number in {s.value for s in signal.Signals}:
                return signal.Signals(number).name
        return f"exit code {self.code}"


@dataclass(frozen=True)
class CommandCheck:
    """A command that fails on a model: exit code as on the original, and a text that matches.

    Args:
        command: For the shell, with ``{}`` for the path of the model.
        match: Regular expression that the output of a failure must contain.
        timeout: Seconds; a longer run fails only if the original takes longer too.
        code: Exit code of the failure; ``...`` before it is known.
    """

    command: str
    match: str | None = None
    timeout: float = 120.0
    code: int | None | Any = ...

    def outcome(self, path: Path) -> Outcome:
        """Run it on one model."""
        text = self.command.replace("{}", shlex.quote(str(path)))
        process = subprocess.Popen(
            text, shell=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True, errors="replace", text=True,
        )  # fmt: skip
        try:
            printed, _ = process.communicate(timeout=self.timeout)
        except subprocess.TimeoutExpired:
            _end(process)
            return Outcome(None, "")
        except BaseException:
            _end(process)
            raise
        return Outcome(process.returncode, printed)

    def __call__(self, path: Path) -> bool:
        found = self.outcome(path)
        return found.code == self.code and self._matches(found)

    def _matches(self, found: Outcome) -> bool:
        return self.match is None or re.search(self.match, found.text) is not None

    def on_original(self, path: Path, label: str) -> CommandCheck:
        """The same, knowing how it fails on the model as given, which errors call ``label``.

        Raises:
            TargetError: When it does not fail.
            UsageError: When the shell does not find the command.
        """
        found = self.outcome(path)
        if found.code in _NOT_FOUND:
            said = found.text.strip().splitlines()[-1:] or ["no such command"]
            raise UsageError(f"the check cannot be run: {said[0]}")
        if found.code == 0:
            raise TargetError(
                f"the check does not fail on {label} (exit code 0): nothing to reduce"
            )
        if not self._matches(found):
            raise TargetError(
                f"the check fails on {label} ({found.describe()}), but nothing that it prints "
                f"matches {self.match!r}"
            )
        return CommandCheck(self.command, self.match, self.timeout, found.code)


def _end(process: subprocess.Popen[str]) -> None:
    """End a command with everything that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.communicate()


@dataclass(frozen=True)
class Reduction:
    """Result of :func:`reduce`.

    Attributes:
        model: The smallest model that still fails.
        before: Nodes and bytes of the model as given.
        after: The same of the result.
        checks: How often the check was run.
        failure: How it fails.
        check: The command, with the passes left out that the failure does not need.
        passes: The passes that it does need; None when the check runs no recipe of ours.
        output: Where it was written.
        is_complete: False when a limit ended the search.
    """

    model: ir.Model
    before: dict[str, int]
    after: dict[str, int]
    checks: int
    failure: str
    check: str
    passes: tuple[str, ...] | None
    output: Path | None
    is_complete: bool
    source: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The document of ``onnxslim reduce --json``."""
        return {
            "schema": 1,
            "command": "reduce",
            "input": self.source,
            "output": None if self.output is None else str(self.output),
            "before": self.before,
            "after": self.after,
            "checks": self.checks,
            "failure": self.failure,
            "check": self.check,
            "passes": None if self.passes is None else list(self.passes),
            "complete": self.is_complete,
        }


class _Limit(Exception):
    """A limit of the search is reached."""


@dataclass
class _Search:
    """Runs checks on candidates, within limits."""

    check: Check
    folder: Path
    max_checks: int
    deadline: float
    checks: int = 0
    label: str = "model"
    seen: set[str] = field(default_factory=set)

    def fails(self, model: ir.Model) -> bool:
        """Whether a candidate is valid and fails; what cannot be written does not."""
        if time.monotonic() > self.deadline:
            raise _Limit
        if verify_structure(model):
            return False
        path = self.folder / f"{self.label}.onnx"
        try:
            save(model, path)
        except OnnxSlimError:
            return False
        return self.runs(path)

    def runs(self, path: Path) -> bool:
        """Run the check on a file."""
        if self.checks >= self.max_checks or time.monotonic() > self.deadline:
            raise _Limit
        self.checks += 1
        return self.check(path)


def reduce(
    model: ModelLike,
    check: str | Check,
    output: str | os.PathLike[str] | None = None,
    *,
    match: str | None = None,
    timeout: float = 120.0,
    max_checks: int = 1000,
    time_limit: float = 3600.0,
    force: bool = False,
    allow_external_dir: str | None = None,
    on_step: Callable[[str], None] | None = None,
) -> Reduction:
    """Shrink a model as long as it fails a check: passes, then outputs, nodes and weights.

    Inner tensors become inputs where the nodes before them are cut away.

    Args:
        model: Fails the check; never changed.
        check: A command with ``{}`` for the path of a model, which fails by its exit code; or a
            function of a path that returns True for a model that fails.
        output: Where the result is written.
        match: Regular expression that the output of a failing command must contain.
        timeout: Seconds for one run of the command.
        max_checks: Most runs of the check.
        time_limit: Seconds for everything; what is found by then is the result.
        force: Replace ``output`` when it exists.
        allow_external_dir: Another folder that external weights may be read from.
        on_step: Told what is tried.

    Raises:
        TargetError: When the model does not fail the check.
        UnsupportedModelError: When the model cannot be read.
        UsageError: For a command without ``{}`` or one that does not exist.
    """
    if isinstance(check, str) and "{}" not in check:
        raise UsageError(f"the check {check!r} has no {{}}: expected one where the model goes")
    target = None if output is None else check_target(output, path_of(model), force=force)
    start = open_model(model, allow_external_dir=allow_external_dir)
    deadline = time.monotonic() + time_limit
    with tempfile.TemporaryDirectory(prefix="onnxslim-reduce-") as folder:
        search = _Search(bool, Path(folder), max_checks, deadline)
        original = Path(folder) / "original.onnx"
        saved = save(start, original)
        label = str(path_of(model) or "the model")
        failure = _prepare(search, check, original, label, (match, timeout))
        passes, complete = None, True
        infer_shapes(start)
        shrinker = Shrinker(start, search.fails, on_step)
        try:
            passes = _fewest_passes(search, original, on_step)
            shrinker.run()
        except _Limit:
            complete = False
        except KeyboardInterrupt:
            if target is not None:
                save(shrinker.model, target)
            raise
        best = shrinker.model
        size = save(best, target or original).bytes
    return Reduction(
        best,
        {"nodes": count_nodes(start), "bytes": saved.bytes},
        {"nodes": count_nodes(best), "bytes": size},
        search.checks,
        failure,
        search.check.command if isinstance(search.check, CommandCheck) else "",
        passes,
        target,
        complete,
        None if path_of(model) is None else str(path_of(model)),
    )


def _prepare(
    search: _Search,
    check: str | Check,
    original: Path,
    label: str,
    options: tuple[str | None, float],
) -> str:
    """Set the check and see it fail on the model as it is written here; returns how."""
    search.checks = 1
    if isinstance(check, str):
        known = CommandCheck(check, *options).on_original(original, label)
        search.check = known
        return Outcome(known.code, "").describe()
    if not check(original):
        raise TargetError("the check does not fail on the model: nothing to reduce")
    search.check = check
    return "the check returns True"


def _fewest_passes(
    search: _Search, path: Path, on_step: Callable[[str], None] | None
) -> tuple[str, ...] | None:
    """Leave out the passes of our recipe that the failure does not need."""
    given = search.check
    if not isinstance(given, CommandCheck) or not _OPTIMIZE.search(given.command):
        return None
    check: CommandCheck = given
    recipe = _RECIPE.search(check.command)
    try:
        known = get_recipe(recipe[1].strip("'\"") if recipe else "default")
    except OnnxSlimError:
        return None
    specs = {format_pass(p).split("{")[0]: format_pass(p) for p in known.passes()}
    names = [n for n in specs if f"--skip {n}" not in check.command]

    def fails(words: list[str]) -> bool:
        command = _OPTIMIZE.sub(lambda m: shlex.join([*m[0].split(), *words]), check.command)
        search.check = replace(check, command=command)
        return search.runs(path)

    def needs(kept: Sequence[str]) -> bool:
        if on_step is not None:
            on_step(f"passes: {len(kept)} of {len(names)}")
        return fails([w for n in names if n not in set(kept) for w in ("--skip", n)])

    found = minimize(names, needs)
    check = replace(check, command=_RECIPE.sub("", check.command))
    alone = ["--recipe", "none", *(w for n in found for w in ("-p", specs[n]))]
    if not fails(alone):
        needs(found)
    return tuple(found)
