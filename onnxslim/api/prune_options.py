"""What :func:`onnxslim.prune` can be asked for."""

from __future__ import annotations

from dataclasses import dataclass

from onnxslim.analysis.budget import Budget, Kind, parse_budget
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


def one_budget(**given: Amount | None) -> Budget:
    """The one budget that was given.

    Raises:
        UsageError: When there is none, or more than one, or it makes no sense.
    """
    named = {kind: amount for kind, amount in given.items() if amount is not None}
    if len(named) != 1:
        what = " and ".join(f"--{kind}" for kind in named) or "none"
        raise UsageError(f"prune needs one budget, --ratio, --macs or --params: found {what}")
    ((name, amount),) = named.items()
    kind: Kind = name  # type: ignore[assignment]
    return parse_budget(kind, amount) if isinstance(amount, str) else Budget(kind, float(amount))
