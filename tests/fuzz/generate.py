"""Random valid models: from a seed, or from decisions made elsewhere (hypothesis)."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from tests.fuzz.builder import Array, Builder, Choices, Seeded, Shape
from tests.fuzz.emitters import EMITTERS

_TABLE = tuple(emitter for emitter, weight in EMITTERS for _ in range(weight))
_OPSETS = (17, 18, 13, 20, 21, 15, 11, 9, 16, 14, 12, 10, 19)
_INPUTS: tuple[Shape, ...] = ((2, 8, 8), (4, 6, 7), (3, 4), (8,), (4, 9, 6), (1, 5, 5), (2, 1))


def build(
    choices: Choices, nodes: int, kinds: int = 0, theme: int | None = None
) -> tuple[onnx.ModelProto, dict[str, Shape]]:
    """A model of about ``nodes`` nodes, and the shapes of what must be fed.

    Args:
        choices: Where decisions come from.
        nodes: Number of nodes, ``Constant`` left out.
        kinds: Draw only from so many randomly chosen emitters, which meet more often then; 0: all.
        theme: Number of an emitter that makes half of the nodes.
    """

    def chance(percent: int) -> bool:
        return choices.integer(0, 99) >= 100 - percent

    opset = _OPSETS[choices.integer(0, len(_OPSETS) - 1)]
    builder = Builder(choices, opset=opset, half=chance(8), dynamic=chance(35))
    for index in range(1 + int(chance(30))):
        shape = (builder.batch, *builder.choice(_INPUTS))
        builder.inputs[f"x{index}"] = builder.values[f"x{index}"] = shape
    table = _TABLE
    if kinds:
        table = tuple(EMITTERS[choices.integer(0, len(EMITTERS) - 1)][0] for _ in range(kinds))
    if theme is not None:
        table = (*table[:3], *[EMITTERS[theme][0]] * 3)
    for _ in range(8 * nodes):
        if sum(node.op_type != "Constant" for node in builder.nodes) >= nodes:
            break
        table[choices.integer(0, len(table) - 1)](builder)
    if not builder.produced:
        builder.node("Relu", ["x0"], builder.inputs["x0"])
    return builder.finish(), builder.inputs


def generate(seed: int, nodes: int | None = None) -> tuple[onnx.ModelProto, list[dict[str, Array]]]:
    """The model of a seed and feeds for it (another batch size too when that is dynamic)."""
    choices = Seeded(seed)
    kinds = choices.integer(3, 8) if seed % 2 else 0
    model, inputs = build(choices, nodes or choices.integer(4, 36), kinds)
    return model, feeds(model, inputs, seed)


THEMES = range(len(EMITTERS))


def themed(theme: int) -> tuple[onnx.ModelProto, list[dict[str, Array]]]:
    """A small model in which one emitter is sure to be tried often, and feeds for it."""
    model, inputs = build(Seeded(1000 + theme), 10, 3, theme)
    return model, feeds(model, inputs, theme)


def feeds(model: onnx.ModelProto, inputs: dict[str, Shape], seed: int) -> list[dict[str, Array]]:
    """Random feeds; the last one of another batch size when the model's is dynamic."""
    rng = np.random.default_rng([seed, 1])
    first = model.graph.input[0].type.tensor_type
    dtype: Any = onnx.helper.tensor_dtype_to_np_dtype(first.elem_type)
    batches = [None, None, *([3] if first.shape.dim[0].dim_param else [])]
    return [
        {
            name: rng.standard_normal((batch or shape[0], *shape[1:])).astype(dtype)
            for name, shape in inputs.items()
        }
        for batch in batches
    ]
