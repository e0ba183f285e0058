"""What :func:`onnxslim.prune` can be asked for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from onnxslim.analysis.budget import Budget, Kind, parse_amount, parse_budget
from onnxslim.api.options import RunOptions
from onnxslim.errors import DataError, UsageError

Amount = float | str


@dataclass(frozen=True)
class PruneOptions:
    """What is asked for, besides the budget; the fields that the pass has mean the same.

    Attributes:
        criterion: ``auto`` or the name of a criterion.
        scope: ``auto``, ``local``, ``global`` or ``isomorphic``.
        keep: GLOBs of layers that are not touched.
        layers: ``GLOB=R`` each.
        round_to: None is 8, less where a budget asks for it.
        min_channels: None is the larger of 8 and 12 %.
        steps: In how many steps.
        schedule: ``linear`` or ``polynomial``.
        labels: Key of the labels in the data.
        metric: How outputs and labels become points.
        recover: Bring accuracy back.
        require_data: No data is an error.
        allow_random: Random calibration data is allowed.
        compare: Measure the result against the model given.
        search: Take the time to try several ways of choosing channels on samples held back, and
            to adjust all weights together.
        latency_table: File that ``bench --table`` wrote, for a latency budget; None measures here.
        time_limit: Seconds after which no further try is started; None for no limit.
    """

    criterion: str = "auto"
    scope: str = "auto"
    keep: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    round_to: int | None = None
    min_channels: int | None = None
    steps: int = 1
    schedule: str = "linear"
    labels: str | None = None
    metric: str = "top1"
    recover: bool = True
    require_data: bool = False
    allow_random: bool = False
    compare: bool = True
    search: bool = True
    latency_table: str | os.PathLike[str] | None = None
    time_limit: float | None = None

    def check(self, options: RunOptions) -> None:
        """Refuse what does not go together.

        Raises:
            DataError: When data is required and missing.
            UsageError: When labels have no data.
        """
        if self.require_data and options.data is None:
            raise DataError("--require-data: there is no sample data; give it with --data")
        if self.labels is not None and options.data is None:
            raise UsageError("labels need data: give --data the .npz that holds them")


@dataclass(frozen=True)
class Goal:
    """A budget that is searched for, try by try.

    Attributes:
        kind: ``latency``: keep at most this part, or so many milliseconds; ``max_drop``: lose at
            most so many points.
        amount: The number.
        absolute: Milliseconds.
    """

    kind: Literal["latency", "max_drop"]
    amount: float
    absolute: bool = False


def one_budget(**given: Amount | None) -> Budget | Goal:
    """The one budget that was given.

    Raises:
        UsageError: When there is none, or more than one, or it makes no sense.
    """
    named = {kind: amount for kind, amount in given.items() if amount is not None}
    if len(named) != 1:
        what = " and ".join(f"--{kind.replace('_', '-')}" for kind in named) or "none"
        raise UsageError(
            "prune needs one budget, --ratio, --macs, --params, --latency or --max-drop: "
            f"found {what}"
        )
    ((name, amount),) = named.items()
    if name == "max_drop":
        return _max_drop(amount)
    if name == "latency":
        return _latency(amount)
    kind: Kind = name  # type: ignore[assignment]
    budget = parse_budget(kind, amount) if isinstance(amount, str) else Budget(kind, float(amount))
    if budget.amount == 0:
        raise UsageError(
            "--ratio is 0, which removes nothing: expected a part above 0, such as 0.4"
        )
    return budget


def _max_drop(amount: Amount) -> Goal:
    points = amount if not isinstance(amount, str) else parse_points(amount)
    if not 0 < points < 100:
        raise UsageError(f"--max-drop is {points:g}: expected points above 0 and below 100")
    return Goal("max_drop", float(points))


def parse_points(text: str) -> float:
    """Points as a number; a percent sign is allowed."""
    try:
        return float(text.strip().removesuffix("%"))
    except ValueError:
        raise UsageError(f"--max-drop is {text!r}: expected points, such as 1 or 0.5") from None


def _latency(amount: Amount) -> Goal:
    text = amount.strip() if isinstance(amount, str) else ""
    if text.endswith("ms"):
        return Goal("latency", _above_zero(parse_amount(text[:-2], "--latency")), absolute=True)
    part = parse_amount(text, "--latency") if text else float(amount)
    if part > 1:
        raise UsageError(f"--latency is {amount}: expected a part up to 1, or milliseconds (8ms)")
    return Goal("latency", _above_zero(part))


def _above_zero(amount: float) -> float:
    if not amount > 0:
        raise UsageError("--latency is 0: expected a part above 0, or milliseconds (8ms)")
    return amount
