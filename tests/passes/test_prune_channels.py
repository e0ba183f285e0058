"""The pass as a value, and what it leaves of small nets; numbers are those of the masked net."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.errors import CalibrationError, TargetError, UsageError
from onnxslim.graph.load import from_proto
from onnxslim.graph.serialize import to_proto
from onnxslim.pipeline.base import Pass
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.pruning import PRUNED, Decision
from onnxslim.pipeline.registry import get_pass
from onnxslim.pipeline.spec import format_pass, parse_pass
from onnxslim.testing import shared_worker
from onnxslim.verify.selfcheck import self_check
from tests.nets import net

CHAIN = "h = Conv(x, w1, b1)  a = Relu(h)  g = Conv(a, w2)  b = Relu(g)  y = Conv(b, w3)"
RESIDUAL = """
    s = Conv(x, w1)  h = Conv(s, w2)  n = BatchNormalization(h, scale, shift, mean, var)
    a = Add(n, s)  y = Conv(a, w3)
"""


def chain(**given: Any) -> onnx.ModelProto:
    weights = {"w1": (32, 3, 1, 1), "b1": (32,), "w2": (16, 32, 3, 3), "w3": (4, 16, 1, 1)}
    return net(CHAIN, x="float[N,3,6,6]", **{**weights, **given})


def prune(
    proto: onnx.ModelProto, text: str, feeds: Any = None
) -> tuple[ir.Model, Decision, PassContext]:
    """The pruned model, checked against the masked original."""
    model = from_proto(proto)
    infer_shapes(model)
    ctx = PassContext(model, worker=shared_worker(), calibration=feeds)
    assert parse_pass(text).run(model, ctx) > 0
    decision: Decision = model.meta[PRUNED]
    found = self_check(
        decision.dependency,
        decision.kept,
        to_proto(model).SerializeToString(),
        model,
        shared_worker(),
    )
    assert found.ok, found.explain()
    assert found.level == "masked"
    return model, decision, ctx


def shape(model: ir.Model, name: str) -> tuple[int, ...]:
    tensor = model.graph.initializers[name].const_value
    assert tensor is not None
    return tuple(tensor.shape.numpy())


def weight(proto: onnx.ModelProto, name: str) -> np.ndarray[Any, Any]:
    tensor = next(t for t in proto.graph.initializer if t.name == name)
    return onnx.numpy_helper.to_array(tensor)


def test_a_ratio_cuts_every_group() -> None:
    model, decision, _ = prune(chain(), "prune-channels{ratio=0.5}")
    assert shape(model, "w1") == (16, 3, 1, 1) and shape(model, "b1") == (16,)
    assert shape(model, "w2") == (8, 16, 3, 3) and shape(model, "w3") == (4, 8, 1, 1)
    assert decision.channels == (48, 24)
    assert [(f.layer, f.reason) for f in decision.frozen] == [("y", "graph output 'y'")]


def test_the_weakest_leave() -> None:
    w1 = np.ones((32, 3, 1, 1), np.float32)
    w1[5:21] = 0.01
    w2 = np.ones((16, 32, 3, 3), np.float32)
    _, decision, _ = prune(chain(w1=w1, w2=w2), "prune-channels{ratio=0.5}")
    assert decision.kept.axes["w1"][0].tolist() == [*range(5), *range(21, 32)]


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ("h = MatMul(w1, x)  r = Relu(h)  y = MatMul(w2, r)", (16, 8)),
        ("h = Gemm(w1, x)  r = Relu(h)  y = Gemm(w2, r)", (16, 8)),
        ("h = Gemm<transA = 1>(v1, x)  r = Relu(h)  y = Gemm(w2, r)", (8, 16)),
        ("h = Gemm(w1, x)  r = Relu(h)  y = Gemm<transA = 1>(v2, r)", (16, 8)),
    ],
)
def test_rows_of_weights_on_the_left_are_units(body: str, kept: tuple[int, int]) -> None:
    shapes = {"w1": (32, 8), "v1": (8, 32), "w2": (4, 32), "v2": (32, 4)}
    given = {name: size for name, size in shapes.items() if name in body}
    model, decision, _ = prune(net(body, x="float[8,5]", **given), "prune-channels{ratio=0.5}")
    assert [g.size for g, _ in decision.groups] == [32]
    assert shape(model, "v1" if "v1" in body else "w1") == kept


@pytest.mark.parametrize(
    "made",
    [
        "e = Expand(z, s)",
        "e = ConstantOfShape(s)",
        "q = Expand(z, s)  e = Neg(q)",
    ],
)
def test_what_is_repeated_for_the_channels_shrinks_with_them(made: str) -> None:
    body = f"h = Conv(x, w1)  {made}  a = Add(h, e)  r = Relu(a)  y = Conv(r, w2)"
    given: dict[str, Any] = {"w1": (32, 3, 1, 1), "w2": (4, 32, 1, 1), "s": [1, 32, 1, 1]}
    if "z" in made:
        given["z"] = "float[1,1,1,1]"
    model, _, _ = prune(net(body, x="float[N,3,6,6]", **given), "prune-channels{ratio=0.5}")
    assert shape(model, "w1") == (16, 3, 1, 1)


def test_a_residual_is_one_group() -> None:
    weights = {"w1": (16, 4, 1, 1), "w2": (16, 16, 1, 1), "w3": (4, 16, 1, 1)}
    rng = np.random.default_rng(0)
    norm = {
        n: rng.uniform(0.5, 2, 16).astype(np.float32) for n in ("scale", "shift", "mean", "var")
    }
    model, decision, _ = prune(net(RESIDUAL, **weights, **norm), "prune-channels{ratio=0.5}")
    assert len(decision.groups) == 1
    kept = decision.kept.axes
    for name, axis in (("w2", 0), ("w2", 1), ("w3", 1), ("scale", 0), ("var", 0)):
        assert kept[name][axis].tolist() == kept["w1"][0].tolist()
    assert shape(model, "mean") == (8,)


@pytest.mark.parametrize("kind", ["macs", "params"])
@pytest.mark.parametrize("part", [0.9, 0.5, 0.2])
def test_a_budget_holds_for_the_result(kind: str, part: float) -> None:
    from onnxslim.analysis.cost import batch_of_one, model_macs, parameter_count

    fine = "round_to=1,min_channels=1"
    model, decision, _ = prune(chain(), f"prune-channels{{{kind}={part},{fine}}}")
    costs = {"macs": decision.macs, "params": decision.parameters}
    dense = from_proto(chain())
    infer_shapes(dense)
    assert costs["macs"].before == model_macs(dense, batch_of_one(dense))
    assert costs["macs"].after == model_macs(model, batch_of_one(model))
    assert costs["params"].before == parameter_count(dense)
    assert costs["params"].after == parameter_count(model)
    left = costs[kind].part
    assert left is not None and 0.8 * part <= left <= part


def test_the_portions_are_halved_where_a_budget_asks_for_it() -> None:
    _, decision, ctx = prune(chain(), "prune-channels{macs=0.1}")
    assert decision.granularity.halvings > 0
    assert any("multiples of" in warning for warning in ctx.warnings)
    _, decision, ctx = prune(chain(), "prune-channels{macs=0.5}")
    assert decision.granularity.halvings == 0 and not ctx.warnings
    with pytest.raises(TargetError, match=r"asks for at most .* the least that pruning reaches is"):
        prune(chain(), "prune-channels{macs=0.1,round_to=8,min_channels=8}")


def test_a_ratio_halves_rather_than_doing_nothing() -> None:
    small = chain(w1=(8, 3, 1, 1), b1=(8,), w2=(8, 8, 3, 3), w3=(4, 8, 1, 1))
    _, decision, _ = prune(small, "prune-channels{ratio=0.5}")
    assert decision.channels == (16, 8)


def test_layers_with_wishes_of_their_own() -> None:
    def names(proto: onnx.ModelProto) -> onnx.ModelProto:
        for i, node in enumerate(proto.graph.node):
            node.name = f"n{i}"
        return proto

    model, decision, _ = prune(names(chain()), 'prune-channels{ratio=0.5,keep=["n4"]}')
    assert (shape(model, "w1")[0], shape(model, "w2")[0]) == (16, 16)
    assert {f.layer: f.reason for f in decision.frozen}["n4"]
    for glob in ("n0", "w1", "h", "b1"):
        spec = f'prune-channels{{macs=0.4,layers=["{glob}=0.25"]}}'
        model, _, _ = prune(names(chain()), spec)
        assert shape(model, "w1")[0] == 24, glob
    with pytest.raises(UsageError, match="--keep 'conv9' matches nothing"):
        prune(chain(), 'prune-channels{ratio=0.5,keep=["conv9"]}')
    with pytest.raises(TargetError, match="no channel can be pruned"):
        prune(chain(), 'prune-channels{ratio=0.5,keep=["op:Conv"]}')


def test_steps_reach_the_same_budget_with_new_scores() -> None:
    """Units 0 to 15 are read strongly, but by filters that soon are gone."""
    w2 = np.zeros((16, 32, 3, 3), np.float32)
    w2[:8, :16], w2[8:, 16:] = 1.1, 1.0
    w3 = np.ones((4, 16, 1, 1), np.float32)
    w3[:, :8] = 0.01
    given = {"w1": np.ones((32, 3, 1, 1), np.float32), "w2": w2, "w3": w3}
    fine = "round_to=1,min_channels=1"
    once = prune(chain(**given), f"prune-channels{{ratio=0.5,{fine}}}")[1]
    often = prune(chain(**given), f"prune-channels{{ratio=0.5,steps=4,{fine}}}")[1]
    assert once.channels == often.channels == (48, 24)
    assert once.kept.axes["w1"][0].tolist() == [*range(16)]
    assert (often.kept.axes["w1"][0] >= 16).sum() > 4


def test_data_criteria_see_the_data() -> None:
    feeds = [{"x": np.random.default_rng(0).standard_normal((4, 3, 6, 6)).astype(np.float32)}]
    b1 = np.zeros(32, np.float32)
    b1[3:19] = -100.0  # these never get through the Relu
    _, decision, ctx = prune(chain(b1=b1), "prune-channels{ratio=0.5,criterion=apoz}", feeds)
    assert decision.kept.axes["w1"][0].tolist() == [*range(3), *range(19, 32)]
    assert ctx.reference.kept is decision.kept
    with pytest.raises(CalibrationError, match="apoz looks at activations"):
        prune(chain(), "prune-channels{ratio=0.5,criterion=apoz}")


def test_vectors_that_were_merged_are_cut_apart() -> None:
    """Both Convs read one bias, as exporters write equal ones."""
    body = "h = Conv(x, w1, b)  a = Relu(h)  g = Conv(a, w2, b)  c = Relu(g)  y = Conv(c, w3)"
    weights = {"w1": (16, 3, 1, 1), "b": (16,), "w2": (16, 16, 3, 3), "w3": (4, 16, 1, 1)}
    model, decision, _ = prune(
        net(body, x="float[N,3,6,6]", **weights), "prune-channels{ratio=0.5}"
    )
    assert len(decision.groups) == 2
    assert len(model.graph.initializers) == 5


def test_aliases_become_parameters_of_their_name() -> None:
    body = "p = Identity(b)  h = Conv(x, w1, b)  a = Relu(h)  y = Conv(a, w2, p)"
    proto = net(body, x="float[N,3,6,6]", w1=(16, 3, 1, 1), b=(16,), w2=(16, 16, 1, 1))
    model, _, _ = prune(proto, "prune-channels{ratio=0.5}")
    assert shape(model, "b") == (8,) and shape(model, "p") == (16,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prune-channels", "found none"),
        ("prune-channels{ratio=0.5,macs=0.5}", "found ratio and macs"),
        ("prune-channels{ratio=1.0}", "--ratio is 1"),
        ("prune-channels{ratio=0.5,criterion=best}", "no criterion 'best'"),
        ('prune-channels{ratio=0.5,layers=["n0"]}', "expected GLOB=R"),
        ('prune-channels{ratio=0.5,dims=["n"]}', "expected NAME=SIZE"),
        ("prune-channels{ratio=0.5,steps=0}", "--steps is 0"),
        ("prune-channels{ratio=0.5,round_to=-1}", "--round-to is -1"),
    ],
)
def test_options_that_make_no_sense(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        prune(chain(), text)


def test_a_model_without_prunable_layers_says_why() -> None:
    with pytest.raises(TargetError, match="no channel can be pruned: .*graph output"):
        prune(net("y = Conv(x, w)"), "prune-channels{ratio=0.5}")


def test_the_text_of_a_pass_is_the_pass() -> None:
    item: Pass = get_pass("prune-channels")(ratio=0.3, keep=("a", "op:Conv"), scope="global")  # type: ignore[call-arg]
    assert parse_pass(format_pass(item)) == item


WIDE = (
    "h = Conv(x, w1)  a = Relu(h)  g = Conv(a, w2)  b = Relu(g)  k = Conv(b, w3)  y = Conv(k, w4)"
)
SAME = {"w2": (128, 128, 3, 3), "w3": (128, 128, 3, 3), "w4": (4, 128, 1, 1)}


@pytest.mark.parametrize(("part", "widths"), [(0.26, [64, 64, 64]), (0.25, [56, 64, 64])])
def test_widths_fill_blocks_unless_that_makes_them_uneven(part: float, widths: list[int]) -> None:
    """Half of every width is a little more than a quarter of the MACs."""
    wide = net(WIDE, x="float[N,3,8,8]", w1=(128, 3, 1, 1), **SAME)
    _, decision, _ = prune(wide, f"prune-channels{{macs={part}}}")
    assert sorted(int(stays.sum()) for _, stays in decision.groups) == widths


@pytest.mark.parametrize(("part", "widths"), [(0.5, [64, 96, 104]), (0.25, [64, 64, 56])])
def test_the_parts_of_grouped_convolutions_fill_blocks(part: float, widths: list[int]) -> None:
    """Its parts of 64 channels become 48, 32 or 16, while others may be of any multiple of 8."""
    body = WIDE.replace("Conv(a, w2)", "Conv<group = 2>(a, w2)")
    given = {**SAME, "w2": (128, 64, 3, 3)}
    wide = net(body, x="float[N,3,8,8]", w1=(128, 3, 1, 1), **given)
    _, decision, _ = prune(wide, f"prune-channels{{macs={part}}}")
    assert [int(stays.sum()) for _, stays in decision.groups] == widths


def test_widths_do_not_become_far_more_uneven_for_blocks() -> None:
    """With whole blocks one of them would be cut to a half and the other not at all."""
    body = "h = Conv(x, w1)  a = Relu(h)  g = Conv<group = 2>(a, w2)  b = Relu(g)  y = Conv(b, w3)"
    given = {"w1": (128, 8, 3, 3), "w2": (64, 64, 3, 3), "w3": (4, 64, 1, 1)}
    wide = net(body, x="float[N,8,8,8]", **given)
    _, decision, _ = prune(wide, "prune-channels{macs=0.7}")
    assert [int(stays.sum()) for _, stays in decision.groups] == [96, 48]
