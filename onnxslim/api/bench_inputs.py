"""What models are timed on: the same feeds for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice

from onnxslim.api.entrants import BenchOptions, Entrant, session_of
from onnxslim.api.options import RunOptions
from onnxslim.errors import DataError, UnsupportedModelError, UsageError, WorkerError
from onnxslim.runtime.feeds import feed_back
from onnxslim.runtime.plans import plan_feeds
from onnxslim.runtime.session import Session
from onnxslim.runtime.specs import Feed, InputSpec, output_names, specs_of


def find_inputs(
    entrants: Sequence[Entrant], asked: BenchOptions, options: RunOptions
) -> list[Feed]:
    """Feeds that all of them run: samples of the data, or random numbers.

    One, unless ``options.samples`` asks for more. With a state, each holds what the first model
    gave for the one before; a single one, what it gave for that one itself.

    Raises:
        DataError: When the data does not fit.
        UnsupportedModelError: When no input is found.
        UsageError: When the models have different inputs.
    """
    first = entrants[0]
    specs = shared_inputs(entrants)
    if asked.batch is not None:
        specs = batched(specs, asked.batch, first.label)
    description = options.describe(specs, output_names(first.model))
    if options.data is not None:
        feeds = _samples(first, specs, asked, options)
    else:
        feeds = _random(entrants, specs, options)
    return _carried(session_of(first), feeds, description.state)


def _samples(
    first: Entrant, specs: Sequence[InputSpec], asked: BenchOptions, options: RunOptions
) -> list[Feed]:
    from onnxslim.api.samples import open_samples

    description = options.describe(specs, output_names(first.model))
    source = open_samples(options, specs, description, first.model).rebatched(asked.batch or 1)
    feeds = list(islice(source.feeds(), 1 if options.samples is None else None))
    if not feeds:
        raise DataError("the data holds no sample: expected one or more")
    return feeds


def _random(
    entrants: Sequence[Entrant], specs: Sequence[InputSpec], options: RunOptions
) -> list[Feed]:
    def try_run(candidate: Feed) -> str | None:
        try:
            for entrant in entrants:
                session_of(entrant).time(candidate, runs=1, warmup=0)
        except (WorkerError, DataError) as error:
            return str(error)
        return None

    first, wanted = entrants[0].model, options.samples or 1
    description = options.describe(specs, output_names(first))
    plans = plan_feeds(
        specs, first, try_run, description=description, seed=options.seed, n=wanted, vary=False
    )
    if not plans.feeds:
        raise UnsupportedModelError(
            f"no input was found that {' and '.join(e.label for e in entrants)} can run"
            f" ({plans.error}); describe it with --input-shape, --dim or --data"
        )
    return list(plans.feeds)


def _carried(session: Session, feeds: list[Feed], state: Mapping[str, str]) -> list[Feed]:
    """The feeds as steps of one sequence: inputs of the state hold what the step before gave."""
    if not state:
        return feeds
    steps = feeds if len(feeds) > 1 else feeds * 2
    found = [steps[0]]
    for step in steps[1:]:
        outputs = session.run(found[-1], [*state])
        found.append(feed_back(step, outputs, state))
    return found[-len(feeds) :]


def shared_inputs(entrants: Sequence[Entrant]) -> list[InputSpec]:
    """The inputs of the first model, with sizes that any other one fixes.

    Raises:
        UsageError: When another model has other inputs.
    """
    specs = specs_of(entrants[0].model)
    for entrant in entrants[1:]:
        theirs = {spec.name: spec for spec in specs_of(entrant.model)}
        if [*theirs] != [spec.name for spec in specs] and {*theirs} != {s.name for s in specs}:
            raise UsageError(
                f"{entrant.label} has the inputs {', '.join(theirs)}, {entrants[0].label} has"
                f" {', '.join(s.name for s in specs)}: expected the same, to feed both alike"
            )
        specs = [_merged(spec, theirs[spec.name], entrant.label) for spec in specs]
    return specs


def _merged(mine: InputSpec, other: InputSpec, label: str) -> InputSpec:
    if mine.dtype != other.dtype:
        raise UsageError(f"{label} wants input {other}, the first model {mine}: expected one type")
    if mine.shape is None or other.shape is None or len(mine.shape) != len(other.shape):
        return mine if mine.shape is not None else other
    pairs = zip(mine.shape, other.shape, strict=True)
    return replace(mine, shape=tuple(b if isinstance(b, int) and not isinstance(a, int) else a
                                     for a, b in pairs))  # fmt: skip


def batched(specs: Sequence[InputSpec], batch: int, label: str) -> list[InputSpec]:
    """The inputs with their open first dimension set.

    Raises:
        UsageError: When no input has one, or one is fixed to another size.
    """
    firsts = [s.shape[0] for s in specs if s.shape]
    symbols = {d for d in firsts if isinstance(d, str)}
    if all(isinstance(d, int) for d in firsts) and batch not in firsts:
        raise UsageError(
            f"--batch {batch}: {label} fixes its first dimension to {firsts[0] if firsts else '-'};"
            " leave --batch out, or make it dynamic"
        )

    def sized(axis: int, dim: int | str | None) -> int | str | None:
        return batch if dim in symbols or (axis == 0 and dim is None) else dim

    def resized(spec: InputSpec) -> InputSpec:
        if spec.shape is None:
            return spec
        return replace(spec, shape=tuple(sized(i, d) for i, d in enumerate(spec.shape)))

    return [resized(spec) for spec in specs]
