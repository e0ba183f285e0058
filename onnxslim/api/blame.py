"""After a failed verification: which pass did it, and a model to see it with.

Made by replaying prefixes of the recipe from the input (nothing is cloned while passes run), with
a binary search over the runs of passes: as many verifications as the logarithm of their number.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.errors import OnnxSlimError
from onnxslim.graph.save import save
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.manager import Manager
from onnxslim.pipeline.recipes import Recipe
from onnxslim.pipeline.spec import format_pass


@dataclass(frozen=True)
class Culprit:
    """The run of a pass after which outputs differ first.

    Attributes:
        text: For the message: which pass, in which run.
        spec: The pass as text; empty when none was found.
        model: The model before that run; None when it could not be rebuilt.
    """

    text: str
    spec: str
    model: ir.Model | None

    def save(self, target: Path | None, label: str) -> str:
        """Write the model from before the pass; returns how to run the pass on it again."""
        assert self.model is not None
        folder = target.parent if target is not None else Path(tempfile.gettempdir())
        stem = target.stem if target is not None else Path(label).stem.replace(" ", "-")
        path = folder / f"{stem}.before-{self.spec.split('{')[0]}.onnx"
        save(self.model, path)
        command = ["onnxslim", "optimize", str(path), "--recipe", "none", "-p", self.spec]
        return f"replay with: {shlex.join([*command, '-o', 'out.onnx'])}"


def blame(
    reload: Callable[[], ir.Model],
    recipe: Recipe,
    runs: int,
    equal: Callable[[ir.Model], bool],
) -> Culprit:
    """Find the first run of a pass after which the model is no longer equal.

    Args:
        reload: Gives the input model afresh.
        recipe: The recipe that was run.
        runs: How many runs of passes it took.
        equal: Compares a model with the input.
    """
    good, bad = 0, runs
    while bad - good > 1:
        middle = (good + bad) // 2
        if equal(replay(reload(), recipe, middle)[0]):
            good = middle
        else:
            bad = middle
    try:
        _, manager = replay(reload(), recipe, bad)
        before, _ = replay(reload(), recipe, good)
    except OnnxSlimError as error:
        return Culprit(f"run {bad} ({error})", "", None)
    item = manager.runs[bad - 1] if len(manager.runs) >= bad else None
    if item is None:
        return Culprit("writing the model", "", None)
    return Culprit(f"pass {item.name} (run {bad} of {runs})", format_pass(item), before)


def replay(model: ir.Model, recipe: Recipe, runs: int) -> tuple[ir.Model, Manager]:
    """Run the first ``runs`` runs of a recipe on a model in place."""
    infer_shapes(model)
    manager = Manager(recipe, verify=False, stop_after=runs)
    manager.run(model, PassContext(model))
    return model, manager
