"""What values occur in a model: one streaming pass over the calibration samples.

Nothing is kept but a histogram per tensor, so that memory does not grow with the samples.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.quantization.plan import Plan
from onnxslim.errors import CalibrationError
from onnxslim.graph.edit import shape_of
from onnxslim.runtime.histogram import Histogram
from onnxslim.runtime.reduction import BUDGET, reduce
from onnxslim.runtime.session import Session
from onnxslim.runtime.specs import Feed

BINS = 4096
ENOUGH, FEWEST = 1 << 16, 1 << 10
"""About so many values of a tensor are counted, in all and in each batch: of more, every n-th.
Minimum and maximum are those of all values."""


@dataclass
class Observations:
    """Histograms by tensor name; iterating gives the feeds they were made from.

    Attributes:
        histograms: By tensor name.
        feeds: Calibration data, re-iterable.
        sizes: Sizes of the model's symbolic dimensions in one sample.
        plan: A plan to follow instead of a new one.
        bytes: Of tensors in one feed, where known: so many as fit are observed at once.
    """

    histograms: dict[str, Histogram] = field(default_factory=dict)
    feeds: Iterable[Feed] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    plan: Plan | None = None
    bytes: Mapping[str, int] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Feed]:
        return iter(self.feeds)

    @property
    def facts(self) -> dict[str, Mapping[str, Any]]:
        """Result of the reducer ``Histogram`` per tensor."""
        return {name: histogram.result() for name, histogram in self.histograms.items()}

    def missing(self, names: Iterable[str]) -> list[str]:
        """Tensors that have not been seen yet."""
        return [name for name in names if name not in self.histograms]

    def see(
        self,
        session: Session,
        names: Iterable[str],
        feeds: Iterable[Feed] | None = None,
        on_feed: Callable[[int], None] | None = None,
        batches: int = 1,
    ) -> None:
        """Run feeds and add what occurs in tensors.

        Args:
            session: Of the float model.
            names: Of the tensors.
            feeds: Others than those of this object.
            on_feed: Called with the number of the feed.
            batches: How many feeds there will be, about; with more, fewer values of each count.

        Raises:
            CalibrationError: When there are no feeds.
        """
        most = max(FEWEST, ENOUGH // max(batches, 1))
        used = {n: self.histograms.get(n) or Histogram(BINS, most) for n in names}
        given = self.feeds if feeds is None else feeds
        count = 0

        def counted() -> Iterator[Feed]:
            nonlocal count
            for feed in given:
                count += 1
                if on_feed is not None:
                    on_feed(count)
                yield feed

        reduce(session, counted(), used, BUDGET, "all", self.bytes)
        if not count:
            raise CalibrationError("there are no calibration samples; give some with --data")
        self.histograms.update(used)

    def save(self, path: Path) -> bool:
        """Write the histograms, atomically; False when that is not possible."""
        arrays: dict[str, Any] = {}
        for index, (name, histogram) in enumerate(self.histograms.items()):
            arrays[f"{index}.name"] = np.array([name, str(histogram.most)])
            arrays.update({f"{index}.{key}": a for key, a in histogram.state().items()})
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
                np.savez_compressed(file, allow_pickle=False, **arrays)
            Path(file.name).replace(path)
        except OSError:
            return False
        return True

    def load(self, path: Path) -> bool:
        """Take over what was saved; False, changing nothing, when there is nothing usable."""
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
                found = {key: stored[key] for key in stored.files}
            states: dict[str, dict[str, Any]] = {}
            for key, array in found.items():
                index, _, part = key.partition(".")
                states.setdefault(index, {})[part] = array
            made = {}
            for state in states.values():
                name, most = (str(text) for text in state.pop("name"))
                made[name] = Histogram(BINS, int(most)).load(state)
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return False
        self.histograms.update(made)
        return True


def sample_sizes(model: ir.Model, feed: Feed | None, *, whole: bool = False) -> dict[str, int]:
    """Sizes of the symbolic dimensions in one sample: those of a feed, 1 for the first axis.

    Args:
        model: The model.
        feed: What it is fed, or None.
        whole: In the whole feed instead: the first axis as it is.
    """
    found: dict[str, int] = {}
    for value in model.graph.inputs:
        array = None if feed is None or value.name is None else feed.get(value.name)
        for axis, dim in enumerate(shape_of(value) or ()):
            if isinstance(dim, int) or dim.value is None:
                continue
            if axis == 0 and not (whole and array is not None and array.ndim):
                found.setdefault(dim.value, 1)
            elif array is not None and axis < array.ndim:
                found.setdefault(dim.value, int(array.shape[axis]))
    return found


def cache_path(model: Path, data: str, names: Sequence[str]) -> Path:
    """Where the observations of a model file on data of a digest are kept."""
    total = hashlib.sha256(f"4/{BINS}/{ENOUGH}/{data}/".encode())
    total.update("\0".join(names).encode())
    with open(model, "rb") as file:
        while piece := file.read(1 << 20):
            total.update(piece)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "onnxslim" / "observations" / f"{total.hexdigest()[:32]}.npz"
