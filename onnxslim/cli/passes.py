"""``onnxslim passes``: what can be run, and what it promises."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer

from onnxslim.cli import common
from onnxslim.cli.console import print_json, print_table


def command(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Show one pass with its options.")
    ] = None,
    json: common.Json = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> int:
    """List the passes, or one pass with its options and promise."""
    from onnxslim.pipeline.registry import all_passes, get_pass

    common.set_up_logging(verbose)
    classes = all_passes() if name is None else [get_pass(name)]
    entries = [describe(cls) for cls in classes]
    if json:
        print_json({"schema": 1, "command": "passes", "passes": entries})
    elif not quiet and name is not None:
        _one(entries[0])
    elif not quiet:
        print_table(
            ("pass", "promise", "what it does"),
            [(e["name"], e["numerics"], e["summary"]) for e in entries],
        )
    return 0


def describe(cls: Any) -> dict[str, Any]:
    """Name, promise, recipes, options with defaults and documentation of a pass class."""
    from onnxslim.pipeline.recipes import NAMED, get_recipe

    recipes = [r for r in NAMED if any(p.name == cls.name for p in get_recipe(r).passes())]
    return {
        "name": cls.name,
        "numerics": cls.numerics.value,
        "summary": cls.summary(),
        "documentation": inspect.cleandoc(cls.__doc__ or ""),
        "options": {k: v if v is None or isinstance(v, (int, float, str, bool)) else list(v)
                    for k, v in cls().options().items()},
        "recipes": recipes,
    }  # fmt: skip


def _one(entry: dict[str, Any]) -> None:
    typer.echo(f"{entry['name']} ({entry['numerics']})\n")
    typer.echo(entry["documentation"] + "\n")
    if entry["options"]:
        print_table(("option", "default"), list(entry["options"].items()))
    typer.echo(f"in the recipes: {', '.join(entry['recipes']) or 'none'}")
