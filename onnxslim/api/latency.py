"""Measure a table of layer latencies by width."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from statistics import median

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.attribution import attribute
from onnxslim.analysis.latency import ALIGNMENT, Grid, LatencyTable, LayerEntry, Work
from onnxslim.analysis.linear_work import LinearLayer, linear_layers, probe, weight_elements
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.api.bench_inputs import find_inputs
from onnxslim.api.benching import PROFILED_RUNS, machine, race
from onnxslim.api.entrants import BenchOptions, Entrant, enter, load, session_of, warm_up
from onnxslim.api.options import RunOptions
from onnxslim.api.sources import ModelLike
from onnxslim.runtime.profile import Profile, typical
from onnxslim.runtime.specs import Feed
from onnxslim.runtime.worker import Worker

PARTS = (0.125, 0.25, 0.5, 0.75, 1.0)
"""Widths measured, as parts of the layer's own."""
BLOCK = 8
"""Measured widths are multiples of this, but for the layer's own."""
MOST_ELEMENTS = 1 << 24
"""Weights of a probe; more widths are measured in several probes."""
PROBE_SECONDS = 0.5
DISPATCH_MS = 0.004
"""What starting a node takes at most, whatever it computes."""
LARGE = 1 << 22
"""A layer with more weights is measured at fewer widths."""


def latency_table(
    model: ModelLike,
    *,
    bench_options: BenchOptions | None = None,
    options: RunOptions | None = None,
    allow_external_dir: str | None = None,
    on_step: Callable[[str], None] | None = None,
    worker: Worker | None = None,
) -> LatencyTable:
    """Time every linear layer of a model at a grid of widths, and the model as a whole.

    Args:
        model: Gives layers, shapes and the total.
        bench_options: Threads, batch and optimization level.
        options: How it is run and on what.
        allow_external_dir: Another folder that external weights may be read from.
        on_step: Called with what is being done.
        worker: The child process, left open; by default one for this call.

    Raises:
        UnsupportedModelError: When the model cannot be read or run.
    """
    asked, options = bench_options or BenchOptions(), options or RunOptions()
    say = on_step or (lambda text: None)
    with ExitStack() as stack:
        own = worker or stack.enter_context(Worker())
        if asked.pin:
            own.pin(asked.threads)
        entrant = enter(model, 0, allow_external_dir, stack)
        load(entrant, own, asked, options)
        feed = find_inputs([entrant], asked, options)[0]
        layers = _layers_at(entrant.model, feed)
        grids: dict[_Key, Grid] = {}
        full: dict[_Key, tuple[int, int]] = {}
        for layer in layers:
            before = full.get(_key(layer), (0, 0))
            full[_key(layer)] = (max(before[0], layer.c_in), max(before[1], layer.c_out))
        meter = _Meter(own, asked, options)
        for number, (key, (c_in, c_out)) in enumerate(full.items(), 1):
            say(f"layer {number} of {len(full)}: {key[0].op}")
            grids[key] = meter.grid(key[0], c_in, c_out)
        say("the whole model")
        about = {
            "model": entrant.label,
            "provider": options.provider,
            "threads": asked.threads,
            "optimization": asked.optimization,
            "inputs": {k: list(v.shape) for k, v in feed.items()},
            **machine(own),
        }
        return _assemble(entrant, feed, layers, grids, about, asked, options.seed)


_Key = tuple[Work, int]


def _key(layer: LinearLayer) -> _Key:
    """What layers share a grid; a few input channels (an image) are work of their own kind."""
    return layer.work, layer.c_in if layer.c_in <= ALIGNMENT else 0


def _layers_at(model: ir.Model, feed: Feed) -> list[LinearLayer]:
    """The linear layers at the sizes that are fed; the model's shapes are inferred anew."""
    for value in model.graph.inputs:
        if value.name in feed:
            value.shape = ir.Shape(feed[value.name].shape)
    infer_shapes(model)
    return linear_layers(model)


