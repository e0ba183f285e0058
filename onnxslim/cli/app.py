"""The commands and their options, as Typer reads them."""

from __future__ import annotations

import typer

from onnxslim.cli import (
    batch,
    bench,
    compress,
    demo,
    diff,
    doctor,
    inspect,
    optimize,
    passes,
    prune,
    quantize,
    reduce,
    validate,
)

app = typer.Typer(
    name="onnxslim",
    help="Make ONNX models smaller and faster, and prove that they still compute the same.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command("optimize")(optimize.command)
app.command("prune")(prune.command)
app.command("validate")(validate.command)
app.command("diff")(diff.command)
app.command("inspect")(inspect.command)
app.command("bench")(bench.command)
app.command("compress")(compress.command)
app.command("batch")(batch.command)
app.command("quantize")(quantize.command)
app.command("passes")(passes.command)
app.command("reduce")(reduce.command)
app.command("doctor")(doctor.command)
app.command("demo")(demo.command)


def _version(show: bool) -> None:
    if show:
        from onnxslim import __version__

        typer.echo(f"onnxslim {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    """Make ONNX models smaller and faster, and prove that they still compute the same."""
