"""Fit one layer so that what it gives, behind its scaling and activation, is as wanted.

The layer gives ``y = x W^T + b``; behind it come constant numbers per channel and perhaps a second
operand that is final, then perhaps an activation that clips::

    p = scale * y + shift + other          wanted: clip(p, low, high) = clip(t, low, high)

Where the wanted value is clipped, any p beyond the limit is as good. The squared error behind the
clipping is majorized by regression towards

    z = t where t is inside, else t's limit or p, whichever is farther outside

which is repeated with p of the last solution. Source: Zhang et al. 2015, arXiv:1505.06798, section
2.2 (asymmetric reconstruction behind a ReLU); there solved through auxiliary variables.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from onnxslim.analysis.reconstruction.moments import Array, Moments
from onnxslim.analysis.reconstruction.ridge import STRENGTHS, Solution, choose, loaded, ridge

_CACHE = 256 << 20
EXACT = 1e-9
"""Relative error of a layer that has nothing to repair."""

_ENOUGH = 1e-3
_REFINE = 4


@dataclass(frozen=True)
class Chunk:
    """Some rows of a layer.

    Attributes:
        x: (G, R, D) inputs.
        target: (G, R, O) wanted ``p``.
        other: (G, R, O) second operand of the addition behind the layer, or None.
        held: The rows judge instead of being fitted.
    """

    x: Array
    target: Array
    other: Array | None
    held: bool


@dataclass(frozen=True)
class Problem:
    """A layer to be fitted.

    Attributes:
        chunks: Gives the rows, each time the same.
        weight: (G, O, D) float64, as it is.
        bias: (G, O) float64, as it is.
        scale: (G, O) of what lies behind the layer.
        shift: (G, O).
        low: Lower limit of the activation behind it.
        high: Upper limit.
        priors: (G, O, D) each: other weights than ``weight`` that the ridge may pull to.
    """

    chunks: Callable[[], Iterable[Chunk]]
    weight: Array
    bias: Array
    scale: Array
    shift: Array
    low: float = -math.inf
    high: float = math.inf
    priors: tuple[Array, ...] = ()

    @property
    def clips(self) -> bool:
        """True when there is an activation with limits."""
        return not (math.isinf(self.low) and math.isinf(self.high))


@dataclass(frozen=True)
class Options:
    """How a layer is fitted.

    Attributes:
        strengths: Ridge strengths to choose from on held-out rows.
        rounds: Regressions for the activation; 0 fits in front of it.
        widest: Layers with more inputs D are not regressed (D x D numbers): of the weights as
            they are and the priors the best is taken, with a bias that fits.
    """

    strengths: tuple[float, ...] = STRENGTHS
    rounds: int = 12
    widest: int = 4608


@dataclass(frozen=True)
class Fit:
    """What came of it.

    Attributes:
        weight: (G, O, D).
        bias: (G, O).
        before: Error of the weights as they were, on held-out rows, part of the target's variance.
        after: The same of the new ones, fitted on the other rows.
        strength: Of the ridge.
        rows: Number of rows.
        constant: Inputs that never change.
        start: Which of the weights the ridge pulls to: 0 the given ones, else a prior.
        wanted: Mean and variance (G, O) of what y should be; None when they were not summed up.
    """

    weight: Array
    bias: Array
    before: float
    after: float
    strength: float
    rows: int
    constant: int
    start: int = 0
    wanted: tuple[Array, Array] | None = None


def fit(problem: Problem, options: Options | None = None) -> Fit:
    """Choose the ridge on held-out rows, judge the fit on them, then fit all rows."""
    options = options or Options()
    rows = _Rows(problem)
    if problem.weight.shape[2] > options.widest or all(map(math.isinf, options.strengths)):
        return _shifted(rows)
    train, held = rows.moments()
    old = Solution(problem.weight, problem.bias, math.inf)
    before = rows.errors([old], True if train.count and held.count else None)[0]
    apart = bool(train.count and held.count)
    whole = train + held
    if before <= EXACT:
        same = Fit(problem.weight, problem.bias, before, before, math.inf, whole.count, 0)
        return replace(same, constant=_still(whole), wanted=_spread(whole))
    if not apart:
        train = held = whole
    used = important(problem.scale)
    starts = [problem.weight, *problem.priors]
    index, chosen = choose(train, held, starts, used**2, options.strengths)
    base, strength = starts[index], chosen.strength
    part = False if apart else None
    rounds = options.rounds if problem.clips else 0
    trial = _clipped(rows, train, base, chosen, rounds, part)
    after = rows.errors([trial], True if apart else None)[0]
    final = trial
    if apart:
        start = trial if rounds else ridge(whole, base, strength)
        final = _clipped(rows, whole, base, start, min(rounds, _REFINE), None)
    alive = used != 0
    weight = np.where(alive[:, :, None], final.weight, problem.weight)
    bias = np.where(alive, final.bias, problem.bias)
    done = Fit(weight, bias, before, after, strength, whole.count, _still(whole), index)
    return replace(done, wanted=_spread(whole))


def _still(moments: Moments) -> int:
    """Number of inputs that never change."""
    n = max(moments.count, 1)
    spread = np.einsum("gdd->gd", moments.xx) / n - (moments.x / n) ** 2
    return int((spread <= 1e-12 * max(float(spread.max(initial=0.0)), 1e-30)).sum())


def _spread(moments: Moments) -> tuple[Array, Array]:
    """Mean and variance (G, O) of the targets."""
    n = max(moments.count, 1)
    mean = moments.y / n
    return mean, np.maximum(moments.yy / n - mean**2, 0.0)


def _shifted(rows: _Rows) -> Fit:
    """The best of the given weights, with the bias that makes up for the mean; no Gram matrix."""
    problem = rows.problem
    used = important(problem.scale)
    means = {flag: rows.means(flag) for flag in (False, True)}
    counts = {flag: count for flag, (count, _, _) in means.items()}
    apart = all(counts.values())
    whole = sum(counts.values())
    share = counts[True] / max(whole, 1)
    total_x = (1 - share) * means[False][1] + share * means[True][1]
    total_y = (1 - share) * means[False][2] + share * means[True][2]
    fitted = means[False][1:] if apart else (total_x, total_y)
    starts = [problem.weight, *problem.priors]

    def solutions(mean_x: Array, mean_y: Array) -> list[Solution]:
        biases = [np.where(used != 0, mean_y - np.einsum("god,gd->go", w, mean_x), problem.bias)
                  for w in starts]  # fmt: skip
        return [Solution(w, b, math.inf) for w, b in zip(starts, biases, strict=True)]

    old = Solution(problem.weight, problem.bias, math.inf)
    before, *after = rows.errors([old, *solutions(*fitted)], True if apart else None)
    best = int(np.argmin(after))
    final = solutions(total_x, total_y)[best]
    return Fit(final.weight, final.bias, before, after[best], math.inf, whole, 0, best)


def important(scale: Array) -> Array:
    """Scales (G, O), 0 for outputs that hardly matter behind it."""
    peak = float(np.abs(scale).max(initial=0.0))
    return np.where(np.abs(scale) > 1e-6 * peak, scale, 0.0)


def _clipped(
    rows: _Rows,
    moments: Moments,
    base: Array,
    start: Solution,
    rounds: int,
    held: bool | None,
) -> Solution:
    """Repeat the regression towards z, with Nesterov's momentum; the best solution met.

    One step from W with r = (z - p) / scale, and W_0 = ``base``::

        W' = W + ((H + mu I)^-1 (cov(x, r) - mu (W - W_0)^T))^T
    """
    if rounds < 1:
        return start
    strength = start.strength
    cov, _, mean_x, _ = moments.centred()
    inverse, mu = np.zeros_like(cov), np.zeros((1, 1, 1))
    if not math.isinf(strength):
        full = loaded(cov, strength)
        inverse, mu = np.linalg.inv(full), (full - cov)[:, :1, :1]
    best, least, point, last, momentum = start, math.inf, start, start, 1.0
    for _ in range(rounds):
        loss, cross, rest = rows.residual(point, held)
        penalty = mu * (point.weight - base)
        if loss < least:
            gained, best, least = least - loss, point, loss
            if gained <= _ENOUGH * loss:
                break
        else:  # too far: on from the best without momentum
            point, last, momentum = best, best, 1.0
            loss, cross, rest = rows.residual(point, held)
            penalty = mu * (point.weight - base)
        cross = cross - mean_x[:, :, None] * rest[:, None, :]
        step = (inverse @ (cross - penalty.transpose(0, 2, 1))).transpose(0, 2, 1)
        bias = point.bias + rest - (step @ mean_x[:, :, None])[:, :, 0]
        new = Solution(point.weight + step, bias, strength)
        grown = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = (momentum - 1) / grown
        momentum = grown
        point = Solution(
            new.weight + ahead * (new.weight - last.weight),
            new.bias + ahead * (new.bias - last.bias),
            strength,
        )
        last = new
    return best


def _joined(chunks: list[Chunk]) -> Iterator[Chunk]:
    """All rows of a kind as one chunk: few large products are faster than many small ones."""
    for held in (False, True):
        same = [c for c in chunks if c.held == held]
        others = [c.other for c in same if c.other is not None]
        if same:
            yield Chunk(
                np.concatenate([c.x for c in same], axis=1),
                np.concatenate([c.target for c in same], axis=1),
                np.concatenate(others, axis=1) if others else None,
                held,
            )


class _Rows:
    """The rows of a problem, kept in memory when they are few."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._kept: list[Chunk] | None = None
        used = important(problem.scale)
        self._scale = np.where(used != 0, used, 1.0)[:, None, :]
        self._shift = problem.shift[:, None, :]

    def _all(self, held: bool | None) -> Iterator[Chunk]:
        """Rows to fit (False), to judge (True), or both."""
        for chunk in self.problem.chunks() if self._kept is None else self._kept:
            if held is None or chunk.held == held:
                yield chunk

    def moments(self) -> tuple[Moments, Moments]:
        """Of the rows to fit and of those that judge; remembers the rows if they are few."""
        groups, outputs, inputs = self.problem.weight.shape
        sums = {flag: Moments.empty(groups, inputs, outputs) for flag in (False, True)}
        kept: list[Chunk] | None = []
        size = 0
        for chunk in self.problem.chunks():
            rest = chunk.target - self._shift
            if chunk.other is not None:
                rest = rest - chunk.other
            sums[chunk.held].add(chunk.x, rest / self._scale)
            size += chunk.x.nbytes + 2 * chunk.target.nbytes
            kept = None if kept is None or size > _CACHE else [*kept, chunk]
        self._kept = None if kept is None else list(_joined(kept))
        return sums[False], sums[True]

    def means(self, held: bool) -> tuple[int, Array, Array]:
        """Number of rows, ``E[x]`` (G, D) and ``E[y]`` (G, O) of what y must be."""
        groups, outputs, inputs = self.problem.weight.shape
        count, x, y = 0, np.zeros((groups, inputs)), np.zeros((groups, outputs))
        for chunk in self._all(held):
            rest = chunk.target - self._shift
            rest = rest if chunk.other is None else rest - chunk.other
            x += chunk.x.sum(axis=1, dtype=np.float64)
            y += (rest / self._scale).sum(axis=1, dtype=np.float64)
            count += chunk.x.shape[1]
        return count, x / max(count, 1), y / max(count, 1)

    def _answer(self, chunk: Chunk, found: Solution) -> Array:
        """p (G, R, O), of the inputs' precision."""
        kind = np.result_type(chunk.x.dtype, np.float32)
        scale = self.problem.scale[:, None, :]
        factor = (found.weight * self.problem.scale[:, :, None]).transpose(0, 2, 1).astype(kind)
        shift = (scale * found.bias[:, None, :] + self._shift).astype(kind)
        p: Array = chunk.x @ factor + shift
        return p if chunk.other is None else p + chunk.other

    def residual(self, found: Solution, held: bool | None) -> tuple[float, Array, Array]:
        """Loss, ``E[x r^T]`` (G, D, O) and ``E[r]`` (G, O) of ``r = (z - p) / scale``."""
        low, high = self.problem.low, self.problem.high
        loss, count = 0.0, 0
        groups, outputs, inputs = self.problem.weight.shape
        cross, total = np.zeros((groups, inputs, outputs)), np.zeros((groups, outputs))
        for chunk in self._all(held):
            p = self._answer(chunk, found)
            z = np.where(chunk.target <= low, np.minimum(p, low), chunk.target)
            z = np.where(chunk.target >= high, np.maximum(p, high), z)
            z -= p
            loss += float(np.einsum("gro,gro->", z, z, dtype=np.float64))
            r = z / self._scale.astype(z.dtype)
            cross += chunk.x.transpose(0, 2, 1) @ r
            total += r.sum(axis=1, dtype=np.float64)
            count += chunk.x.shape[1]
        count = max(count, 1)
        return loss / count, cross / count, total / count

    def errors(self, solutions: list[Solution], held: bool | None) -> list[float]:
        """Squared errors behind the activation, in parts of the wanted values' variance."""
        low, high = self.problem.low, self.problem.high
        sums, squares, count = [0.0] * len(solutions), 0.0, 0
        mean: Array = np.zeros(self.problem.scale.shape)
        for chunk in self._all(held):
            wanted = np.clip(chunk.target, low, high).astype(np.float64)
            squares += float((wanted**2).sum())
            mean = mean + wanted.sum(axis=1)
            count += wanted.shape[1]
            for index, solution in enumerate(solutions):
                given = np.clip(self._answer(chunk, solution), low, high)
                sums[index] += float(((given - wanted) ** 2).sum())
        variance = max(squares - float((mean**2).sum()) / max(count, 1), 1e-30)
        return [s / variance for s in sums]
