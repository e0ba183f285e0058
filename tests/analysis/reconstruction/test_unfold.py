"""Where the taps of a kernel look, against the formula written out."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.analysis.reconstruction.unfold import Window, tap_positions, unfold, window_of


def window(**given: Any) -> Window:
    count = len(given["kernel"])
    plain = {"strides": (1,) * count, "dilations": (1,) * count, "before": (0,) * count}
    return Window(**{**plain, **given})


WINDOWS = [
    (window(kernel=(3,)), (6,), (4,)),
    (window(kernel=(3,), strides=(2,), before=(1,)), (6,), (3,)),
    (window(kernel=(2,), dilations=(3,), before=(2,)), (6,), (7,)),
    (window(kernel=(2, 3), strides=(2, 1), dilations=(1, 2), before=(1, 0)), (4, 6), (3, 2)),
    (window(kernel=(3,), transposed=True), (4,), (6,)),
    (window(kernel=(3,), strides=(2,), before=(1,), transposed=True), (4,), (7,)),
    (window(kernel=(2, 3), strides=(2, 3), dilations=(2, 1), transposed=True), (2, 3), (5, 9)),
]


def _look(w: Window, axis: int, p: int, k: int, size: int) -> int | None:
    """The input position that a tap sees along one axis, None outside."""
    if w.transposed:
        q, rest = divmod(p + w.before[axis] - k * w.dilations[axis], w.strides[axis])
    else:
        q, rest = p * w.strides[axis] - w.before[axis] + k * w.dilations[axis], 0
    return q if rest == 0 and 0 <= q < size else None


@pytest.mark.parametrize(("w", "sizes", "outputs"), WINDOWS)
def test_taps(w: Window, sizes: tuple[int, ...], outputs: tuple[int, ...]) -> None:
    positions = np.arange(int(np.prod(outputs)))
    flat, valid = tap_positions(w, sizes, outputs, positions)
    x = np.random.default_rng(0).standard_normal((2, 3, *sizes))
    samples = np.arange(len(positions)) % 2
    rows = unfold(x, w, outputs, samples, positions)
    assert flat.shape == valid.shape == (len(positions), w.taps) == rows.shape[:2]
    for row, place in enumerate(product(*map(range, outputs))):
        for tap, taps in enumerate(product(*map(range, w.kernel))):
            found = [_look(w, a, place[a], taps[a], n) for a, n in enumerate(sizes)]
            seen = [q for q in found if q is not None]
            inside = len(seen) == len(found)
            assert valid[row, tap] == inside
            expected = x[row % 2][:, *seen] if inside else np.zeros(3)
            assert inside is False or flat[row, tap] == np.ravel_multi_index(seen, sizes)
            np.testing.assert_array_equal(rows[row, tap], expected)


def test_no_data_is_seen_as_zeros() -> None:
    rows = unfold(np.zeros((1, 3, 0)), window(kernel=(2,)), (4,), np.zeros(4, int), np.arange(4))
    assert rows.shape == (4, 2, 3) and not rows.any()


READ: list[tuple[str, dict[str, Any], int, int, Window]] = [
    ("Conv", {}, 6, 4, window(kernel=(3,))),
    ("Conv", {"strides": [2], "dilations": [3], "pads": [4, 5]}, 9, 6,
     window(kernel=(3,), strides=(2,), dilations=(3,), before=(4,))),
    ("Conv", {"auto_pad": "VALID", "pads": [4, 5]}, 6, 4, window(kernel=(3,))),
    ("Conv", {"auto_pad": "NOTSET", "pads": [1, 2]}, 6, 7, window(kernel=(3,), before=(1,))),
    ("Conv", {"auto_pad": "SAME_UPPER", "strides": [2]}, 6, 3, window(kernel=(3,), strides=(2,))),
    ("Conv", {"auto_pad": "SAME_LOWER", "strides": [2]}, 6, 3,
     window(kernel=(3,), strides=(2,), before=(1,))),
    ("Conv", {"auto_pad": "SAME_UPPER", "dilations": [2]}, 6, 6,
     window(kernel=(3,), dilations=(2,), before=(2,))),
    ("Conv", {"auto_pad": "SAME_UPPER", "strides": [5]}, 6, 2, window(kernel=(3,), strides=(5,),
     before=(1,))),
    ("ConvTranspose", {"strides": [2], "pads": [1, 0], "output_padding": [1]}, 4, 9,
     window(kernel=(3,), strides=(2,), before=(1,), transposed=True)),
    ("ConvTranspose", {"strides": [2], "auto_pad": "SAME_UPPER"}, 4, 8,
     window(kernel=(3,), strides=(2,), transposed=True)),
    ("ConvTranspose", {"strides": [2], "auto_pad": "SAME_LOWER"}, 4, 8,
     window(kernel=(3,), strides=(2,), before=(1,), transposed=True)),
    ("ConvTranspose", {"strides": [2], "auto_pad": "SAME_UPPER", "output_padding": [1]}, 4, 8,
     window(kernel=(3,), strides=(2,), before=(1,), transposed=True)),
    ("ConvTranspose", {"strides": [2], "output_shape": [6], "output_padding": [0]}, 4, 6,
     window(kernel=(3,), strides=(2,), before=(2,), transposed=True)),
    ("ConvTranspose", {"strides": [3], "output_shape": [20]}, 4, 20,
     window(kernel=(3,), strides=(3,), transposed=True)),
]  # fmt: skip


@pytest.mark.parametrize(("op", "attributes", "size", "out", "expected"), READ)
def test_attributes(
    op: str, attributes: dict[str, Any], size: int, out: int, expected: Window
) -> None:
    assert window_of(ir.node(op, [], attributes), (3,), (size,), (out,)) == expected
