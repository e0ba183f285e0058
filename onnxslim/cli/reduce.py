"""``onnxslim reduce``: the smallest model that still fails a check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onnxslim.cli import common
from onnxslim.cli.console import note, plain, print_json, progress, size_text

if TYPE_CHECKING:
    from onnxslim.api.reducing import Reduction


def command(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model that fails the check.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="OUT", help="Where the small one is written.")
    ],
    check: Annotated[
        str,
        typer.Option(
            "--check",
            metavar="'COMMAND {}'",
            help="A shell command with {} for a model; it fails by its exit code.",
        ),
    ],
    match: Annotated[
        str | None,
        typer.Option("--match", metavar="REGEX", help="What a failure must print to count."),
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, metavar="S", help="Seconds for one check.")
    ] = 120.0,
    time_limit: Annotated[
        float, typer.Option("--time-limit", min=0.1, metavar="S", help="Seconds for everything.")
    ] = 3600.0,
    max_checks: Annotated[
        int, typer.Option("--max-checks", min=1, metavar="N", help="Most runs of the check.")
    ] = 1000,
    force: common.Force = False,
    allow_external_dir: common.ExternalDir = None,
    json: common.Json = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> int:
    """Shrink a model that fails a check to the part that matters, for a bug report.

    Other exit codes than that of MODEL itself do not count as its failure. When the command runs
    `onnxslim optimize`, the passes that the failure needs are found first.
    """
    from onnxslim.api.reducing import reduce

    common.set_up_logging(verbose)
    with progress(str(model), show=not (json or quiet)) as update:
        found = reduce(
            model, check, output, match=match, timeout=timeout, max_checks=max_checks,
            time_limit=time_limit, force=force, allow_external_dir=allow_external_dir,
            on_step=update,
        )  # fmt: skip
    if json:
        print_json(found.to_json())
    elif not quiet:
        show(found)
    return 0


def show(found: Reduction) -> None:
    """Print what was reached and how to see it."""
    before, after = found.before, found.after
    typer.echo(
        f"{before['nodes']} -> {after['nodes']} nodes, {size_text(before['bytes'])} -> "
        f"{size_text(after['bytes'])}, still {plain(found.failure)} ({found.checks} checks)"
    )
    if found.passes is not None:
        names = ", ".join(found.passes) or "none: it fails without any pass"
        typer.echo(f"passes that it needs: {names}")
    if found.check:
        typer.echo(f"check: {plain(found.check.replace('{}', str(found.output)))}")
    if not found.is_complete:
        note("a limit ended the search; it may go on from the result")
