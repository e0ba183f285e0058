"""Shapes of operators outside ai.onnx: what is said, and what ONNX Runtime really gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.load import from_proto
from onnxslim.testing import shared_worker
from tests.analysis.facts import shape
from tests.nets import net

S, ZERO, TINY = np.float32(0.1), np.uint8(0), np.int8(0)
NIBBLES = np.random.default_rng(0).integers(0, 255, (8, 1, 16)).astype(np.uint8)
BYTES = np.random.default_rng(1).integers(-9, 9, (4, 5)).astype(np.int8)
SEQUENCE = "float[N,3,8]"

Case = tuple[str, dict[str, Any], dict[str, str]]

MICROSOFT: list[Case] = [
    ("y = FusedMatMul<transA = 1>(x, z)", {"x": "float[N,4,3]", "z": (4, 5)},
     {"y": "float[N,3,5]"}),
    ("y = FusedMatMul<transB = 1>(x, z)", {"x": "float[N,4]", "z": (5, 4)}, {"y": "float[N,5]"}),
    ("y = MatMulNBits<K = 32, N = 8, bits = 4, block_size = 32>(x, q, s)",
     {"x": "float[N,3,32]", "q": NIBBLES, "s": (8,)}, {"y": "float[N,3,8]"}),
    ("y = MatMulIntegerToFloat(x, q, a, s)",
     {"x": "uint8[N,4]", "q": BYTES, "a": S, "s": (5,)}, {"y": "float[N,5]"}),
    ("y = DynamicQuantizeMatMul(x, q, s)", {"x": "float[N,4]", "q": BYTES, "s": (5,)},
     {"y": "float[N,5]"}),
    ("y, m, v, t = SkipLayerNormalization(x, z, g)", {"x": SEQUENCE, "z": SEQUENCE, "g": (8,)},
     {"y": SEQUENCE, "t": SEQUENCE}),
    ("y, m = EmbedLayerNormalization(i, , a, p, , g, h)",
     {"i": "int32[N,3]", "a": (10, 8), "p": (5, 8), "g": (8,), "h": (8,)},
     {"y": SEQUENCE, "m": "int32[N]"}),
    ("y = Attention<num_heads = 2>(x, w, b)", {"x": SEQUENCE, "w": (8, 24), "b": (24,)},
     {"y": SEQUENCE}),
    ("y = Attention<num_heads = 2, qkv_hidden_sizes = [8, 8, 4]>(x, w, b)",
     {"x": SEQUENCE, "w": (8, 20), "b": (20,)}, {"y": "float[N,3,4]"}),
    ("y = MultiHeadAttention<num_heads = 2>(x, z, v)",
     {"x": SEQUENCE, "z": "float[N,5,8]", "v": "float[N,5,4]"}, {"y": "float[N,3,4]"}),
    ("y = QLinearAdd(x, s, o, z, s, o, s, o)",
     {"x": "uint8[N,1,4]", "z": "uint8[3,1]", "s": S, "o": ZERO}, {"y": "uint8[N,3,4]"}),
    ("y = QLinearGlobalAveragePool(x, s, o, s, o)", {"x": "uint8[N,3,4,5]", "s": S, "o": ZERO},
     {"y": "uint8[N,3,1,1]"}),
    ("y = QLinearGlobalAveragePool<channels_last = 1>(x, s, o, s, o)",
     {"x": "uint8[N,4,5,3]", "s": S, "o": ZERO}, {"y": "uint8[N,1,1,3]"}),
    ("y = QLinearAveragePool<kernel_shape = [2, 2]>(x, s, o, s, o)",
     {"x": "uint8[N,3,4,5]", "s": S, "o": ZERO}, {"y": "uint8[N,3,3,4]"}),
    ("y = QLinearConcat<axis = -1>(s, o, x, s, o, z, s, o)",
     {"x": "uint8[N,3]", "z": "uint8[N,2]", "s": S, "o": ZERO}, {"y": "uint8[N,5]"}),
    ("y = BiasGelu(x, b)", {"x": "float[N,4]", "b": (4,)}, {"y": "float[N,4]"}),
]  # fmt: skip
TREE = (
    "nodes_treeids = [0, 0, 0], nodes_nodeids = [0, 1, 2], nodes_featureids = [0, 0, 0], "
    'nodes_modes = ["BRANCH_LEQ", "LEAF", "LEAF"], nodes_truenodeids = [1, 0, 0], '
    "nodes_falsenodeids = [2, 0, 0], nodes_values = [0.5, 0.0, 0.0]"
)
LEAVES = "_treeids = [0, 0], {0}_nodeids = [1, 2], {0}_ids = [0, 1], {0}_weights = [1.0, 2.0]"
LEARNED: list[Case] = [
    ("y = Scaler<offset = [1.0], scale = [2.0]>(x)", {"x": "int64[N,3]"}, {"y": "float[N,3]"}),
    ("y = Normalizer(x)", {"x": "float[N,3]"}, {"y": "float[N,3]"}),
    ("y = LinearRegressor<coefficients = [1.0, 2.0, 3.0, 4.0], targets = 2>(x)",
     {"x": "float[N,2]"}, {"y": "float[N,2]"}),
    (f"y = TreeEnsembleRegressor<{TREE}, n_targets = 2, target{LEAVES.format('target')}>(x)",
     {"x": "float[N,1]"}, {"y": "float[N,2]"}),
    ("y, z = LinearClassifier<coefficients = [1.0, 2.0, 3.0], intercepts = [0.0, 0.0, 0.0], "
     "classlabels_ints = [4, 5, 6]>(x)", {"x": "float[N,1]"}, {"y": "int64[N]", "z": "float[N,3]"}),
    ("y, z = LinearClassifier<coefficients = [1.0, 2.0, 3.0], intercepts = [0.0, 0.0, 0.0], "
     'classlabels_strings = ["a", "b", "c"]>(x)',
     {"x": "float[N,1]"}, {"y": "string[N]", "z": "float[N,3]"}),
    ("y = LabelEncoder<keys_int64s = [1, 2], values_floats = [0.5, 0.25]>(x)",
     {"x": "int64[N,2]"}, {"y": "float[N,2]"}),
    ('y = LabelEncoder<keys_int64s = [1, 2], values_strings = ["a", "b"]>(x)',
     {"x": "int64[N,2]"}, {"y": "string[N,2]"}),
    ("y = OneHotEncoder<cats_int64s = [0, 1, 2]>(x)", {"x": "int64[N,2]"}, {"y": "float[N,2,3]"}),
    ("y = ArrayFeatureExtractor(x, i)", {"x": "float[N,4]", "i": np.array([0, 2])},
     {"y": "float[N,2]"}),
]  # fmt: skip
CASES = [("com.microsoft", case) for case in MICROSOFT]
CASES += [("ai.onnx.ml", case) for case in LEARNED]


def model_of(domain: str, case: Case) -> onnx.ModelProto:
    """The node with its domain; its outputs as they are expected."""
    body, given, expected = case
    left, right = body.split(" = ", 1)
    domains = {domain: 2 if domain == "ai.onnx.ml" else 1}
    return net(f"{left} = {domain}.{right}", outputs=expected, domains=domains, **given)


@pytest.mark.parametrize(("domain", "case"), CASES, ids=[c[0].partition("<")[0] for _, c in CASES])
def test_the_shape_is_what_comes_out(domain: str, case: Case) -> None:
    proto = model_of(domain, case)
    model = from_proto(proto)
    for value in model.graph.outputs:
        value.shape = value.type = None
    problems: list[str] = []
    infer_shapes(model, problems=problems)
    assert problems == []
    assert {v.name: shape(v) for v in model.graph.outputs} == case[2]
    found = shared_worker().session(proto.SerializeToString()).run(_feed(model))
    for value in model.graph.outputs:
        real = np.asarray(found[value.name or ""])
        said = [2 if str(d) == "N" else d for d in value.shape or ()]
        assert list(real.shape) == said
        if value.dtype != ir.DataType.STRING:
            assert value.dtype is not None and real.dtype == value.dtype.numpy()


def _feed(model: ir.Model) -> dict[str, Any]:
    feed = {}
    for value in model.graph.inputs:
        sizes = [d if isinstance(d, int) else 2 for d in value.shape or ()]
        assert value.name is not None and value.dtype is not None
        feed[value.name] = np.ones(sizes, value.dtype.numpy())
    return feed


UNKNOWN = [
    ("y = FusedMatMul<transBatchA = 1>(x, z)", {"x": "float[4,N,3]", "z": (3, 5)}),
    ("y = QLinearAveragePool<channels_last = 1, kernel_shape = [2, 2]>(x, s, o, s, o)",
     {"x": "uint8[N,4,5,3]", "s": S, "o": ZERO}),
    ("y = Attention<num_heads = 2>(x, w, b)", {"x": "float", "w": (8, 24), "b": (24,)}),
]  # fmt: skip


@pytest.mark.parametrize(("body", "given"), UNKNOWN)
def test_what_is_not_known_is_not_said(body: str, given: dict[str, Any]) -> None:
    model = from_proto(model_of("com.microsoft", (body, given, {"y": "float"})))
    (out,) = model.graph.outputs
    out.shape = None
    infer_shapes(model)
    assert out.shape is None and out.dtype is not None


def test_lists_of_a_tree_that_do_not_fit_are_a_problem() -> None:
    tree = TREE.replace("nodes_featureids = [0, 0, 0]", "nodes_featureids = [0, 0]")
    body = f"y = TreeEnsembleRegressor<{tree}, target{LEAVES.format('target')}>(x)"
    model = from_proto(model_of("ai.onnx.ml", (body, {"x": "float[N,1]"}, {"y": "float[N,1]"})))
    problems: list[str] = []
    infer_shapes(model, problems=problems)
    assert len(problems) == 1 and "between 2 and 3 entries" in problems[0]
