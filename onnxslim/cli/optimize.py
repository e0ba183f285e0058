"""``onnxslim optimize``: run a recipe over a model, verify the result, write it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxslim.cli import common


@common.with_run_options()
def command(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="The .onnx file to read.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="File to write.")],
    recipe: Annotated[
        str, typer.Option("--recipe", help="A recipe's name, `none`, or a .toml file.")
    ] = "default",
    add: Annotated[
        list[str] | None,
        typer.Option("-p", "--pass", metavar="PASS", help="Append `pass{option=value,...}`."),
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option("--skip", metavar="PASS", help="Leave this pass out.")
    ] = None,
    save_recipe: Annotated[
        Path | None, typer.Option("--save-recipe", metavar="FILE", help="Write what was run.")
    ] = None,
    fix_shape: Annotated[
        list[str] | None,
        typer.Option("--fix-shape", metavar="NAME=1,3,224,224", help="Write this shape into OUT."),
    ] = None,
    inputs: Annotated[
        str | None, typer.Option("--inputs", metavar="NAME,...", help="Cut the graph to these.")
    ] = None,
    outputs: Annotated[
        str | None, typer.Option("--outputs", metavar="NAME,...", help="Cut the graph to these.")
    ] = None,
    opset: Annotated[
        int | None, typer.Option("--opset", metavar="N", help="Raise the opset before the recipe.")
    ] = None,
    rename_dims: Annotated[
        list[str] | None,
        typer.Option("--rename-dims", metavar="OLD=NEW", help="Rename a dynamic dimension."),
    ] = None,
    report: common.Report = None,
    options: common.Options = None,
    allow_external_dir: common.ExternalDir = None,
    force: common.Force = False,
    no_verify: common.NoVerify = False,
    json: common.Json = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> int:
    """Make a model smaller without changing what it computes."""
    from onnxslim.cli.job import Job, execute

    common.set_up_logging(verbose)
    edits = {
        "fix_shapes": tuple(fix_shape or ()), "inputs": _names(inputs), "outputs": _names(outputs),
        "rename_dims": tuple(rename_dims or ()), "opset": opset,
    }  # fmt: skip
    return execute(
        Job(
            model, output, recipe, passes=tuple(add or ()), skip=tuple(skip or ()),
            save_recipe=save_recipe, edits=edits, options=options,
            allow_external_dir=allow_external_dir, force=force, verify=not no_verify, json=json,
            quiet=quiet, report=report,
        )
    )  # fmt: skip


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else ()
