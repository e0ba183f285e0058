"""``onnxslim doctor``: what is installed, what runs, and what is wrong with it."""

from __future__ import annotations

from typing import Any

import typer

from onnxslim.cli import common
from onnxslim.cli.console import plain, print_json, print_table


def command(
    json: common.Json = False, quiet: common.Quiet = False, verbose: common.Verbose = False
) -> int:
    """Show runtime, execution providers and extras, and what is wrong with them."""
    from onnxslim.runtime.doctor import examine

    common.set_up_logging(verbose)
    report = examine()
    if json:
        print_json({"schema": 1, "command": "doctor", **report})
    elif not quiet:
        _show(report)
    return 1 if report["problems"] else 0


def _show(report: dict[str, Any]) -> None:
    print_table(("package", "version"), list(report["packages"].items()))
    providers = ", ".join(report["providers"]) or "none"
    typer.echo(f"execution providers: {plain(providers)}")
    missing = ", ".join(report["missing_limits"]) or "none"
    typer.echo(f"limits this platform lacks for the child process: {missing}")
    for problem in report["problems"]:
        typer.echo(f"problem: {plain(problem)}")
    if not report["problems"]:
        typer.echo("nothing is wrong")
