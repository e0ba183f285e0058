"""``--report FILE.html``, for every command alike."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxslim.cli.console import note

if TYPE_CHECKING:
    from onnxslim.api.sources import ModelLike
    from onnxslim.report.diff.delta import Delta


def check(report: Path | None, *taken: Path | None) -> None:
    """Refuse a place for the report before anything is done.

    Args:
        report: What was given; None does nothing.
        taken: The command's models.
    """
    if report is not None:
        from onnxslim.api.reporting import check_report

        check_report(report, *taken)


def text(delta: Delta, before: Path, after: Path, *, allow_external_dir: str | None = None) -> str:
    """The page of a difference."""
    from onnxslim.api.reporting import report_text

    return report_text(
        delta.to_json(), before=before, after=after, allow_external_dir=allow_external_dir,
        delta=delta,
    )  # fmt: skip


def write(
    report: Path | None,
    result: Any,
    before: ModelLike | None = None,
    after: ModelLike | None = None,
    *,
    quiet: bool = False,
    allow_external_dir: str | None = None,
) -> None:
    """Write the report of a result, and say where it is.

    Args:
        report: What was given; None does nothing.
        result: Has ``to_json``; None does nothing (the command failed early).
        before: The model that is drawn.
        after: Another one, drawn as a difference.
        quiet: Say nothing.
        allow_external_dir: Another folder that external weights may be read from.
    """
    if report is None or result is None:
        return
    from onnxslim.api.reporting import write_report

    write_report(
        report, result.to_json(), before=before, after=after, allow_external_dir=allow_external_dir,
        delta=result if hasattr(result, "hunks") else None,
    )  # fmt: skip
    note(f"report: {report}", quiet)
