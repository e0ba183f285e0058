"""One run of ``onnxslim optimize``, however its options were read."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxslim.cli import reports
from onnxslim.cli.console import count_text, note, print_json, print_table, progress, size_text
from onnxslim.errors import VerificationError, WorkerError

if TYPE_CHECKING:
    from onnxslim.api.options import RunOptions
    from onnxslim.api.results import Result
    from onnxslim.runtime.spawn import Spawned


@dataclass(frozen=True)
class Job:
    """What was asked for; the fields are the options of the command.

    Attributes:
        edits: Fields of ``InterfaceEdits``.
        options: How models are run; None is as ever.
    """

    model: Path
    output: Path
    recipe: str = "default"
    passes: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    save_recipe: Path | None = None
    edits: Mapping[str, Any] = field(default_factory=dict)
    options: RunOptions | None = None
    allow_external_dir: str | None = None
    force: bool = False
    verify: bool = True
    json: bool = False
    quiet: bool = False
    report: Path | None = None


def execute(job: Job) -> int:
    """Run a job and print its result; returns the exit code."""
    reports.check(job.report, job.model, job.output)
    with ExitStack() as stack:
        spawned = _spawn(stack) if job.verify else None
        from onnxslim import api
        from onnxslim.runtime.worker import Worker

        _collect_seldom(stack)
        worker = Worker(spawned=spawned)
        stack.callback(worker.close)
        show_steps = not (job.json or job.quiet)
        update = stack.enter_context(progress(str(job.model), show=show_steps))
        try:
            result = api.optimize(
                job.model, job.recipe, output=job.output, passes=job.passes, skip=job.skip,
                edits=api.InterfaceEdits(**job.edits), save_recipe=job.save_recipe,
                options=job.options, verify=job.verify, force=job.force,
                allow_external_dir=job.allow_external_dir, on_step=update, worker=worker,
            )  # fmt: skip
        except VerificationError as error:
            failed = getattr(error, "result", None)
            _report(job, failed)
            if job.json and failed is not None:
                print_json(failed.to_json())
            raise
    _report(job, result)
    if job.json:
        print_json(result.to_json())
    elif not job.quiet:
        show(result)
    return 0


def _report(job: Job, result: Result | None) -> None:
    after = None if result is None else result.model
    more = job.allow_external_dir
    reports.write(job.report, result, job.model, after, quiet=job.quiet, allow_external_dir=more)


def _spawn(stack: ExitStack) -> Spawned | None:
    """The worker child, importing while this process does; None where it cannot be started now."""
    from onnxslim.runtime.spawn import spawn

    try:
        return stack.enter_context(spawn())
    except (OSError, WorkerError):
        return None  # it is tried again when it is needed, which says what is wrong


def _collect_seldom(stack: ExitStack) -> None:
    """Look for garbage seldom: models are many small objects that live to the end."""
    stack.callback(gc.set_threshold, *gc.get_threshold())
    gc.set_threshold(200_000, 20, 100)
    gc.freeze()
    gc.enable()


def show(result: Result) -> None:
    """Print a result as a person reads it: before and after, passes, verdict, warnings."""
    before, after = result.before, result.after
    changed = sorted(
        op
        for op in {*before.operators, *after.operators}
        if before.operators.get(op, 0) != after.operators.get(op, 0)
    )
    rows = [
        ("nodes", before.nodes, after.nodes),
        ("parameters", count_text(before.parameters), count_text(after.parameters)),
        ("MACs", count_text(before.macs), count_text(after.macs)),
        ("size", size_text(before.bytes), size_text(after.bytes)),
        *((f"  {op}", before.operators.get(op, 0), after.operators.get(op, 0)) for op in changed),
    ]
    print_table((str(result.output or "model"), "before", "after"), rows)
    done = [(p.name, p.rewrites, f"{p.seconds:.2f}") for p in result.passes if p.rewrites]
    if done:
        print_table(("pass", "rewrites", "seconds"), done)
    for line in result.edits:
        note(f"edit: {line}")
    note(result.verification.explain())
    for warning in result.warnings:
        note(f"warning: {warning}")
