"""An executor that runs what another process would be sent."""

from __future__ import annotations

import pickle
from concurrent.futures import Executor, Future
from typing import Any

from onnxslim.api.work_items import WorkItem


class Pickling(Executor):
    """Runs functions and items that went through pickle, and sends results back the same way.

    Attributes:
        items: The work items that it was given.
    """

    def __init__(self, workers: int = 2) -> None:
        self._max_workers = workers
        self.items: list[WorkItem] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        function, given = pickle.loads(pickle.dumps((fn, args)))
        self.items += given
        done: Future[Any] = Future()
        done.set_result(pickle.loads(pickle.dumps(function(*given))))
        return done
