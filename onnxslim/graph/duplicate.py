"""A second in-memory model that shares nothing but the tensors' data."""

from __future__ import annotations

import os
from typing import Final

import onnx
import onnx_ir as ir

from onnxslim.graph.external import Payload, Resolver
from onnxslim.graph.proto import Origin, build
from onnxslim.graph.serialize import skeleton
from onnxslim.graph.signature import SIGNATURE, set_signature, signature

SHARED_FROM: Final = 1024


def duplicate(model: ir.Model) -> ir.Model:
    """A checked copy of a model from anywhere; larger initializers are shared, not copied.

    Args:
        model: Not changed. One that this package loaded keeps its signature; another one (built
            by hand, or loaded by onnx_ir) gets all the checks of a file here.

    Raises:
        UnsupportedModelError: When the model is invalid or uses what is not supported.
    """
    tensors: dict[bytes, Payload] = {}
    shared = [0]
    token = os.urandom(16)

    def share(proto: onnx.TensorProto, tensor: ir.TensorProtocol) -> bool:
        if tensor.dtype == ir.DataType.STRING or tensor.nbytes < SHARED_FROM:
            return False
        proto.raw_data = token + len(tensors).to_bytes(8, "little")
        tensors[proto.raw_data] = tensor
        shared[0] += tensor.nbytes
        return True

    proto = skeleton(model, share)
    size = proto.ByteSize() + shared[0]
    copy = build(proto, Origin("model", Resolver(None), size, None, tensors))
    if SIGNATURE in model.meta or SIGNATURE in model.graph.meta:
        set_signature(copy, signature(model))
    return copy
