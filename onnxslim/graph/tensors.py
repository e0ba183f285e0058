"""TensorProtos: sizes checked with integers, sparse ones made dense, mapped ones made views."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from onnxslim.graph.external import REGION, Region
from onnxslim.graph.messages import refuse

_T = onnx.TensorProto
_TYPED_FIELDS = (
    "float_data",
    "int32_data",
    "string_data",
    "int64_data",
    "double_data",
    "uint64_data",
)
_PLAIN_FIELDS = frozenset(
    _T.DESCRIPTOR.fields_by_name[name].number for name in ("dims", "data_type", "name", "raw_data")
)
_MOST_DIMS = 64  # what numpy can hold
_LARGEST_DIM = 1 << 48


class FileTensor(ir.TensorProtoTensor):
    """A tensor of the file whose type, shape and array are taken from the protobuf once.

    Args:
        proto: Its data.
        shape: Its dimensions, frozen, if they were read before.
    """

    __slots__ = ("_array", "_dtype", "_shape")

    def __init__(self, proto: onnx.TensorProto, shape: ir.Shape | None = None) -> None:
        super().__init__(proto)
        self._dtype = ir.DataType(proto.data_type)
        self._shape = ir.Shape(proto.dims, frozen=True) if shape is None else shape
        self._array: np.ndarray | None = None

    @property
    def dtype(self) -> ir.DataType:  # type: ignore[override]
        """Element type."""
        return self._dtype

    @property
    def shape(self) -> ir.Shape:  # type: ignore[override]
        """Dimensions."""
        return self._shape

    def numpy(self) -> np.ndarray:
        """The array; nobody may write to it."""
        if self._array is None:
            self._array = super().numpy()
            self._array.setflags(write=False)
        return self._array


@dataclass(frozen=True)
class Layout:
    """How a data type is stored.

    Args:
        bits: Bits of one element in ``raw_data``.
        field: The typed field that may hold it instead.
        per_value: Elements in one value of that field; 0.5: an element takes two values.
    """

    bits: int
    field: str
    per_value: float = 1


LAYOUTS: dict[int, Layout] = {
    _T.FLOAT: Layout(32, "float_data"),
    _T.UINT8: Layout(8, "int32_data"),
    _T.INT8: Layout(8, "int32_data"),
    _T.UINT16: Layout(16, "int32_data"),
    _T.INT16: Layout(16, "int32_data"),
    _T.INT32: Layout(32, "int32_data"),
    _T.INT64: Layout(64, "int64_data"),
    _T.STRING: Layout(0, "string_data"),
    _T.BOOL: Layout(8, "int32_data"),
    _T.FLOAT16: Layout(16, "int32_data"),
    _T.DOUBLE: Layout(64, "double_data"),
    _T.UINT32: Layout(32, "uint64_data"),
    _T.UINT64: Layout(64, "uint64_data"),
    _T.COMPLEX64: Layout(64, "float_data", 0.5),
    _T.COMPLEX128: Layout(128, "double_data", 0.5),
    _T.BFLOAT16: Layout(16, "int32_data"),
    _T.FLOAT8E4M3FN: Layout(8, "int32_data"),
    _T.FLOAT8E4M3FNUZ: Layout(8, "int32_data"),
    _T.FLOAT8E5M2: Layout(8, "int32_data"),
    _T.FLOAT8E5M2FNUZ: Layout(8, "int32_data"),
    _T.UINT4: Layout(4, "int32_data", 2),
    _T.INT4: Layout(4, "int32_data", 2),
    _T.FLOAT4E2M1: Layout(4, "int32_data", 2),
    _T.FLOAT8E8M0: Layout(8, "int32_data"),
    _T.UINT2: Layout(2, "int32_data", 4),
    _T.INT2: Layout(2, "int32_data", 4),
    _T.FLOAT6E2M3: Layout(6, "int32_data"),
    _T.FLOAT6E3M2: Layout(6, "int32_data"),
}
"""Every data type that is accepted; a newer one is refused, not guessed."""


def is_plain(tensor: onnx.TensorProto) -> bool:
    """Whether this is a tensor as nearly all are, in which :func:`check_tensor` finds no fault.

    Numbers in ``raw_data``, as many as the dimensions say, and no other field but a name.
    """
    layout = LAYOUTS.get(tensor.data_type)
    if layout is None or not layout.bits or not isinstance(tensor.name, str):
        return False
    elements, dims = 1, tensor.dims
    for dim in dims:
        if not 0 <= dim <= _LARGEST_DIM:
            return False
        elements *= dim
    if len(dims) > _MOST_DIMS or (elements * layout.bits + 7) // 8 != len(tensor.raw_data):
        return False
    for field, _ in tensor.ListFields():
        if field.number not in _PLAIN_FIELDS:
            return False
    return tensor.HasField("raw_data")  # type: ignore[no-any-return]


def check_tensor(tensor: onnx.TensorProto, where: str) -> int:
    """Check type, dimensions and the amount of data; the bytes it needs (0 for strings).

    Raises:
        UnsupportedModelError: On anything that does not fit exactly.
    """
    layout = LAYOUTS.get(tensor.data_type)
    if layout is None:
        raise refuse(where, f"data type {tensor.data_type}", "a data type of ONNX")
    if tensor.HasField("segment"):
        raise refuse(where, "a segmented tensor", "a tensor in one piece")
    elements = _elements(tensor, where)
    nbytes = (elements * layout.bits + 7) // 8
    filled = [name for name in _TYPED_FIELDS if len(getattr(tensor, name))]
    if tensor.data_location == _T.EXTERNAL:
        if layout.field == "string_data":
            raise refuse(where, "a string tensor in an external file", "its strings in the model")
        if filled or tensor.HasField("raw_data"):
            raise refuse(where, "external data and data in the model", "only one of them")
    else:
        _check_data(tensor, layout, (elements, nbytes), filled, where)
    return nbytes


def _elements(tensor: onnx.TensorProto, where: str) -> int:
    dims = list(tensor.dims)
    if len(dims) > _MOST_DIMS:
        raise refuse(where, f"{len(dims)} dimensions", f"at most {_MOST_DIMS}")
    if any(not 0 <= dim <= _LARGEST_DIM for dim in dims):
        raise refuse(where, f"dimensions {dims}", "each between 0 and 2^48")
    return math.prod(dims)


def _check_data(
    tensor: onnx.TensorProto,
    layout: Layout,
    need: tuple[int, int],
    filled: list[str],
    where: str,
) -> None:
    elements, nbytes = need
    shape = f"for its dimensions {list(tensor.dims)}"
    if tensor.HasField("raw_data"):
        if layout.field == "string_data" or filled:
            raise refuse(where, f"raw_data beside {layout.field}", "its data in one field")
        # the length without copying what may be large: only mapped or small tensors come here
        if len(tensor.raw_data) != nbytes:
            raise refuse(where, f"{len(tensor.raw_data)} bytes of data", f"{nbytes} {shape}")
        return
    if filled and filled != [layout.field]:
        raise refuse(where, f"data in {', '.join(filled)}", f"it in {layout.field} alone")
    values = math.ceil(elements / layout.per_value)
    found = len(getattr(tensor, layout.field))
    if found != values:
        raise refuse(where, f"{found} values of data", f"{values} {shape}")


def densify(sparse: onnx.SparseTensorProto, budget: int, where: str) -> onnx.TensorProto:
    """An ordinary tensor with the content of a sparse one.

    Args:
        sparse: Its ``values`` and ``indices`` already passed :func:`check_tensor`.
        budget: Bytes that the dense tensor may take.
        where: Names the tensor in errors.
    """
    values, indices, dims = sparse.values, sparse.indices, list(sparse.dims)
    if values.data_type == _T.STRING or indices.data_type != _T.INT64:
        raise refuse(where, "sparse strings or indices of another type", "numbers, int64 indices")
    if len(values.dims) != 1 or any(not 0 <= dim <= _LARGEST_DIM for dim in dims):
        raise refuse(where, f"a sparse tensor with dimensions {dims}", "a list of values")
    elements, count = math.prod(dims), values.dims[0]
    layout = LAYOUTS[values.data_type]
    nbytes = elements * max(layout.bits, 8) // 8
    if nbytes > budget or len(dims) > _MOST_DIMS:
        raise refuse(where, f"sparse, {nbytes} bytes when dense", f"at most {budget} in a model")
    if layout.bits < 8:
        raise refuse(where, "a sparse tensor of a packed type", "elements of whole bytes")
    linear = _linear_indices(ir.serde.TensorProtoTensor(indices).numpy(), dims, count, where)
    data = ir.serde.TensorProtoTensor(values).numpy()
    dense = np.zeros(elements, dtype=data.dtype)
    dense[linear] = data
    result = onnx.TensorProto(name=values.name, data_type=values.data_type, dims=dims)
    result.raw_data = dense.tobytes()
    result.doc_string = values.doc_string
    return result


def _linear_indices(indices: np.ndarray, dims: list[int], count: int, where: str) -> np.ndarray:
    linear = indices
    limits = np.array([math.prod(dims)] if indices.ndim == 1 else dims, dtype=np.int64)
    if indices.shape not in ((count,), (count, len(dims))):
        raise refuse(where, f"sparse indices of shape {list(indices.shape)}", "one per value")
    if count and ((indices < 0).any() or (indices >= limits).any()):
        raise refuse(where, "a sparse index outside the tensor", f"indices within {dims}")
    if indices.ndim == 2:
        strides = [math.prod(dims[axis + 1 :]) for axis in range(len(dims))]
        linear = indices @ np.array(strides, dtype=np.int64)
    if len(np.unique(linear)) != count:
        raise refuse(where, "a sparse index twice", "every index once")
    return linear


def mapped_tensor(proto: onnx.TensorProto, region: Region) -> ir.TensorProtocol:
    """A tensor that views a mapped file; name, doc string and metadata come from ``proto``."""
    dtype = ir.DataType(proto.data_type)
    raw = np.frombuffer(region.view, dtype=np.uint8)
    metadata = ir.serde.deserialize_metadata_props(proto.metadata_props)
    doc_string = proto.doc_string or None
    tensor: ir.Tensor[Any] | ir.PackedTensor[Any]
    if dtype.bitwidth < 8:
        tensor = ir.PackedTensor(
            raw, dtype, shape=list(proto.dims), name=proto.name, doc_string=doc_string
        )
    else:
        little = np.dtype(dtype.numpy()).newbyteorder("<")
        array = raw.view(little) if raw.size else np.empty(0, little)
        tensor = ir.Tensor(array.reshape(list(proto.dims)), dtype, name=proto.name)
        tensor.doc_string = doc_string
    if metadata:
        tensor.metadata_props.update(metadata)
    tensor.meta[REGION] = region
    return tensor
