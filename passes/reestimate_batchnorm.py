"""Measure the means and variances that BatchNormalization divides by anew, on samples.

In order, each on what the layers before it give by now: for every channel of its input over all
samples and positions ``mean' = E[x]``, ``var' = E[(x - mean')^2]``.

Source: Li et al. 2016, arXiv:1603.04779 (AdaBN); Li et al. 2020, arXiv:2007.02491 (EagleEye).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.errors import CalibrationError
from onnxslim.graph import edit
from onnxslim.passes._channels import Channels, depth_of
from onnxslim.passes._linear import constant, narrow
from onnxslim.passes._targets import batchnorm
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.staged import Stages


@register
@dataclass(frozen=True)
class ReestimateBatchNorm(Pass):
    """Give BatchNormalization the statistics that its input has now, measured on samples.

    Skipped when a parameter is not constant, or the samples never change the input.
    """

    name: ClassVar[str] = "reestimate-batchnorm"
    numerics: ClassVar[Numerics] = Numerics.LOSSY

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Measure every BatchNormalization once, in order."""
        if ctx.calibration is None:
            raise CalibrationError(
                f"{self.name} needs sample inputs, but there are none; give --data"
            )
        found = [
            node
            for node in model.graph
            if edit.is_op(node, "BatchNormalization") and batchnorm(node, ctx.opset) is not None
        ]
        if not found:
            return 0
        depth = depth_of(model, frozenset(found))
        found.sort(key=lambda node: depth[node])
        names = [str(node.inputs[0].name) for node in found if node.inputs[0] is not None]
        done = 0
        with Stages(model, ctx.worker, ctx.calibration, names) as stages:
            for node, name in zip(found, names, strict=True):
                same = [n for m, n in zip(found, names, strict=True) if depth[m] == depth[node]]
                stages.fetch(same)
                done += _measure(node, name, stages, ctx)
                stages.release(name)
        return done


def _measure(node: ir.Node, name: str, stages: Stages, ctx: PassContext) -> bool:
    channels = Channels()
    for batch in range(stages.batches):
        channels.add(stages.get(name, batch), axis=1)
    mean, var = channels.mean, channels.var
    old_mean, old_var = (constant(value) for value in node.inputs[3:])
    graph = node.graph
    if old_mean is None or old_var is None or graph is None or isinstance(graph, ir.Function):
        return False
    if mean.shape != old_mean.shape or not np.isfinite(var).all():
        return ctx.skip(node, "its input is not finite or has another number of channels")
    if not var.any():
        return ctx.skip(node, "the samples never change its input")
    var = np.where(var > 0, var, old_var)  # a channel that is dead on the samples
    new_mean, new_var = narrow(mean, old_mean.dtype), narrow(var, old_var.dtype)
    if new_mean is None or new_var is None:
        return ctx.skip(node, f"the statistics do not fit {old_mean.dtype}")
    if np.array_equal(new_mean, old_mean) and np.array_equal(new_var, old_var):
        return False
    for index, array in ((3, new_mean), (4, new_var)):
        value = node.inputs[index]
        assert value is not None
        ctx.set_input(node, index, ctx.constant(graph, value.name, array))
    return True
