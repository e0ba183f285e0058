"""Parts that commands share which prepare a model, work on it with data, and tidy up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from onnxslim.pipeline.manager import PassRecord, without
from onnxslim.pipeline.recipes import Recipe, get_recipe
from onnxslim.pipeline.registry import get_pass
from onnxslim.pipeline.spec import make_pass
from onnxslim.report.entries import PassEntry
from onnxslim.runtime.data import DataSource
from onnxslim.runtime.specs import Feed

LEFT_OUT = ("fold-batchnorm", "deduplicate-initializers")
"""Of the default recipe, before pruning: scales are a criterion, shared vectors are cut apart."""

ADDED = ("unshare-initializers", "convert-channel-shuffle")


def prepared() -> Recipe:
    """What runs before a dependency analysis."""
    base = without(get_recipe("default"), LEFT_OUT)
    added = tuple(make_pass(get_pass(name), {}) for name in ADDED)
    return Recipe("prepare", (*base.steps, *added))


def entries_of(records: Sequence[PassRecord]) -> list[PassEntry]:
    """What passes did, for the document; a pass of several recipes is listed once per recipe."""
    return [
        PassEntry(r.name, r.options, r.rewrites, round(r.seconds, 4), r.skipped) for r in records
    ]


@dataclass(frozen=True)
class CalibrationFeeds:
    """The feeds of a data source, for passes: re-iterable."""

    source: DataSource

    def __iter__(self) -> Iterator[Feed]:
        return self.source.feeds()
