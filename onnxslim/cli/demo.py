"""``onnxslim demo``: the main job on the model that ships with the package."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from onnxslim.cli import common, validate
from onnxslim.cli.console import print_json


def command(
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="Keep the files in this folder."),
    ] = None,
    json: common.Json = False,
) -> int:
    """Optimize and validate the sample model that ships with the package."""
    from onnxslim import api, demo
    from onnxslim.cli.job import show

    with tempfile.TemporaryDirectory(prefix="onnxslim-demo-") as temporary:
        folder = output or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        small = folder / "demo_optimized.onnx"
        result = api.optimize(demo.model_path(), output=small, force=True)
        report = api.validate(
            demo.model_path(),
            small,
            labels="y",
            options=api.RunOptions(data=str(demo.labelled_path())),
        )
    if json:
        print_json({"schema": 1, "command": "demo", "optimize": result.to_json(),
                    "validate": report.to_json()})  # fmt: skip
        return 0 if report.ok else 1
    typer.echo("onnxslim optimize: a ResNet trained on MNIST, as PyTorch exported it\n")
    show(result)
    typer.echo("\nonnxslim validate: both models on the labelled test images\n")
    validate.show(report)
    if output is not None:
        typer.echo(f"\nwritten: {small}")
    return 0 if report.ok else 1
