"""``onnxslim.slim``: one call with the shape that programs written for another simplifier use.

Same call, same keyword arguments, same meaning; what runs is :func:`onnxslim.optimize`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.api.optimizing import optimize
from onnxslim.api.options import RunOptions
from onnxslim.api.sources import ModelLike, save
from onnxslim.errors import DataError, UnknownPassError, UsageError, WorkerError
from onnxslim.graph.interface import InterfaceEdits
from onnxslim.pipeline.base import Pass
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.manager import Manager, without
from onnxslim.pipeline.recipes import Recipe, Repeat, get_recipe
from onnxslim.pipeline.registry import get_pass
from onnxslim.pipeline.spec import make_pass, parse_pass
from onnxslim.runtime.feeds import random_feed
from onnxslim.runtime.specs import specs_of
from onnxslim.runtime.worker import Worker

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

_SKIPPED: Mapping[str, tuple[str, ...]] = {
    "constant_folding": ("fold-constants", "fold-shape"),
    "dead_node_elimination": ("eliminate-identity", "eliminate-dropout", "eliminate-noop"),
    "subexpression_elimination": ("eliminate-common-subexpression",),
    "weight_tying": ("deduplicate-initializers",),
}
"""Their names of optimizations to our passes; ``graph_fusion`` is every other one."""

_IGNORED = ("verbose", "no_shape_infer", "save_as_external_data", "inspect", "dump_to_disk")


def slim(
    model: ModelLike | Sequence[Any],
    output_model: str | None = None,
    *,
    model_check: bool = False,
    input_shapes: Sequence[str] | str | None = None,
    inputs: Sequence[str] | str | None = None,
    outputs: Sequence[str] | str | None = None,
    skip_optimizations: Sequence[str] | str | None = None,
    skip_fusion_patterns: Sequence[str] | str | None = None,
    size_threshold: int | None = None,
    dtype: str | None = None,
    model_check_inputs: Sequence[str] | str | None = None,
    **others: Any,
) -> onnx.ModelProto | None:
    """Simplify a model with one call.

    Args:
        model: A path, ``onnx.ModelProto`` or ``onnx_ir.Model``; never changed.
        output_model: File to write (replaced when it exists); None returns the model.
        model_check: Always true here: a result is compared with the model before it is returned.
        input_shapes: ``"NAME:1,3,224,224"`` each, written into the model.
        inputs: ``"NAME"`` or ``"NAME:dtype"`` each: cut the graph to these inputs.
        outputs: The same for outputs.
        skip_optimizations: ``constant_folding``, ``graph_fusion``, ``dead_node_elimination``,
            ``subexpression_elimination``, ``weight_tying``, or names of our passes; an empty list
            skips all of them, as there.
        skip_fusion_patterns: Names of our passes; names of the other tool's patterns are reported.
        size_threshold: Constants that would have more bytes than this are not folded.
        dtype: ``fp16`` computes in float16 afterwards, inputs and outputs too; not compared.
        model_check_inputs: ``"NAME:1,3,224,224"`` each: shapes for the comparison only.
        others: Further keywords of the other tool, without effect here; unknown ones are reported.

    Returns:
        The simplified model, or None when it was written to ``output_model``.

    Raises:
        VerificationError: When the result differs from the model.
        UnsupportedModelError: When the model cannot be read or is invalid.
        UsageError: For ``dtype``, a list of models, or arguments that make no sense.
    """
    if isinstance(model, (list, tuple)):
        raise UsageError("slim() of a list of models only inspects them: not built yet")
    if dtype not in (None, "fp16"):
        raise UsageError(f"slim(dtype={dtype!r}): expected 'fp16' or None")
    for name in sorted(set(others) - set(_IGNORED)):
        warnings.warn(f"slim() has no argument {name!r}: ignored", stacklevel=2)
    skipped = _skipped(skip_optimizations, skip_fusion_patterns)
    result = optimize(
        model,  # type: ignore[arg-type]
        _recipe(skipped, size_threshold),
        edits=InterfaceEdits(
            fix_shapes=tuple(_assignments(input_shapes)),
            inputs=tuple(_names(inputs)),
            outputs=tuple(_names(outputs)),
        ),
        options=RunOptions(input_shapes=tuple(_assignments(model_check_inputs))),
        output=output_model if dtype is None else None,
        force=True,
    )
    if dtype is not None:
        _to_float16(result.model)
        if output_model is not None:
            save(result.model, output_model)
    if output_model is not None:
        return None
    from onnxslim.graph.serialize import to_proto

    return to_proto(result.model)


def _to_float16(model: ir.Model) -> None:
    """Convert in place; tensors too large for float16 on random inputs stay float32."""
    item = parse_pass("convert-float16")
    infer_shapes(model)
    with Worker() as worker:
        try:
            feeds = [random_feed(specs_of(model), seed, model=model) for seed in range(2)]
            ctx = PassContext(model, worker=worker, calibration=feeds)
            Manager(Recipe("float16", (item,))).run(model, ctx)
        except (DataError, WorkerError):  # it does not run on these: only constants are judged
            ctx = PassContext(model, worker=worker)
            Manager(Recipe("float16", (item,))).run(model, ctx)
    for text in ctx.warnings:
        warnings.warn(f"slim(dtype='fp16'): {text}", stacklevel=3)


def _names(value: Sequence[str] | str | None) -> list[str]:
    """Names without the ``:dtype`` that may follow them."""
    return [text.rpartition(":")[0] or text for text in _list(value)]


def _assignments(value: Sequence[str] | str | None) -> list[str]:
    """``x:1,3`` as ``x=1,3``; a name may hold colons itself."""
    found = []
    for text in _list(value):
        name, sign, shape = text.rpartition(":")
        if not sign or not shape.replace(",", "").isdigit():
            raise UsageError(f"slim(): {text!r} is no shape: expected NAME:1,3,224,224")
        found.append(f"{name}={shape}")
    return found


def _list(value: Sequence[str] | str | None) -> list[str]:
    if value is None:
        return []
    return value.split() if isinstance(value, str) else list(value)


def _skipped(
    optimizations: Sequence[str] | str | None, patterns: Sequence[str] | str | None
) -> set[str]:
    """Names of our passes to leave out."""
    known = {p.name for p in get_recipe("default").passes()}
    if optimizations is not None and not _list(optimizations):
        return known
    left_out: set[str] = set()
    for name in _list(optimizations):
        if name == "graph_fusion":
            left_out |= {p for p in known if p.startswith(("fold-", "fuse-", "push-"))}
            left_out -= {*_SKIPPED["constant_folding"]}
        elif name in _SKIPPED:
            left_out |= {p for p in _SKIPPED[name] if p in known}
        else:
            left_out.add(get_pass(name).name)
    for name in _list(patterns):
        try:
            left_out.add(get_pass(name).name)
        except UnknownPassError:
            warnings.warn(f"slim() has no pass for the pattern {name!r}: ignored", stacklevel=3)
    return left_out


def _recipe(skipped: set[str], size_threshold: int | None) -> Recipe:
    """The default recipe without some passes, and folding limited."""
    steps: list[Pass | Repeat] = []
    for step in without(get_recipe("default"), sorted(skipped)).steps:
        if isinstance(step, Repeat):
            limited = tuple(_limited(p, size_threshold) for p in step.passes)
            steps.append(Repeat(limited, step.limit))
        else:
            steps.append(_limited(step, size_threshold))
    return Recipe("default", tuple(steps))


def _limited(item: Pass, size_threshold: int | None) -> Pass:
    if size_threshold is None or item.name != "fold-constants":
        return item
    return make_pass(type(item), {**item.options(), "limit": int(size_threshold)})
