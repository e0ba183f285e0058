"""``onnxslim optimize``: run a recipe over a model, verify the result, write it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onnxslim.cli import common
from onnxslim.cli.console import count_text, note, print_json, print_table, progress, size_text

if TYPE_CHECKING:
    from onnxslim.api.results import Result


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
    provider: common.Provider = "cpu",
    data: common.Data = None,
    samples: common.Samples = None,
    seed: common.Seed = 0,
    input_shape: common.InputShape = None,
    dim: common.Dim = None,
    input_value: common.InputValue = None,
    state: common.State = None,
    image_size: common.ImageSize = None,
    resize: common.Resize = None,
    channel_order: common.ChannelOrder = None,
    scale: common.Scale = None,
    mean: common.Mean = None,
    std: common.Std = None,
    layout: common.Layout = None,
    custom_ops: common.CustomOps = None,
    allow_external_dir: common.ExternalDir = None,
    force: common.Force = False,
    no_verify: common.NoVerify = False,
    json: common.Json = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> int:
    """Make a model smaller without changing what it computes."""
    from onnxslim import api
    from onnxslim.errors import VerificationError

    common.set_up_logging(verbose)
    options = common.run_options(
        provider=provider, data=data, samples=samples, seed=seed, custom_ops=custom_ops,
        input_shape=input_shape, dim=dim, input_value=input_value, state=state,
        image_size=image_size, resize=resize, channel_order=channel_order, scale=scale,
        mean=mean, std=std, layout=layout,
    )  # fmt: skip
    edits = api.InterfaceEdits(
        fix_shapes=tuple(fix_shape or ()), inputs=_names(inputs), outputs=_names(outputs),
        rename_dims=tuple(rename_dims or ()), opset=opset,
    )  # fmt: skip
    with progress(str(model), show=not (json or quiet)) as update:
        try:
            result = api.optimize(
                model, recipe, output=output, passes=tuple(add or ()), skip=tuple(skip or ()),
                edits=edits, save_recipe=save_recipe, options=options, verify=not no_verify,
                force=force, allow_external_dir=allow_external_dir, on_step=update,
            )  # fmt: skip
        except VerificationError as error:
            failed = getattr(error, "result", None)
            if json and failed is not None:
                print_json(failed.to_json())
            raise
    if json:
        print_json(result.to_json())
    elif not quiet:
        show(result)
    return 0


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else ()


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