class _Meter:
    def __init__(self, worker: Worker, asked: BenchOptions, options: RunOptions) -> None:
        self._worker, self._asked, self._options = worker, asked, options

    def grid(self, work: Work, c_in: int, c_out: int) -> Grid:
        """Times at several widths, and what widths off the blocks cost."""
        large = weight_elements(work, c_in, c_out) > LARGE
        parts = PARTS[2::2] if large else PARTS
        ins = _widths(c_in, parts, work)
        outs = [0] if work.tied else _widths(c_out, parts, work)
        ratio = c_out // c_in if work.tied else 1
        points = [(a, b or a * ratio) for a in ins for b in outs]
        odd_in, odd_out = _odd(c_in, ins, work), _odd(c_out, outs, work)
        extra = [(odd_in, points[-1][1])] if odd_in and not work.tied else []
        extra += [(odd_in, odd_in * ratio)] if odd_in and work.tied else []
        extra += [(c_in, odd_out)] if odd_out else []
        times = self.times(work, [*points, *extra])
        rows = [times[i * len(outs) : (i + 1) * len(outs)] for i in range(len(ins))]
        grid = Grid(work, tuple(ins), tuple(outs), tuple(map(tuple, rows)))
        measured = dict(zip(extra, times[len(points) :], strict=True))
        factors = {
            (a, b): float(np.clip(ms / max(grid.predict(_even(a), _even(b)), 1e-9), 1.0, 8.0))
            for (a, b), ms in measured.items()
        }
        of_in = next((f for (a, _), f in factors.items() if a == odd_in and odd_in), 1.0)
        of_out = next((f for (_, b), f in factors.items() if b == odd_out and odd_out), 1.0)
        return Grid(work, grid.c_in, grid.c_out, grid.ms, round(of_in, 4), round(of_out, 4))

    def times(self, work: Work, widths: Sequence[tuple[int, int]]) -> list[float]:
        """Median milliseconds at each width."""
        found: list[float] = []
        chunk: list[tuple[int, int]] = []
        for pair in widths:
            size = sum(weight_elements(work, *p) for p in [*chunk, pair])
            if chunk and size > MOST_ELEMENTS:
                found += self._measure(work, chunk)
                chunk = []
            chunk.append(pair)
        return found + self._measure(work, chunk)

    def _measure(self, work: Work, widths: Sequence[tuple[int, int]]) -> list[float]:
        made = probe(work, widths)
        with self._worker.session(
            made.model,
            provider=self._options.provider,
            optimization="all" if self._asked.optimization == "all" else "extended",
            threads=self._asked.threads,
            label=f"a probe of {work.op}",
        ) as session:
            seconds = min(session.time(made.feeds, runs=2, warmup=1))
            runs = int(np.clip(PROBE_SECONDS / max(seconds, 1e-6), 7, 100))
            total = typical(session.time(made.feeds, runs=runs, warmup=1)) * 1000
            profile = session.profile(made.feeds, runs=runs, warmup=2)
        extra = profiler_ms(profile, total)
        times = {t.name.removesuffix("_nchwc"): t.ms for t in profile.times if t.depth == 0}
        return [round(_less(times.get(name, 0.0), extra), 6) for name in made.names]


def profiler_ms(profile: Profile, total: float) -> float:
    """What the profiler itself adds to the time of every node, given the time of a run without."""
    count = sum(1 for t in profile.times if t.depth == 0)
    return max(profile.kernel_ms - total, 0.0) / max(count, 1)


def _less(ms: float, extra: float) -> float:
    return max(ms - extra, ms / 10)


def _even(width: int) -> int:
    """The next multiple of the block that kernels want."""
    return -(-width // ALIGNMENT) * ALIGNMENT


def _widths(full: int, parts: Sequence[float], work: Work) -> list[int]:
    """Rising widths up to ``full``; a narrow layer is only measured as it is."""
    step = BLOCK if (work.groups or 1) == 1 else max(BLOCK, work.groups or 1)
    if full <= ALIGNMENT or full < step or full % (work.groups or 1):
        return [full]
    found = {max(step, round(full * part / step) * step) for part in parts[:-1]}
    return sorted({w for w in found if w < full} | {full})


def _odd(full: int, widths: Sequence[int], work: Work) -> int:
    """A width off the blocks inside the grid; 0 when there is none."""
    if len(widths) < 2 or (work.groups or 1) > 1:
        return 0
    middle = widths[len(widths) // 2]
    return middle - 3 if middle - 3 > widths[0] else 0


def _assemble(
    entrant: Entrant,
    feed: Feed,
    layers: Sequence[LinearLayer],
    grids: dict[_Key, Grid],
    about: dict[str, object],
    asked: BenchOptions,
    seed: int,
) -> LatencyTable:
    """Fit the grids to the times that the layers take inside the model."""
    warm_up(entrant, feed)
    rounds = race([entrant], [feed], asked.runs, seed, lambda text: None)
    total = typical([s for blocks in rounds for s in blocks[0]]) * 1000
    profile = session_of(entrant).profile(feed, runs=3 * PROFILED_RUNS, warmup=3)
    extra = profiler_ms(profile, total)
    rows = attribute(entrant.model, profile)
    inside = {row.name: _less(row.ms, extra * len(row.executed)) for row in rows}
    order = list(grids)
    scales = {layer.name: _scale(layer, grids[_key(layer)], inside) for layer in layers}
    usual = median([s for s in scales.values() if s is not None] or [1.0])
    entries = {
        layer.name: LayerEntry(
            order.index(_key(layer)), layer.c_in, layer.c_out,
            round(usual if scales[layer.name] is None else scales[layer.name] or usual, 4),
            layer.elements,
        )
        for layer in layers
    }  # fmt: skip
    table = LatencyTable(tuple(grids[w] for w in order), entries, round(total, 6))
    linear = sum(table.predict(n, e.c_in, e.c_out) for n, e in entries.items())
    other = sum(ms for name, ms in inside.items() if name not in entries)
    fixed = min(max(total - linear - other, 0.0), DISPATCH_MS * len(profile.times))
    if linear + other > 0:  # disturbances and the profiler's own time are in one, not the other
        part = (total - fixed) / (linear + other)
        entries = {n: replace(e, scale=round(e.scale * part, 4)) for n, e in entries.items()}
        other *= part
    return LatencyTable(
        table.grids, entries, table.median_ms, round(other, 6), round(fixed, 6), about
    )


def _scale(layer: LinearLayer, grid: Grid, inside: dict[str, float]) -> float | None:
    ms, alone = inside.get(layer.name), grid.predict(layer.c_in, layer.c_out)
    return ms / alone if ms is not None and alone > 0 else None
