"""How large the tensors of a model are for one sample."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.analysis.dims import product
from onnxslim.analysis.quantization.observe import sample_sizes
from onnxslim.analysis.symbols import substitute
from onnxslim.graph.edit import shape_of
from onnxslim.runtime.specs import Feed

ITEM = 4


def sample_bytes(model: ir.Model, feed: Feed) -> int:
    """Bytes of all tensors of the main graph for one sample, those of unknown size left out.

    Args:
        model: With inferred shapes.
        feed: One sample.
    """
    sizes = dict(sample_sizes(model, feed))
    total = 0
    for value in (*model.graph.inputs, *(v for node in model.graph for v in node.outputs)):
        try:
            count = substitute(product(shape_of(value) or ()), sizes)
        except ValueError:
            continue
        total += ITEM * count if isinstance(count, int) else 0
    return total
