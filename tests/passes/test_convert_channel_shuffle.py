"""Only an exchange of two neighbouring factors of one axis is a shuffle."""

from __future__ import annotations

import pytest

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("convert-channel-shuffle")()
SHUFFLE = "a = Reshape(x, s)  b = Transpose<perm = [0, 2, 1, 3, 4]>(a)  y = Reshape(b, t)"


@pytest.mark.parametrize("x", ["float[N,6,4,4]", "float[2,6,4,4]"])
def test_a_shuffle_becomes_one_gather(x: str) -> None:
    model = net(SHUFFLE, x=x, s=[-1, 2, 3, 4, 4], t=[-1, 6, 4, 4])
    assert_pass(PASS, model, ["y = Gather(x, shuffle_s1) axis=1"])


def test_another_permutation_stays() -> None:
    text = "a = Reshape(x, s)  b = Transpose<perm = [0, 3, 2, 1, 4]>(a)  y = Reshape(b, t)"
    assert_pass(PASS, net(text, x="float[2,6,4,4]", s=[2, 2, 3, 4, 4], t=[2, 4, 6, 4]), None)


def test_another_shape_behind_it_stays() -> None:
    model = net(SHUFFLE, x="float[2,6,4,4]", s=[2, 2, 3, 4, 4], t=[2, 3, 8, 4])
    assert_pass(PASS, model, None)


def test_a_second_reader_inside_is_refused() -> None:
    model = net(SHUFFLE + "  z = Relu(b)", x="float[2,6,4,4]", s=[2, 2, 3, 4, 4], t=[2, 6, 4, 4])
    ctx = assert_pass(PASS, model, None)
    assert not ctx.skipped or "another reader" in ctx.skipped[0][1]
