"""Run a recipe from a TOML file, and see what each pass did and refused."""

from __future__ import annotations

from pathlib import Path

import onnxslim
from onnxslim import demo

recipe = Path(__file__).with_name("recipe.toml")
result = onnxslim.optimize(demo.model_path(), recipe=recipe)
for entry in result.passes:
    print(f"{entry.name}: {entry.rewrites} rewrites", dict(entry.skipped) or "")
