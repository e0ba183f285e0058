"""How large the tensors of a model are for one sample."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from onnxslim.analysis.dims import Dim, product
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
    return sum(tensor_bytes(model, sample_sizes(model, feed)).values())


def tensor_bytes(model: ir.Model, sizes: Mapping[str, int]) -> dict[str, int]:
    """Bytes of each tensor of the main graph, by name, those of unknown size left out.

    Args:
        model: With inferred shapes.
        sizes: Of symbolic dimensions.
    """
    given: dict[str, Dim] = dict(sizes)
    found: dict[str, int] = {}
    for value in (*model.graph.inputs, *(v for node in model.graph for v in node.outputs)):
        try:
            count = substitute(product(shape_of(value) or ()), given)
        except ValueError:
            continue
        if isinstance(count, int) and value.name:
            found[value.name] = ITEM * count
    return found
