"""Finding feeds that a reference accepts, with two sizes of every dynamic dimension where possible.

The caller says whether a feed runs; nothing here loads a runtime. Sizes are guessed, then corrected
by what the runtime complains about, then searched; an accepted feed is then varied, dimension by
dimension.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from onnxslim.errors import DataError
from onnxslim.runtime.dims import Description
from onnxslim.runtime.dims import check as check_description
from onnxslim.runtime.feeds import Draw, draw_feed
from onnxslim.runtime.hints import hints_of
from onnxslim.runtime.sizes import Dims, key_of
from onnxslim.runtime.specs import Feed, InputSpec

if TYPE_CHECKING:
    import onnx_ir as ir

# None or True: the reference ran. A text: what it complained about. False: it failed silently.
TryRun: TypeAlias = Callable[[Feed], str | bool | None]

MULTIPLES = (2, 4, 8, 16, 32)
_SIZES = (
    (1, 2, 4, 8, 32, 64, 128, 256, 512, 224, 96, 80, 160, 320, 384, 48, 640, 1024, 16_000)
    + (576, 480, 299, 112, 768, 192, 400, 2048, 4096, 8000, 32_000, 48_000, 3, 5, 10, 20, 100)
)  # fmt: skip
_GOT = re.compile(r"index:\s*(\d+)\s+Got:\s*(-?\d+)\s+Expected:\s*(-?\d+)")
_INPUT = re.compile(r"for input:\s*(.+?)\s+(?:for the following|Got:|Please)", re.DOTALL)
_RANK = re.compile(r"Invalid rank for input:\s*(.+?)\s+Got:\s*\d+\s+Expected:\s*(\d+)", re.DOTALL)
_INDEX = re.compile(r"must be within the inclusive range \[-?\d+,\s*(-?\d+)\]")
_PAIRS = (
    re.compile(r"shape \{([\d,]+)\}\.? Actual:\s*\{([\d,]+)\}"),
    re.compile(r"mismatched dimensions of (\d+) and (\d+)"),
    re.compile(r"dimension other than 1\. (\d+) by (\d+)"),
)
_NUMBER = re.compile(r"(?<![\w.])\d{1,5}(?![\w.])")


@dataclass(frozen=True)
class FeedPlans:
    """Feeds that the reference ran.

    Args:
        feeds: In the order found; the very dictionaries that were tried. Empty when none runs.
        sizes: For each feed, the size of every dynamic dimension by key.
        varied: Keys of the dimensions that have two sizes among the feeds.
        unvaried: Keys of those that have one, those fixed by the user left out.
        tries: How often the reference was run.
        error: The last complaint when no feed runs.
    """

    feeds: tuple[Feed, ...]
    sizes: tuple[Mapping[str, int], ...]
    varied: tuple[str, ...]
    unvaried: tuple[str, ...]
    tries: int
    error: str | None = None


def plan_feeds(
    specs: Sequence[InputSpec],
    model: ir.Model | None,
    try_run: TryRun,
    *,
    description: Description | None = None,
    seed: int = 0,
    n: int = 3,
    vary: bool = True,
    max_tries: int = 48,
    seconds: float = 60.0,
) -> FeedPlans:
    """Finds at least ``n`` feeds (one is enough without inputs).

    Args:
        specs: The inputs.
        model: The reference, read for hints.
        try_run: Runs the reference.
        description: What the user said; those sizes are never changed.
        seed: Content of feed ``i`` is drawn from ``seed + i``.
        n: How many feeds at least.
        vary: Whether every dynamic dimension gets a second size.
        max_tries: Runs at most.
        seconds: After this, no new size is tried.

    Raises:
        UsageError: The description contradicts the model.
    """
    given = check_description(description or Description(), specs)
    search = _Search(specs, model, try_run, given, seed, max_tries, seconds)
    if not search.find_base():
        return search.plans()
    if vary:
        search.vary()
    search.fill(n)
    return search.plans()


class _Search:
    """The state of one search: bindings tried, feeds accepted, budget left."""

    def __init__(
        self,
        specs: Sequence[InputSpec],
        model: ir.Model | None,
        try_run: TryRun,
        given: Description,
        seed: int,
        max_tries: int,
        seconds: float,
    ) -> None:
        self._specs, self._try_run, self._given, self._seed = specs, try_run, given, seed
        self._hints = {} if model is None else hints_of(model)
        self._dims = Dims(specs, given, self._hints)
        self._left = max_tries
        self._deadline = time.monotonic() + seconds
        self._tries = 0
        self._bounds: dict[str, int] = {}
        self._error: str | None = None
        self._seen: dict[tuple[tuple[str, int], ...], bool] = {}
        self._feeds: list[Feed] = []
        self._sizes: list[dict[str, int]] = []

    def plans(self) -> FeedPlans:
        free = self._dims.free()
        varied = [k for k in free if len({s[k] for s in self._sizes}) > 1]
        return FeedPlans(
            feeds=tuple(self._feeds),
            sizes=tuple(self._sizes),
            varied=tuple(varied),
            unvaried=tuple(k for k in free if k not in varied),
            tries=self._tries,
            error=None if self._feeds else self._error or "no input shape was accepted",
        )

    def find_base(self) -> bool:
        """Guess, correct by the complaint, search."""
        guess = self._dims.sizes()
        if self._accept(self._corrected(guess)):
            return True
        base = self._corrected(guess)
        for change in self._candidates(base):
            if self._spent():
                return False
            if self._accept(self._corrected({**base, **change})):
                return True
        return False

    def vary(self) -> None:
        """Two sizes of every dimension: one by one, then together; by multiples, then halves."""
        base = self._sizes[0]
        for factor in (2, 4, 0.5, *MULTIPLES[2:]):  # a half costs less than a large multiple
            left = [k for k in self._dims.free() if all(s[k] == base[k] for s in self._sizes)]
            if not left:
                return
            singles = [{k: _scaled(base[k], factor)} for k in left]
            for change in (*singles, *self._together(left, base, factor)):
                open_keys = any(all(s[k] == base[k] for s in self._sizes) for k in change)
                if open_keys and not self._spent():
                    self._accept({**base, **change})

    def fill(self, n: int) -> None:
        """More content for sizes that run, until there are ``n`` feeds."""
        wanted = n if self._specs else min(n, 1)
        for attempt in range(2 * n):
            if len(self._feeds) >= wanted:
                return
            self._try(self._sizes[attempt % len(self._sizes)], extra=attempt)

    def _together(
        self, left: Sequence[str], base: Mapping[str, int], factor: float
    ) -> Iterator[dict[str, int]]:
        """All that are left, then those of one role, then pairs of one size."""
        dims, done = self._dims.dims, []
        groups = [list(left)]
        roles = list(dict.fromkeys(dims[k].role for k in left))
        groups += [[k for k in left if dims[k].role == role] for role in roles]
        groups += [[a, b] for a, b in itertools.combinations(left, 2) if base[a] == base[b]]
        for group in groups:
            if len(group) > 1 and group not in done:
                done.append(group)
                yield {k: _scaled(base[k], factor) for k in group}

    def _candidates(self, base: Mapping[str, int]) -> Iterator[dict[str, int]]:
        """Other sizes for what is not a batch: from the complaint, then from a list."""
        dims = self._dims
        keys = [k for k in dims.free() if dims.dims[k].role != "batch"] or dims.free()
        if not keys:
            return
        named = sorted({int(t) for t in _NUMBER.findall(self._error or "")} - {0})
        sizes = [s for s in dict.fromkeys([*named[-3:], *_SIZES])]
        yield from self._matched(base)
        for size in sizes:
            yield dict.fromkeys(keys, size)
            if len(keys) > 1 and len(sizes) * len(keys) < 200:
                yield from ({k: size} for k in keys if base[k] != size)

    def _matched(self, base: Mapping[str, int]) -> list[dict[str, int]]:
        """Where the complaint wants two sizes to be one: dimensions of either get the other."""
        changes: list[dict[str, int]] = []
        for pattern in _PAIRS:
            for left, right in pattern.findall(self._error or ""):
                for a, b in zip(left.split(","), right.split(","), strict=False):
                    for old, new in ((int(b), int(a)), (int(a), int(b))):
                        keys = [k for k in self._dims.free() if base[k] == old != new]
                        changes += [dict.fromkeys(keys, new), *({k: new} for k in keys)]
        return [change for change in changes if change]

    def _corrected(self, sizes: dict[str, int]) -> dict[str, int]:
        """Follows ``Got: 16 Expected: 64`` until the complaint is of another kind or it runs."""
        for _ in range(8):
            if self._accept(sizes) or self._spent():
                return sizes
            fixed = {**sizes, **self._fixes()}
            if not self._bound_indices() and fixed == sizes:
                return sizes
            sizes = fixed
        return sizes

    def _fixes(self) -> dict[str, int]:
        """Sizes that the complaint names for an input."""
        named = _INPUT.search(self._error or "")
        if named is None:
            return {}
        found: dict[str, int] = {}
        free = self._dims.free()
        for spec in self._specs:
            if spec.name != named.group(1):
                continue
            shape = self._dims.declared(spec.name)
            for axis, _, size in _GOT.findall(self._error or ""):
                key = (
                    key_of(spec.name, int(axis), shape[int(axis)]) if int(axis) < len(shape) else ""
                )
                if key in free and int(size) >= 0:
                    found[key] = int(size)
        return found

    def _bound_indices(self) -> bool:
        """Lowers the integers when one was out of a table's range; says whether that is new."""
        named = _INDEX.search(self._error or "")
        if named is None:
            return False
        bound = int(named.group(1)) + 1
        before = dict(self._bounds)
        for spec in self._specs:
            known = self._hints[spec.name].bound if spec.name in self._hints else None
            if spec.kind == "int" and (known is None or known > bound):
                self._bounds[spec.name] = min(bound, self._bounds.get(spec.name, bound))
        if self._bounds == before:
            return False
        self._seen.clear()
        return True

    def _spent(self) -> bool:
        return self._left <= 0 or time.monotonic() > self._deadline

    def _accept(self, sizes: Mapping[str, int]) -> bool:
        """Tries these sizes once; an answer is remembered."""
        key = tuple(sorted(sizes.items()))
        if key not in self._seen:
            if self._spent():
                return False
            self._seen[key] = self._try(sizes)
        return self._seen[key]

    def _try(self, sizes: Mapping[str, int], extra: int = 0) -> bool:
        self._left -= 1
        index = len(self._feeds)
        draw = Draw(self._seed + index + 1000 * extra, bounds=self._bounds)
        if index % 3 == 2:  # some functions are only defined for positive numbers
            draw = replace(draw, low=0.0)
        try:
            feed = draw_feed(self._specs, self._dims.shapes(sizes), self._given, self._hints, draw)
        except DataError as error:
            self._error = str(error)
            return False
        self._tries += 1
        answer = self._try_run(feed)
        if answer is None or answer is True:
            self._feeds.append(feed)
            self._sizes.append(dict(sizes))
            return True
        self._error = answer if isinstance(answer, str) else "the reference failed"
        return False


def _scaled(size: int, factor: float) -> int:
    return max(int(size * factor), 1)
