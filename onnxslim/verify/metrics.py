"""How outputs and labels become a score in points.

A metric turns a batch into one row of numbers per sample; the mean of all rows becomes the
score. So nothing but these rows is kept, and two models can be compared sample by sample.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from onnxslim.errors import DataError, UsageError
from onnxslim.runtime.specs import Array, kind_of

GROUP = "onnxslim.metrics"
"""Entry-point group: a :class:`Metric`, or a function as ``--metric MODULE:FUNCTION`` takes it."""

Outputs = Mapping[str, Array]


@dataclass(frozen=True)
class Metric:
    """A score.

    Args:
        name: As given to ``--metric``.
        rows: Outputs and labels of a batch to an array ``(samples, k)``.
        total: Mean row ``(k,)`` to points.
        binary: Every row is ``[0]`` or ``[100]``: right or wrong.
    """

    name: str
    rows: Callable[[Outputs, Array], Array]
    total: Callable[[Array], float]
    binary: bool = False


def class_axis(output: Array) -> int:
    """The axis of the classes: ``(N, C)``, ``(N, T, C)``, ``(N, C, H, W)``."""
    return 1 if output.ndim == 2 or output.ndim >= 4 else output.ndim - 1


def classes(output: Array) -> Array:
    """The class that an output says: itself for integers, the side of 0.5 or 0 for one number."""
    if kind_of(output.dtype) != "float":
        return output
    if output.ndim < 2 or output.shape[class_axis(output)] == 1:
        inside = bool(((output >= 0) & (output <= 1)).all())
        return (output > (0.5 if inside else 0)).astype(np.int64).reshape(output.shape[0], -1)
    found: Array = np.argmax(output, axis=class_axis(output))
    return found


def per_sample(right: Array) -> Array:
    """Part of the positions of each sample that are right, in points, as ``(N, 1)``."""
    points: Array = 100 * right.reshape(right.shape[0], -1).mean(axis=1, keepdims=True)
    return points


def main_output(outputs: Outputs) -> Array:
    """The output that is scored: the first one."""
    return next(iter(outputs.values()))


def _same(found: Array, labels: Array, what: str) -> tuple[Array, Array]:
    """Both in one shape, also where one has axes of size 1 more."""
    if found.size != labels.size:
        raise DataError(
            f"labels of shape {list(labels.shape)} do not fit {what} of shape {list(found.shape)}"
        )
    return found, labels.reshape(found.shape)


def _top1(outputs: Outputs, labels: Array) -> Array:
    output = main_output(outputs)
    if labels.shape == output.shape and output.ndim >= 2 and output.shape[1] > 1:
        labels = classes(labels)  # one-hot
    found, labels = _same(classes(output), labels, "classes")
    return per_sample(found == labels)


def _top5(outputs: Outputs, labels: Array) -> Array:
    output = main_output(outputs)
    if output.ndim < 2:
        raise DataError(f"top5 needs scores per class, not an output of {list(output.shape)}")
    scores = np.moveaxis(output, class_axis(output), -1)
    best = np.argsort(-scores, axis=-1, kind="stable")[..., :5]
    _, labels = _same(best[..., 0], labels, "classes")
    return per_sample((best == labels[..., None]).any(axis=-1))


def _miou(outputs: Outputs, labels: Array) -> Array:
    output = main_output(outputs)
    if kind_of(output.dtype) != "float" or output.ndim < 2:
        raise DataError(f"miou needs scores per class, not an output of {list(output.shape)}")
    count = output.shape[class_axis(output)]
    found, labels = _same(classes(output), labels, "a segmentation")
    n = found.shape[0]
    found, labels = found.reshape(n, -1), labels.reshape(n, -1)
    counted = (labels >= 0) & (labels < count)  # others (255, -1) mean: ignore
    columns = []
    for kind in range(count):
        a, b = (found == kind) & counted, (labels == kind) & counted
        columns += [(a & b).sum(axis=1), (a | b).sum(axis=1)]
    return np.stack(columns, axis=1).astype(np.float64)


def _miou_total(mean: Array) -> float:
    both, either = mean[0::2], mean[1::2]
    seen = either > 0
    return float(100 * (both[seen] / either[seen]).mean()) if seen.any() else 0.0


def _exact(outputs: Outputs, labels: Array) -> Array:
    output = main_output(outputs)
    n = labels.shape[0]
    if output.shape[0] != n and output.ndim == 3 and output.shape[1] == n:
        output = np.swapaxes(output, 0, 1)  # (T, N, C)
    found, labels = classes(output).reshape(n, -1), labels.reshape(n, -1)
    if found.shape == labels.shape:
        return per_sample((found == labels).all(axis=1))
    right = [_decoded(f) == [x for x in t if x > 0] for f, t in zip(found, labels, strict=True)]
    return per_sample(np.array(right))


def _decoded(path: Array) -> list[int]:
    """Greedy CTC: repeats collapse, then blanks (0) go."""
    kept = [x for i, x in enumerate(path) if i == 0 or x != path[i - 1]]
    return [int(x) for x in kept if x != 0]


def _cosine(outputs: Outputs, labels: Array) -> Array:
    found, labels = _same(main_output(outputs), labels, "an output")
    a = found.reshape(found.shape[0], -1).astype(np.float64)
    b = labels.reshape(found.shape[0], -1).astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        points: Array = np.nan_to_num(100 * (a * b).sum(axis=1) / norms)
    return points[:, None]


def _mae(outputs: Outputs, labels: Array) -> Array:
    found, labels = _same(main_output(outputs), labels, "an output")
    n = found.shape[0]
    error = np.abs(found.astype(np.float64) - labels).reshape(n, -1).mean(axis=1)
    return np.stack([error, np.abs(labels.astype(np.float64)).reshape(n, -1).mean(axis=1)], axis=1)


def _mae_total(mean: Array) -> float:
    return float(100 * (1 - mean[0] / mean[1])) if mean[1] else (100.0 if not mean[0] else 0.0)


def _first(mean: Array) -> float:
    return float(mean[0])


SHIPPED: tuple[Metric, ...] = (
    Metric("top1", _top1, _first, binary=True),
    Metric("top5", _top5, _first, binary=True),
    Metric("miou", _miou, _miou_total),
    Metric("exact", _exact, _first, binary=True),
    Metric("cosine", _cosine, _first),
    Metric("mae", _mae, _mae_total),
)
"""``mae`` is 100 minus the mean absolute error as a part (%) of the labels' mean magnitude."""


