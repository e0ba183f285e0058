from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxslim.errors import UnsupportedModelError
from onnxslim.graph.load import from_proto
from onnxslim.graph.normalize import SPARSE_BUDGET
from onnxslim.graph.serialize import to_proto
from onnxslim.graph.tensors import LAYOUTS, check_tensor, is_plain
from tests.graph.iomodels import adding, info, model, node


def _tensor(dims: list[int], data_type: int = 1, **fields: object) -> TensorProto:
    tensor = TensorProto(name="w", data_type=data_type, dims=dims)
    for name, value in fields.items():
        if isinstance(value, bytes):
            setattr(tensor, name, value)
        else:
            getattr(tensor, name).extend(value)
    return tensor


@pytest.mark.parametrize(
    ("tensor", "nbytes"),
    [
        (_tensor([4], raw_data=bytes(16)), 16),
        (_tensor([], raw_data=bytes(4)), 4),
        (_tensor([0, 3]), 0),
        (_tensor([0], raw_data=b""), 0),
        (_tensor([2, 2], float_data=[1.0] * 4), 16),
        (_tensor([3], TensorProto.FLOAT16, int32_data=[1, 2, 3]), 6),
        (_tensor([3], TensorProto.BFLOAT16, int32_data=[1, 2, 3]), 6),
        (_tensor([3], TensorProto.FLOAT8E4M3FN, int32_data=[1, 2, 3]), 3),
        (_tensor([3], TensorProto.INT4, raw_data=bytes(2)), 2),
        (_tensor([3], TensorProto.INT4, int32_data=[1, 2]), 2),
        (_tensor([5], TensorProto.UINT2, raw_data=bytes(2)), 2),
        (_tensor([2], TensorProto.COMPLEX64, float_data=[1.0] * 4), 16),
        (_tensor([2], TensorProto.COMPLEX128, double_data=[1.0] * 4), 32),
        (_tensor([2], TensorProto.UINT32, uint64_data=[1, 2]), 8),
        (_tensor([2], TensorProto.STRING, string_data=[b"a", b"b"]), 0),
    ],
)
def test_sizes_that_fit(tensor: TensorProto, nbytes: int) -> None:
    assert check_tensor(tensor, "w") == nbytes
    assert is_plain(tensor) == tensor.HasField("raw_data")  # a short cut for what nearly all are


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (_tensor([4], raw_data=bytes(12)), "12 bytes of data; expected 16"),
        (_tensor([4], raw_data=bytes(20)), "20 bytes of data; expected 16"),
        (_tensor([1 << 29], raw_data=bytes(4)), "expected 2147483648"),
        (_tensor([1 << 40, 1 << 40], raw_data=b""), "0 bytes of data; expected"),
        (_tensor([-2, -2], raw_data=bytes(16)), "dimensions"),
        (_tensor([1] * 65, raw_data=bytes(4)), "65 dimensions"),
        (_tensor([0, 1 << 62]), "between 0 and 2"),
        (_tensor([4], raw_data=bytes(16), float_data=[1.0] * 4), "in one field"),
        (_tensor([4], int32_data=[1] * 4), "it in float_data alone"),
        (_tensor([4], float_data=[1.0] * 4, int64_data=[1]), "it in float_data alone"),
        (_tensor([4], float_data=[1.0] * 3), "3 values of data; expected 4"),
        (_tensor([3], TensorProto.INT4, raw_data=bytes(1)), "1 bytes of data; expected 2"),
        (_tensor([3], TensorProto.INT4, int32_data=[1, 2, 3]), "3 values of data; expected 2"),
        (_tensor([2], TensorProto.STRING, raw_data=b"ab"), "raw_data beside string_data"),
        (_tensor([2], TensorProto.STRING, string_data=[b"a"]), "1 values"),
        (_tensor([4], 999, raw_data=bytes(16)), "data type 999"),
        (_tensor([4], 0, raw_data=bytes(16)), "data type 0"),
    ],
)
def test_sizes_that_do_not(tensor: TensorProto, message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        from_proto(adding(tensor))
    assert not is_plain(tensor)


def test_a_segmented_tensor_is_refused() -> None:
    tensor = _tensor([4], raw_data=bytes(16))
    tensor.segment.begin = 0
    with pytest.raises(UnsupportedModelError, match="segmented"):
        from_proto(adding(tensor))


@pytest.mark.parametrize("field", ["doc_string", "data_location", "external_data", "float_data"])
def test_what_has_more_than_data_is_no_plain_tensor(field: str) -> None:
    """It is looked at in detail, whatever it holds."""
    tensor = _tensor([4], raw_data=bytes(16))
    assert is_plain(tensor)
    if field == "external_data":
        tensor.external_data.add(key="location", value="w.bin")
    elif field == "float_data":
        tensor.float_data.append(1)
    else:
        setattr(tensor, field, TensorProto.EXTERNAL if field == "data_location" else "text")
    assert not is_plain(tensor)


def test_every_data_type_of_the_installed_onnx_is_known() -> None:
    known = {name for name, number in TensorProto.DataType.items() if number in LAYOUTS}
    assert set(TensorProto.DataType.keys()) - known == {"UNDEFINED"}


def _sparse(
    dims: list[int], indices: np.ndarray, values: np.ndarray | None = None
) -> onnx.ModelProto:
    proto = model([node("Add", "x s", "y")])
    sparse = proto.graph.sparse_initializer.add(dims=dims)
    count = len(indices)
    array = np.arange(1, count + 1, dtype=np.float32) if values is None else values
    sparse.values.CopyFrom(numpy_helper.from_array(array, "s"))
    sparse.indices.CopyFrom(numpy_helper.from_array(indices.astype(np.int64)))
    return proto


@pytest.mark.parametrize(
    ("dims", "indices", "dense"),
    [
        ([4], [1, 3], [0, 1, 0, 2]),
        ([2, 2], [0, 3], [[1, 0], [0, 2]]),
        ([2, 2], [[0, 1], [1, 0]], [[0, 1], [2, 0]]),
        ([3], [], [0, 0, 0]),
    ],
)
def test_sparse_initializers_become_dense(
    dims: list[int], indices: list[int], dense: list[int]
) -> None:
    loaded = from_proto(_sparse(dims, np.array(indices, dtype=np.int64)))
    tensor = loaded.graph.initializers["s"].const_value
    assert tensor is not None
    np.testing.assert_array_equal(tensor.numpy(), np.array(dense, dtype=np.float32))
    written = to_proto(loaded).graph
    assert not written.sparse_initializer and written.initializer[0].name == "s"


@pytest.mark.parametrize(
    ("dims", "indices", "message"),
    [
        ([4], [1, 4], "outside the tensor"),
        ([4], [-1, 2], "outside the tensor"),
        ([2, 2], [[0, 2], [1, 0]], "outside the tensor"),
        ([4], [1, 1], "twice"),
        ([2, 2], [[0, 1, 0], [0, 0, 0]], "shape"),
        ([SPARSE_BUDGET // 4 + 1], [0, 1], "at most"),
        ([1 << 30, 1 << 30], [0, 1], "at most"),
        ([-4], [0, 1], "dimensions"),
    ],
)
def test_sparse_initializers_that_are_refused(
    dims: list[int], indices: list[int], message: str
) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        from_proto(_sparse(dims, np.array(indices)))


def test_the_sparse_budget_is_of_the_whole_model() -> None:
    proto = _sparse([SPARSE_BUDGET // 8 + 1], np.array([0]))
    second = proto.graph.sparse_initializer.add()
    second.CopyFrom(proto.graph.sparse_initializer[0])
    second.values.name = "s2"
    with pytest.raises(UnsupportedModelError, match="'s2': sparse"):
        from_proto(proto)


def test_a_sparse_constant_becomes_dense() -> None:
    sparse = _sparse([4], np.array([1, 3])).graph.sparse_initializer[0]
    proto = model([node("Constant", "", "k", sparse_value=sparse), node("Add", "x k", "y")])
    tensor = next(iter(from_proto(proto).graph)).attributes["value"].as_tensor()
    np.testing.assert_array_equal(tensor.numpy(), [0, 1, 0, 2])


def test_a_sparse_attribute_of_another_operator_is_refused() -> None:
    sparse = _sparse([4], np.array([1, 3])).graph.sparse_initializer[0]
    proto = model([helper.make_node("Custom", ["x"], ["y"], domain="loc", a=sparse)])
    with pytest.raises(UnsupportedModelError, match="sparse"):
        from_proto(proto)


@pytest.mark.parametrize("data_type", sorted(LAYOUTS))
def test_every_type_survives_a_round_trip(data_type: int) -> None:
    layout = LAYOUTS[data_type]
    data = bytes(range(1, 1 + (3 * layout.bits + 7) // 8))
    tensor = _tensor([3], data_type, raw_data=data)
    if data_type == TensorProto.STRING:
        tensor = _tensor([3], data_type, string_data=[b"a", "ü".encode(), b""])
    proto = model([node("Identity", "w", "y")], [tensor], outputs=[info("y", (3,), data_type)])
    assert to_proto(from_proto(proto)).graph == proto.graph
