"""Rules of operators that move data, against what the operators do to numbered elements."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from tests.analysis.dependency.oracle import finest, inconsistent, rule, tagged
from tests.nets import net

MAX = (1 << 63) - 1
MIN = -(1 << 63)
I = np.array  # noqa: E741


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "Transpose": ("Transpose<perm = [0, 2, 1]>(x)", {"x": "float[2,6,4]"}),
    "Transpose back": ("Transpose(x)", {"x": "float[2,6,4]"}),
    "Squeeze": ("Squeeze(x, a)", {"x": "float[2,1,6,1]", "a": ints(1, -1)}),
    "Squeeze all": ("Squeeze(x)", {"x": "float[2,1,6]"}),
    "Squeeze attribute": ("Squeeze<axes = [1]>(x)", {"x": "float[2,1,6]", "opset": 11}),
    "Unsqueeze": ("Unsqueeze(x, a)", {"x": "float[2,6]", "a": ints(0, -1)}),
    "Flatten": ("Flatten(x)", {"x": "float[N,4,3,2]"}),
    "Flatten 2": ("Flatten<axis = 2>(x)", {"x": "float[2,4,3,2]"}),
    "Flatten 0": ("Flatten<axis = 0>(x)", {"x": "float[2,4]"}),
    "Flatten -1": ("Flatten<axis = -1>(x)", {"x": "float[2,4,3]"}),
    "Reshape splits": ("Reshape(x, s)", {"x": "float[N,12]", "s": ints(-1, 3, 4)}),
    "Reshape splits in three": ("Reshape(x, s)", {"x": "float[N,24]", "s": ints(0, 3, 2, 4)}),
    "Reshape merges": ("Reshape(x, s)", {"x": "float[N,3,4]", "s": ints(-1, 12)}),
    "Reshape merges three": ("Reshape(x, s)", {"x": "float[2,3,4,2]", "s": ints(2, 24)}),
    "Reshape merges the batch": ("Reshape(x, s)", {"x": "float[2,3,4]", "s": ints(-1, 4)}),
    "Reshape with 0": ("Reshape(x, s)", {"x": "float[2,6,4]", "s": ints(0, 2, 3, -1)}),
    "Reshape regroups": ("Reshape(x, s)", {"x": "float[2,4,6]", "s": ints(2, 8, 3)}),
    "Reshape ones": ("Reshape(x, s)", {"x": "float[2,1,6]", "s": ints(2, 6, 1, 1)}),
    "Reshape allowzero": ("Reshape<allowzero = 1>(x, s)", {"x": "float[2,6]", "s": ints(2, 2, 3)}),
    "Concat": ("Concat<axis = 1>(x, z)", {"x": "float[2,3,4]", "z": "float[2,5,4]"}),
    "Concat last": ("Concat<axis = -1>(x, z)", {"x": "float[2,3,4]", "z": "float[2,3,2]"}),
    "Concat twice": ("Concat<axis = 1>(x, x)", {"x": "float[2,3,4]"}),
    "Concat constant": ("Concat<axis = 1>(x, k)", {"x": "float[2,3,4]",
                        "k": np.zeros((2, 2, 4), np.float32)}),
    "Split": ("Split<axis = 1>(x, k)", {"x": "float[2,6,3]", "k": ints(2, 4)}),
    "Split equal": ("Split<axis = -1>(x)", {"x": "float[2,6]"}),
    "Split attribute": ("Split<axis = 1, split = [4, 2]>(x)", {"x": "float[2,6]", "opset": 11}),
    "Split uneven": ("Split<axis = 1, num_outputs = 2>(x)", {"x": "float[2,7]", "opset": 18}),
    "Slice": ("Slice(x, b, e, a)", {"x": "float[2,8,3]", "b": ints(2), "e": ints(7),
              "a": ints(1)}),
    "Slice steps": ("Slice(x, b, e, a, t)", {"x": "float[2,8,3]", "b": ints(1), "e": ints(MAX),
                    "a": ints(-2), "t": ints(3)}),
    "Slice backwards": ("Slice(x, b, e, a, t)", {"x": "float[2,8]", "b": ints(-1), "e": ints(MIN),
                        "a": ints(1), "t": ints(-1)}),
    "Slice backwards steps": ("Slice(x, b, e, a, t)", {"x": "float[2,8]", "b": ints(6),
                              "e": ints(-8), "a": ints(1), "t": ints(-2)}),
    "Slice backwards from in front": ("Slice(x, b, e, a, t)", {"x": "float[2,8]", "b": ints(-9),
                                      "e": ints(MIN), "a": ints(1), "t": ints(-1)}),
    "Slice two axes": ("Slice(x, b, e)", {"x": "float[4,8,3]", "b": ints(1, -6),
                       "e": ints(99, -1)}),
    "Slice attributes": ("Slice<axes = [1], starts = [1], ends = [5]>(x)", {"x": "float[2,8]",
                         "opset": 9}),
    "Slice one": ("Slice(x, b, e, a)", {"x": "float[2,8]", "b": ints(3), "e": ints(4),
                  "a": ints(1)}),
    "Gather": ("Gather<axis = 1>(x, i)", {"x": "float[2,6,3]", "i": ints(5, 0, 2, 1)}),
    "Gather repeats": ("Gather<axis = 1>(x, i)", {"x": "float[2,6]", "i": ints(3, 0, 0, -1)}),
    "Gather one": ("Gather<axis = 1>(x, i)", {"x": "float[2,6,3]", "i": I(4)}),
    "Gather a list of one": ("Gather<axis = -1>(x, i)", {"x": "float[2,6]", "i": ints(4)}),
    "Pad": ("Pad(x, p)", {"x": "float[2,4,3]", "p": ints(0, 2, 0, 0, 1, 0)}),
    "Pad axes": ("Pad(x, p, , a)", {"x": "float[2,4,3]", "p": ints(2, 1), "a": ints(1),
                 "opset": 18}),
    "Expand": ("Expand(x, s)", {"x": "float[2,4,1]", "s": ints(2, 4, 3)}),
    "Expand in front": ("Expand(x, s)", {"x": "float[4,1]", "s": ints(3, 1, 2)}),
    "Tile": ("Tile(x, r)", {"x": "float[2,4,3]", "r": ints(1, 2, 1)}),
    "DepthToSpace": ("DepthToSpace<blocksize = 2>(x)", {"x": "float[2,12,2,3]"}),
    "DepthToSpace CRD": ('DepthToSpace<blocksize = 2, mode = "CRD">(x)', {"x": "float[2,12,2,3]"}),
    "SpaceToDepth": ("SpaceToDepth<blocksize = 2>(x)", {"x": "float[2,3,4,6]"}),
    "Trilu": ("Trilu<upper = 0>(x)", {"x": "float[2,3,3]"}),
    "ReverseSequence": ("ReverseSequence(x, n)", {"x": "float[4,2,3]", "n": ints(3, 2)}),
    "Identity": ("Identity(x)", {"x": "float[2,4,3]"}),
    "Cast": ("Cast<to = 1>(x)", {"x": "float[2,4,3]"}),
    "Dropout": ("Dropout(x)", {"x": "float[2,4,3]"}),
    "Resize": ("Resize<mode = \"nearest\">(x, , f)", {"x": "float[2,4,3,2]",
               "f": I([1, 1, 2, 2], np.float32)}),
    "Upsample": ("Upsample(x, f)", {"x": "float[2,4,3,2]", "f": I([1, 1, 2, 2], np.float32),
                 "opset": 9}),
}  # fmt: skip
"""Nodes by what they show; outputs beyond the first are named in :data:`OUTPUTS`."""

OUTPUTS = {"Split": 2, "Split equal": 3, "Split attribute": 2, "Split uneven": 2}

STAYS: dict[str, dict[str, tuple[int, ...]]] = {
    "Trilu": {"x": (1, 2)},
    "ReverseSequence": {"x": (0, 1)},
    "DepthToSpace": {"x": (2, 3)},
    "DepthToSpace CRD": {"x": (2, 3)},
    "SpaceToDepth": {"x": (2, 3)},
    "Resize": {"x": (2, 3)},
    "Upsample": {"x": (2, 3)},
}
"""Axes that stay whole on purpose: space and time have a geometry."""

REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "Reshape unevenly": ("Reshape(x, s)", {"x": "float[12,6]", "s": ints(8, 9)}),
    "Pad by reflection": ('Pad<mode = "reflect">(x, p)', {"x": "float[2,4]",
                          "p": ints(0, 1, 0, 1)}),
    "Pad that cuts": ("Pad(x, p)", {"x": "float[2,4]", "p": ints(0, -1, 0, 0)}),
    "Slice at computed bounds": ("Slice(x, b, e, a)", {"x": "float[2,8]", "b": "int64[1]",
                                 "e": "int64[1]", "a": ints(1)}),
    "Expand to a computed size": ("Expand(x, s)", {"x": "float[2,8]", "s": "int64[2]"}),
    "Gather by a table": ("Gather<axis = 1>(x, i)", {"x": "float[2,8]", "i": I([[0, 1], [2, 5]])}),
    "Gather by number": ("Gather<axis = 1>(x, i)", {"x": "float[2,8]", "i": "int64[3]"}),
}  # fmt: skip
"""Axis 1 of x stays, with a reason."""


def model_of(body: str, given: dict[str, Any], outputs: int = 1) -> onnx.ModelProto:
    names = ", ".join(f"y{i}" for i in range(outputs))
    return net(f"{names} = {body}", **given)


@pytest.mark.parametrize("case", CASES)
def test_what_leaves_together_is_consistent(case: str) -> None:
    """All axes may lose coordinates: what is kept comes from what is kept, all of it."""
    proto = model_of(*CASES[case], OUTPUTS.get(case, 1))
    feed, found = tagged(proto)
    ruled = rule(proto)
    assert inconsistent(ruled, feed, found) == []


def _axes() -> list[tuple[str, str, int]]:
    axes = []
    for case, (body, given) in CASES.items():
        for value in model_of(body, given, OUTPUTS.get(case, 1)).graph.input:
            for axis, dim in enumerate(value.type.tensor_type.shape.dim):
                if dim.dim_value > 1 and value.type.tensor_type.elem_type == 1:
                    axes.append((case, value.name, axis))
    return axes


@pytest.mark.parametrize(("case", "name", "axis"), _axes())
def test_an_axis_loses_what_it_can(case: str, name: str, axis: int) -> None:
    """One axis alone (of every input): its positions leave in the smallest sets that can."""
    proto = model_of(*CASES[case], OUTPUTS.get(case, 1))
    feed, found = tagged(proto)
    ruled = rule(proto, dict.fromkeys(feed, (axis,)))
    assert inconsistent(ruled, feed, found) == []
    value = next(v for v in ruled.data if v.name == name)
    ways = finest(feed[name], axis, list(found.values()))
    said = ruled.partition(value, axis)
    if axis in STAYS.get(case, {}).get(name, ()):
        assert said == frozenset()
    else:
        assert said in ways or (said == frozenset() and not ways), sorted(map(sorted, said))


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_understood_stays(case: str) -> None:
    ruled = rule(model_of(*REFUSED[case]))
    assert ruled.partition(ruled.data[0], 1) == frozenset()
    assert ruled.builder.atoms.reasons


def test_the_oracle_reads_a_shuffle() -> None:
    """Depth first or columns and rows first: which input channels make one output channel."""
    for mode, expected in (("DCR", {0, 3, 6, 9}), ("CRD", {0, 1, 2, 3})):
        proto = net(f'y = DepthToSpace<blocksize = 2, mode = "{mode}">(x)', x="float[2,12,2,3]")
        feed, found = tagged(proto)
        ways = finest(feed["x"], 1, list(found.values()))
        assert frozenset(expected) in max(ways, key=len)


def test_the_oracle_sees_a_wrong_rule() -> None:
    """Labels that are one off are inconsistent."""
    proto = net("y = Gather<axis = 1>(x, i)", x="float[2,6,3]", i=ints(5, 0, 2, 1))
    feed, found = tagged(proto)
    ruled = rule(proto)
    axes = ruled.builder.axes(ruled.node.outputs[0])
    assert axes is not None and axes[1] is not None
    axes[1] = np.roll(axes[1], 1)
    assert inconsistent(ruled, feed, found)
