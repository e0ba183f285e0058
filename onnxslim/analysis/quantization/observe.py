"""What values occur in a model: one streaming pass over the calibration samples.

Nothing is kept but a histogram per tensor, so that memory does not grow with the samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from onnxslim.errors import CalibrationError
from onnxslim.runtime.reducers import Histogram, Reducer
from onnxslim.runtime.session import Session
from onnxslim.runtime.specs import Feed

BINS = 4096
STRIDE = 4
"""Only large tensors are subsampled; minimum and maximum are exact all the same."""


@dataclass
class Observations:
    """Histograms by tensor name; iterating gives the feeds they were made from.

    Attributes:
        facts: Result of the reducer ``Histogram`` per tensor.
        samples: How many samples were seen.
        feeds: Re-iterable.
    """

    facts: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    samples: int = 0
    feeds: Iterable[Feed] = ()

    def __iter__(self) -> Iterator[Feed]:
        return iter(self.feeds)

    def missing(self, names: Iterable[str]) -> list[str]:
        """Tensors that have not been seen yet."""
        return [name for name in names if name not in self.facts]

    def see(self, session: Session, names: Sequence[str], on_feed: Any = None) -> None:
        """Run the feeds and add what occurs in tensors of these names.

        Raises:
            CalibrationError: When there are no feeds.
        """
        reducers: dict[str, Reducer] = {name: Histogram(BINS, STRIDE) for name in names}
        count = 0

        def counted() -> Iterator[Feed]:
            nonlocal count
            for feed in self.feeds:
                count += 1
                if on_feed is not None:
                    on_feed(count)
                yield feed

        self.facts.update(session.reduce(counted(), reducers))
        if not count:
            raise CalibrationError("there are no calibration samples; give some with --data")

    def save(self, path: Path) -> None:
        """Write the histograms, atomically."""
        arrays: dict[str, Any] = {}
        for index, (name, facts) in enumerate(self.facts.items()):
            arrays[f"{index}.name"] = np.array(name)
            for key in ("counts", "edges", "zeros", "min", "max", "mean", "count", "nonfinite"):
                if facts[key] is not None:
                    arrays[f"{index}.{key}"] = np.asarray(facts[key])
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{id(self)}.tmp.npz")
        np.savez(temporary, samples=np.array(self.samples), allow_pickle=False, **arrays)
        temporary.replace(path)

    def load(self, path: Path) -> bool:
        """Take over what was saved; False, changing nothing, when there is nothing usable."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                found = {key: stored[key] for key in stored.files}
        except (OSError, ValueError, BadZipFile):
            return False
        facts: dict[str, dict[str, Any]] = {}
        for key, array in found.items():
            index, _, part = key.partition(".")
            if part:
                facts.setdefault(index, {})[part] = array if array.ndim else array.item()
        for item in facts.values():
            name = str(item.pop("name"))
            for key in ("min", "max", "mean"):
                item.setdefault(key, None)
            self.facts[name] = item
        return True
