"""Choose the integers of a quantized model so that every layer gives what it gave in float.

Layer by layer, in order, on sampled inputs x that the layers already done give in integers, with
the outputs t of the float model::

    min  sum || t - s Q x - b ||^2            Q: int8 (O, D), s: scales (O,), which stay

First without the grid (ridge towards the float weights), then rounded so that what rounding one
weight adds to the output is taken back by others (GPTQ), with the bias that keeps the mean. A layer
is kept as it was where that is no better on samples held back.

Source: Frantar et al. 2022, arXiv:2210.17323; Nagel et al. 2019, arXiv:1906.04721, section 4.2.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.analysis.quantization.improve_rounding import round_to_gram
from onnxslim.analysis.reconstruction.moments import Moments
from onnxslim.analysis.reconstruction.ridge import choose, ridge
from onnxslim.errors import CalibrationError, PreconditionError
from onnxslim.graph import edit
from onnxslim.passes._integers import OPS, IntegerLayer, read_integer_layer
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.staged import Stages, read_feeds

Array = npt.NDArray[Any]

_FEWEST, _OPEN, _ELEMENTS = 16, 32, 16_000_000
_MEMORY = 4 << 20
"""Bytes of activations kept: the rest is on disk, so that memory does not grow with samples."""
_PLENTY = 8
"""With as many rows per input, the rows held back need not be fitted, too."""
_STRENGTHS = (1e-3, 1e-2, 1e-1, math.inf)

logger = logging.getLogger(__name__)


@register
@dataclass(frozen=True)
class ReconstructIntegers(Pass):
    """Bring quantized Conv, Gemm and MatMul layers closer to the float model by their integers.

    Skipped when the weights are shared or have a zero point, and when nothing is gained on samples
    held back. Scales and nodes stay, so that the model is exactly as fast.

    Args:
        rows: Positions looked at per layer.
        samples: Samples looked at.
        widest: Layers with more inputs only get a new bias.
        seed: Of the choice of positions.
        refit: Fit weights without the grid first; else only round them otherwise.
    """

    name: ClassVar[str] = "reconstruct-integers"
    numerics: ClassVar[Numerics] = Numerics.LOSSY

    rows: int = 16_000
    samples: int = 128
    widest: int = 2304
    seed: int = 0
    refit: bool = True

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Go through the layers once."""
        layers = list(self._layers(model, ctx))
        if not layers:
            return 0
        reference = getattr(ctx.reference, "model", ctx.reference)
        if not isinstance(reference, ir.Model):
            raise PreconditionError(
                f"{self.name} needs the float model, but there is none; "
                "run it behind a pass that quantizes, as `onnxslim quantize` does"
            )
        if ctx.calibration is None:
            raise CalibrationError(f"{self.name} needs sample inputs, but there are none")
        feeds = partial(self._feeds, ctx.calibration, _fitting(reference))
        names = _names(reference)
        known = [(one, target) for one in layers if (target := _target(one, names)) is not None]
        inputs, points = [str(one.layer.x.name) for one, _ in known], [t for _, t in known]
        done = 0
        with (
            Stages(model, ctx.worker, feeds(), inputs, _MEMORY) as own,
            Stages(reference, ctx.worker, feeds(), points, _MEMORY) as dense,
        ):
            for one, target in known:
                own.fetch([str(one.layer.x.name)])
                dense.fetch([target])
                done += self._improve(one, target, (own, dense), names, ctx)
                own.release(str(one.layer.x.name))
                dense.release(target)
        return done

    def _layers(self, model: ir.Model, ctx: PassContext) -> Iterator[IntegerLayer]:
        for node in model.graph:
            if not edit.is_op(node, *OPS):
                continue
            found = read_integer_layer(node)
            if isinstance(found, IntegerLayer):
                yield found
            elif found:
                ctx.skip(node, found)

    def _feeds(self, calibration: Any, most: int) -> Iterator[dict[str, Any]]:
        """The first samples."""
        left = min(self.samples, most)
        for feed in read_feeds(calibration):
            if left <= 0:
                return
            left -= max(len(array) if np.ndim(array) else 1 for array in feed.values())
            yield feed

    def _improve(
        self,
        one: IntegerLayer,
        target: str,
        stages: tuple[Stages, Stages],
        names: dict[str, ir.Value],
        ctx: PassContext,
    ) -> bool:
        """Find integers for one layer, and write them where they are better."""
        fit, held = self._moments(one, target, stages)
        apart = bool(fit.count and held.count)
        whole = fit + held
        if one.bias is None:
            fit, held, whole = _raw(fit), _raw(held), _raw(whole)
        if not apart:
            fit = held = whole
        exact = _float_weight(one, names, target)
        old = one.codes * one.scales[:, :, None]
        before = float(held.error(old, one.layer.bias.reshape(old.shape[:2])).sum())
        codes, strength = self._search(one, exact, fit, held)
        after = float(held.error(codes * one.scales[:, :, None], _bias(one, codes, fit)).sum())
        logger.debug(
            "%s: error %.4g -> %.4g, ridge %g", one.layer.node.name, before, after, strength
        )
        if not after < before:
            return ctx.skip(one.layer.node, "nothing is gained on samples held back")
        if apart and strength >= 0 and fit.count < _PLENTY * exact.shape[2]:
            codes = self._rounded(one, ridge(whole, exact, strength).weight, whole)
        one.write(codes, _bias(one, codes, whole), ctx)
        return True

    def _search(
        self, one: IntegerLayer, exact: Array, fit: Moments, held: Moments
    ) -> tuple[Array, float]:
        """Integers (G, O, D) fitted to some rows, and the ridge that suits; -1: as they were."""
        if exact.shape[2] > self.widest:
            return one.codes, -1.0
        strengths = _STRENGTHS if self.refit else (math.inf,)
        _, found = choose(fit, held, [exact], np.ones(exact.shape[:2]), strengths)
        return self._rounded(one, found.weight, fit), found.strength

    @staticmethod
    def _rounded(one: IntegerLayer, weight: Array, moments: Moments) -> Array:
        limit = max(1, int(np.abs(one.codes).max(initial=0)))
        return round_to_gram(weight, one.scales, moments.centred()[0], limit).astype(np.float64)

    def _moments(
        self, one: IntegerLayer, target: str, stages: tuple[Stages, Stages]
    ) -> tuple[Moments, Moments]:
        """Of inputs from the quantized and outputs from the float model; to fit, and to judge."""
        own, dense = stages
        groups, outputs, width = one.codes.shape
        found = [Moments.empty(groups, width, outputs) for _ in range(2)]
        quota = max(self.rows // own.batches, 1)
        rng = np.random.default_rng(self.seed)
        for batch in range(own.batches):
            x, y = own.get(str(one.layer.x.name), batch), dense.get(target, batch)
            at = np.arange(one.layer.positions(y.shape))
            if len(at) > quota:
                at = np.sort(rng.choice(len(at), quota, replace=False))
            judges = np.full(len(at), batch % 4 == 3) if own.batches > 3 else at % 4 == 3
            for held, moments in enumerate(found):
                part = at[judges == bool(held)]
                if len(part):
                    rows = one.layer.inputs_at(x, y.shape, part)
                    moments.add(rows, one.layer.outputs_at(y, part))
        return found[0], found[1]


def _fitting(model: ir.Model) -> int:
    """How many samples of the largest tensor may be kept at a time, about; at least a few."""
    largest = 1
    for node in model.graph:
        for value in node.outputs:
            dims = edit.shape_of(value) or ()
            sizes = [d if isinstance(d, int) else _OPEN for d in dims[1:]]
            largest = max(largest, math.prod(sizes))
    return max(_FEWEST, _ELEMENTS // largest)


def _names(model: ir.Model) -> dict[str, ir.Value]:
    return {str(v.name): v for node in model.graph for v in node.outputs if v.name}


def _target(one: IntegerLayer, names: dict[str, ir.Value]) -> str | None:
    """The name that the layer's output has in the float model."""
    if one.point.name in names:
        return one.point.name
    for use in one.point.uses():  # the DequantizeLinear behind took over the name of an output
        for value in use.node.outputs[0].uses():
            if edit.is_op(use.node, "QuantizeLinear") and value.node.outputs[0].name in names:
                return value.node.outputs[0].name
    return None


def _float_weight(one: IntegerLayer, names: dict[str, ir.Value], target: str) -> Array:
    """The float weight (G, O, D), or what the integers stand for when it cannot be found."""
    own = names.get(str(one.layer.y.name), names[target])
    node = own.producer()
    if node is not None and node.op_type == one.layer.node.op_type:
        array = edit.constant_array(edit.get_input(node, 1))
        if array is not None and array.shape == one.layer.weight.shape:
            return one.layer.matrix(array)
    return one.layer.matrix(one.layer.weight)


def _raw(moments: Moments) -> Moments:
    """The same with means that count as 0: without a bias nothing can make up for them."""
    return Moments(
        moments.count,
        np.zeros_like(moments.x),
        np.zeros_like(moments.y),
        moments.xx,
        moments.xy,
        moments.yy,
    )


def _bias(one: IntegerLayer, codes: Array, moments: Moments) -> Array:
    """(G, O) that keeps the mean."""
    n = max(moments.count, 1)
    weight = codes * one.scales[:, :, None]
    return np.asarray(moments.y / n - (weight @ moments.x[:, :, None])[:, :, 0] / n)
