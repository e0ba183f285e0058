"""Small networks of every topology that pruning meets, with random weights: builders by name."""

from __future__ import annotations

from collections.abc import Callable

import onnx

from tests.topologies.attention import ATTENTION
from tests.topologies.convolutional import CONVOLUTIONAL
from tests.topologies.indexing import INDEXING
from tests.topologies.mixed import MIXED
from tests.topologies.recurrent import RECURRENT

TOPOLOGIES: dict[str, Callable[[], onnx.ModelProto]] = {
    f.__name__: f for f in (*CONVOLUTIONAL, *ATTENTION, *RECURRENT, *MIXED, *INDEXING)
}
"""Every model is valid and runs on random feeds, those of :data:`UNRUNNABLE` excepted."""

UNRUNNABLE = frozenset({"custom_operator"})
"""Models with an operator that no runtime knows."""