def get_metric(name: str) -> Metric:
    """A metric by name, from a plug-in, or ``MODULE:FUNCTION`` (also ``FILE.py:FUNCTION``).

    A function takes ``outputs: dict[str, ndarray]`` and ``labels: ndarray`` of a batch and gives
    points: one per sample, or one for the batch.

    Raises:
        UsageError: There is none of that name.
    """
    for metric in SHIPPED:
        if metric.name == name:
            return metric
    plugins = {point.name: point for point in entry_points(group=GROUP)}
    if name in plugins:
        return _metric(name, plugins[name].load())
    if ":" in name:
        return _metric(name, _function(name))
    known = ", ".join([*(m.name for m in SHIPPED), *sorted(plugins)])
    raise UsageError(f"--metric {name!r} is unknown; expected one of {known}, or MODULE:FUNCTION")


def _metric(name: str, found: Any) -> Metric:
    if isinstance(found, Metric):
        return found
    if not callable(found):
        raise UsageError(f"--metric {name!r} is no function but a {type(found).__name__}")

    def rows(outputs: Outputs, labels: Array) -> Array:
        points = np.asarray(found(dict(outputs), labels), dtype=np.float64)
        if points.ndim == 0:
            return np.full((len(labels), 1), float(points))
        if points.shape not in ((len(labels),), (len(labels), 1)):
            raise DataError(
                f"--metric {name!r} gave an array of {list(points.shape)} for {len(labels)} "
                "samples; expected one number per sample, or one for all"
            )
        return points.reshape(-1, 1)

    return Metric(name, rows, _first)


def _function(name: str) -> Any:
    where, _, attribute = name.rpartition(":")
    module = _file(Path(where)) if where.endswith(".py") else _module(where)
    if not hasattr(module, attribute):
        raise UsageError(f"--metric {name!r}: {where} has no {attribute!r}")
    return getattr(module, attribute)


def _module(name: str) -> ModuleType:
    """Imports a module, from the current folder too, as ``python -m`` would."""
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(f"--metric: module {name!r} cannot be imported: {error}") from error
    finally:
        sys.path.pop(0)


def _file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("_onnxslim_metric", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise UsageError(f"--metric: there is no file {str(path)!r}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
