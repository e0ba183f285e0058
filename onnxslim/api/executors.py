"""Where work is spread: processes of this machine, or a Dask cluster."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar

from onnxslim.errors import MissingRuntimeError, UsageError

T = TypeVar("T")
Item = TypeVar("Item")

_TRIES = 2
"""How often an item is given to a worker that dies."""

_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")

_WIDTH = 8
"""Workers that an executor is taken to have when it does not say."""


@contextmanager
def open_executor(text: str) -> Iterator[Executor]:
    """An executor from ``processes:N`` (or ``processes``) or ``dask://HOST:PORT``.

    Raises:
        UsageError: For another text.
        MissingRuntimeError: When Dask is asked for and not installed.
    """
    kind, _, rest = text.partition(":")
    if kind == "processes" and (not rest or (rest.isdigit() and int(rest) > 0)):
        with _one_thread_each(), processes(int(rest) if rest else None) as pool:
            yield pool
    elif text.startswith("dask://"):
        with _dask(text.removeprefix("dask://")) as pool:
            yield pool
    else:
        raise UsageError(f"--executor is {text!r}: expected processes:N or dask://HOST:PORT")


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """NumPy's matrix products have one thread in processes that are started meanwhile.

    With more, threads of all processes wait for each other by spinning: two processes on two cores
    are then hardly faster than one.
    """
    added = [name for name in _THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def executor_of(given: Executor | str | None) -> Iterator[Executor | None]:
    """An executor as functions take it: one of the caller's (left open), a text, or none."""
    if isinstance(given, str):
        with open_executor(given) as pool:
            yield pool
    else:
        yield given


def width(executor: Executor) -> int:
    """How many things it does at a time, where it says so, else a guess."""
    known = getattr(executor, "_max_workers", None)  # of the standard library's pools, and loky's
    return known if isinstance(known, int) and known > 0 else _WIDTH


def processes(count: int | None) -> ProcessPoolExecutor:
    """Fresh processes, started anew (not forked: the parent may hold threads)."""
    return ProcessPoolExecutor(
        count or default_jobs(), mp_context=multiprocessing.get_context("spawn")
    )


def default_jobs() -> int:
    """As many as there are processors that this process may use."""
    return max(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1, 1)


@contextmanager
def _dask(address: str) -> Iterator[Executor]:
    try:
        from distributed import Client
    except ImportError:
        raise MissingRuntimeError(
            "--executor dask:// needs Dask: pip install 'onnxslim-toolkit[dask]'"
        ) from None
    try:
        client: Any = Client(f"tcp://{address}", timeout="20s")  # type: ignore[no-untyped-call]
    except OSError as error:
        raise UsageError(f"no Dask scheduler answers at {address}: {error}") from error
    with client:
        pool: Executor = client.get_executor(retries=_TRIES)
        yield pool


def each(
    executor: Executor,
    call: Callable[[Item], T],
    items: Sequence[Item],
    *,
    lost: Callable[[Item, BaseException], T],
    on_done: Callable[[Item, T], None],
) -> list[T]:
    """Run a call on every item; one that kills its worker does not take the others along.

    Args:
        executor: Any. When a pool breaks, what was in it runs again in pools of one worker.
        call: Picklable, of one item; it gives failures of its own as values.
        items: In the order of the result.
        lost: The result for an item whose worker died, or could not be sent.
        on_done: Called as items end, with each result.
    """
    found: dict[int, T] = {}
    suspects: list[int] = []

    def settle(index: int, result: T) -> None:
        found[index] = result
        on_done(items[index], result)

    waiting: dict[Future[T], int] = {}
    for index, item in enumerate(items):
        try:
            waiting[executor.submit(call, item)] = index
        except BrokenExecutor:
            suspects.append(index)
    while waiting:
        done, _ = wait(waiting, return_when="FIRST_COMPLETED")
        for future in done:
            index = waiting.pop(future)
            error = future.exception()
            if error is None:
                settle(index, future.result())
            elif isinstance(error, BrokenExecutor):
                suspects.append(index)
            else:
                settle(index, lost(items[index], error))
    for index in sorted(suspects):
        settle(index, _alone(call, items[index], lost))
    return [found[index] for index in range(len(items))]


def _alone(call: Callable[[Item], T], item: Item, lost: Callable[[Item, BaseException], T]) -> T:
    """Run an item that was in a pool when it broke, where it can break only itself."""
    error: BaseException = RuntimeError("not run")
    for _ in range(_TRIES):
        with processes(1) as pool:
            try:
                future = pool.submit(call, item)
            except BrokenExecutor as broken:
                error = broken
                continue
            raised = future.exception()
        if raised is None:
            return future.result()
        error = raised
        if not isinstance(raised, BrokenExecutor):
            return lost(item, raised)  # whatever the call raised is the item's result
    return lost(item, error)
