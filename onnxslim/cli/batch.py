"""``onnxslim batch``: one recipe over many models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onnxslim.cli import common
from onnxslim.cli.console import note, plain, print_json, print_table, size_text
from onnxslim.errors import UsageError

if TYPE_CHECKING:
    from onnxslim.fleet.batch import BatchResult, Entry


@common.with_run_options()
def command(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's name or .toml file.")],
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="Files, folders or patterns.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="For results.")],
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, metavar="N", help="Models at once.")
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option("--executor", metavar="E", help="processes:N or dask://HOST:PORT."),
    ] = None,
    options: common.Options = None,
    force: common.Force = False,
    no_verify: common.NoVerify = False,
    json: common.Json = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> int:
    """Run one recipe over many models; failures stay with their model, a second run resumes."""
    from onnxslim.fleet.batch import batch

    common.set_up_logging(verbose)
    if jobs is not None and executor is not None:
        raise UsageError("--jobs N means --executor processes:N: give one of them")
    where = executor or (f"processes:{jobs}" if jobs else "processes")
    result = batch(
        recipe, models, output, executor=where, options=options, verify=not no_verify,
        force=force, on_done=None if json or quiet else _report,
    )  # fmt: skip
    if json:
        print_json(result.to_json())
    elif not quiet:
        _show(result)
    return 0 if result.ok else 1


def _report(entry: Entry) -> None:
    verdict = "done before" if entry.skipped else "done" if entry.ok else "FAILED"
    note(f"{entry.input}: {verdict}" + (f": {entry.error}" if entry.error else ""))


def _show(result: BatchResult) -> None:
    rows = []
    for entry in result.entries:
        name = plain(Path(entry.input).name)
        if entry.document is None:
            rows.append((name, "failed", "", "", "", ""))
            continue
        before, after = entry.document["before"], entry.document["after"]
        rows.append(
            (
                name, "as before" if entry.skipped else "ok", before["nodes"], after["nodes"],
                size_text(before["bytes"]), size_text(after["bytes"]),
            )
        )  # fmt: skip
    print_table(("model", "result", "nodes", "after", "size", "after"), rows)
