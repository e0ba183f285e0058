"""Channels between layers are rescaled without changing the function."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxslim.analysis.quantization.improve_equalize import Kernel, Link, equalize


def conv(x: Any, kernel: Kernel) -> Any:
    """A 1x1 or 3-tap convolution without padding on (N, C, L), any groups; or its transpose."""
    w, g = kernel.weight, kernel.group
    taps = w.shape[2]
    n, c, length = x.shape
    xg = x.reshape(n, g, c // g, length)
    if kernel.transposed:
        out = np.zeros((n, g, w.shape[1], length + taps - 1))
        wg = w.reshape(g, c // g, w.shape[1], taps)
        for t in range(taps):
            out[..., t : t + length] += np.einsum("ngcl,gcm->ngml", xg, wg[..., t])
    else:
        wg = w.reshape(g, w.shape[0] // g, c // g, taps)
        out = sum(
            np.einsum("ngcl,gmc->ngml", xg[..., t : length - taps + 1 + t], wg[..., t])
            for t in range(taps)
        )
    y = out.reshape(n, -1, out.shape[-1])
    return y if kernel.bias is None else y + kernel.bias[:, None]


def uneven(rng: Any, kernel: Kernel) -> Kernel:
    """The same layer with ranges of output channels that differ by orders of magnitude."""
    return kernel.scaled(np.exp(1.5 * rng.standard_normal(kernel.peaks(inputs=False).size)),
                         inputs=False)  # fmt: skip


def run(x: Any, kernels: list[Kernel]) -> Any:
    for kernel in kernels[:-1]:
        h = conv(x, kernel)
        x = np.where(h > 0, h, 0.1 * h)  # LeakyReLU
    return conv(x, kernels[-1])


def network(seed: int = 0) -> list[Kernel]:
    """Conv 3 -> 8, depthwise 8, grouped 8 -> 6, transposed 6 -> 4, conv 4 -> 2."""
    rng = np.random.default_rng(seed)
    draw = rng.standard_normal
    kernels = [
        Kernel(draw((8, 3, 3)), draw(8)),
        Kernel(draw((8, 1, 3)), draw(8), group=8),
        Kernel(draw((6, 4, 1)), draw(6), group=2),
        Kernel(draw((6, 2, 3)), draw(4), group=2, transposed=True),
        Kernel(draw((2, 4, 1))),
    ]
    return [uneven(rng, k) for k in kernels]


LINKS = [Link(i, (i + 1,)) for i in range(4)]


def test_the_function_stays() -> None:
    kernels = network()
    found, totals = equalize(kernels, LINKS)
    x = np.random.default_rng(1).standard_normal((2, 3, 20))
    np.testing.assert_allclose(run(x, found), run(x, kernels), rtol=1e-9)
    assert all(np.abs(np.log(t)).max() > 0.1 for t in totals), "something was done"


def test_both_sides_of_a_channel_become_alike() -> None:
    found, _ = equalize(network(), LINKS)
    for link in LINKS:
        before = found[link.producer].peaks(inputs=False)
        after = found[link.consumers[0]].peaks(inputs=True)
        np.testing.assert_allclose(before, after, rtol=1e-2)


def test_a_pair_of_matrices() -> None:
    rng = np.random.default_rng(3)
    first = uneven(rng, Kernel(rng.standard_normal((5, 7)), transposed=True))  # (K, N)
    second = Kernel(rng.standard_normal((3, 7)))  # (N, K)
    (a, b), (scale,) = equalize([first, second], [Link(0, (1,))])
    np.testing.assert_allclose(a.weight @ b.weight.T, first.weight @ second.weight.T, rtol=1e-9)
    expected = np.sqrt(first.peaks(inputs=False) / second.peaks(inputs=True))
    np.testing.assert_allclose(scale, expected, rtol=1e-3)


def test_several_readers() -> None:
    rng = np.random.default_rng(4)
    kernels = [Kernel(rng.standard_normal((6, 2)))] + [
        Kernel(rng.standard_normal((3, 6)) * size) for size in (1, 9)
    ]
    found, (scale,) = equalize(kernels, [Link(0, (1, 2))])
    for i in (1, 2):
        np.testing.assert_allclose(
            found[i].weight @ found[0].weight, kernels[i].weight @ kernels[0].weight
        )
    assert (scale < 1).any()


def test_flattened_maps() -> None:
    rng = np.random.default_rng(5)
    first, second = Kernel(rng.standard_normal((4, 3, 1))), Kernel(rng.standard_normal((2, 4 * 9)))
    found, _ = equalize([uneven(rng, first), second], [Link(0, (1,), spread=9)])
    np.testing.assert_allclose(
        found[0].peaks(inputs=False),
        found[1].peaks(inputs=True).reshape(4, 9).max(axis=1),
        rtol=1e-2,
    )


@pytest.mark.parametrize("empty", ["producer", "consumer"])
def test_channels_without_weights_stay(empty: str) -> None:
    rng = np.random.default_rng(6)
    weights = [rng.standard_normal((4, 3)), rng.standard_normal((2, 4))]
    if empty == "producer":
        weights[0][1] = 0
    else:
        weights[1][:, 1] = 0
    found, (scale,) = equalize([Kernel(w) for w in weights], [Link(0, (1,))])
    assert scale[1] == 1 and np.isfinite(found[0].weight).all()
