"""One worker for all tests of this folder: its child takes half a second to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from onnxslim.runtime.worker import Worker


@pytest.fixture(scope="session")
def worker() -> Iterator[Worker]:
    with Worker() as shared:
        yield shared
