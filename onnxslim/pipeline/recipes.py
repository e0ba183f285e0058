"""Recipes: ordered passes with a name. The order is written here, never found.

A recipe runs its steps in order; a step that is a :class:`Repeat` runs its passes until none of
them finds anything more, at most ``limit`` rounds.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxslim.errors import UsageError
from onnxslim.pipeline.base import Pass
from onnxslim.pipeline.registry import get_pass
from onnxslim.pipeline.spec import format_pass, format_value, make_pass, parse_pass

PREPARE = ("inline-functions",)
CLEAN = (
    "eliminate-identity",
    "eliminate-dropout",
    "eliminate-noop",
    "fold-constants",
    "inline-if",
    "inline-loop",
    "eliminate-where",
    "eliminate-zero-state",
    "eliminate-expand",
    "fold-shape",
    "fuse-shape",
    "fold-subgraph",
    "eliminate-transpose",
    "push-transpose",
    "fuse-transpose",
    "eliminate-strided-gather",
    "fuse-reshape",
    "fuse-slice",
    "fuse-split",
    "fuse-concat",
    "fuse-cast",
    "fuse-clip",
    "eliminate-involution",
    "eliminate-qdq",
    "fuse-gelu",
    "fuse-layer-norm",
    "fuse-rms-norm",
    "fuse-mish",
    "fuse-swish",
    "fuse-hard-sigmoid",
    "fuse-hard-swish",
    "fold-batchnorm",
    "convert-einsum",
    "fold-pad",
    "fold-transpose",
    "fuse-gemm",
    "fold-affine",
    "fold-matmul",
    "fuse-arithmetic",
    "eliminate-zero-bias",
    "eliminate-common-subexpression",
    "deduplicate-initializers",
    "eliminate-dead",
)

MINIMAL = (
    "eliminate-identity",
    "eliminate-dropout",
    "eliminate-noop{keep_zero_sign=true}",
    "fold-constants",
    "inline-if",
    "inline-loop",
    "fuse-cast",
    "eliminate-involution",
    "eliminate-qdq",
    "eliminate-common-subexpression",
    "deduplicate-initializers",
    "eliminate-dead",
)
"""Passes that cannot change a bit of any output."""

NAMED: dict[str, tuple[str | tuple[str, ...], ...]] = {
    "none": (),
    "minimal": (*PREPARE, MINIMAL),
    "default": (*PREPARE, CLEAN),
    "aggressive": (*PREPARE, CLEAN, "convert-opset", CLEAN),
}
"""Recipe name to steps; an inner tuple is repeated until nothing changes."""


@dataclass(frozen=True)
class Repeat:
    """Passes that are run in rounds until a whole round changes nothing."""

    passes: tuple[Pass, ...]
    limit: int = 20


@dataclass(frozen=True)
class Recipe:
    """Named steps in the order in which they run."""

    name: str
    steps: tuple[Pass | Repeat, ...]

    def passes(self) -> tuple[Pass, ...]:
        """Every pass of the recipe once, in order."""
        found: list[Pass] = []
        for step in self.steps:
            found.extend(step.passes if isinstance(step, Repeat) else (step,))
        return tuple(dict.fromkeys(found))


def get_recipe(name: str | Path) -> Recipe:
    """A recipe by name, or read from a ``.toml`` file.

    Raises:
        UsageError: For an unknown name or a file that is no recipe.
    """
    text = str(name)
    if text in NAMED:
        return Recipe(text, tuple(_step(s) for s in NAMED[text]))
    if text.endswith(".toml"):
        return _read(Path(text))
    raise UsageError(
        f"there is no recipe {text!r}: expected one of {', '.join(NAMED)} or a file ending in .toml"
    )


def _step(step: str | tuple[str, ...]) -> Pass | Repeat:
    if isinstance(step, str):
        return parse_pass(step)
    return Repeat(tuple(parse_pass(s) for s in step))


def _read(path: Path) -> Recipe:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read recipe {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no TOML: {error}") from error
    steps = document.get("steps")
    if not isinstance(steps, list) or set(document) - {"name", "steps"}:
        raise UsageError(f"{path} is no recipe: expected `name` and a list of tables `[[steps]]`")
    return Recipe(str(document.get("name", path.stem)), tuple(_table_step(path, s) for s in steps))


def _table_step(path: Path, table: Any) -> Pass | Repeat:
    """``use = "pass"`` with options, or ``repeat = ["pass{...}", ...]`` with a ``limit``."""
    if isinstance(table, dict) and isinstance(table.get("use"), str):
        options = {k: v for k, v in table.items() if k != "use"}
        return make_pass(get_pass(table["use"]), options)
    if isinstance(table, dict) and isinstance(table.get("repeat"), list):
        return _repeat(path, table)
    raise UsageError(f"a step of {path} has neither `use` nor `repeat`: {table!r}")


def _repeat(path: Path, table: dict[str, Any]) -> Repeat:
    limit, unknown = table.get("limit", 20), sorted(set(table) - {"repeat", "limit"})
    if unknown:
        raise UsageError(f"a step of {path} has {unknown[0]!r}, expected `repeat` and `limit`")
    if type(limit) is not int or limit < 1:
        raise UsageError(f"a step of {path} has the limit {limit!r}, expected a number above 0")
    return Repeat(tuple(parse_pass(str(s)) for s in table["repeat"]), limit)


def format_recipe(recipe: Recipe) -> str:
    """A recipe as TOML that :func:`get_recipe` reads back, options resolved."""
    lines = [f"name = {format_value(recipe.name)}", *([] if recipe.steps else ["steps = []"])]
    for step in recipe.steps:
        lines += ["", "[[steps]]"]
        if isinstance(step, Repeat):
            lines.append(f"repeat = {format_value([format_pass(p) for p in step.passes])}")
            lines.append(f"limit = {step.limit}")
        else:
            lines.append(f"use = {format_value(step.name)}")
            options = {k: v for k, v in step.options().items() if v is not None}
            lines += [f"{key} = {format_value(value)}" for key, value in options.items()]
    return "\n".join(lines) + "\n"
