"""The answer of a numeric verification: ``V`` of the contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from onnxslim.verify.compare import Stats, json_number

Level = Literal["full", "partial", "masked", "none"]

Status = Literal[
    "ok",
    "tie",
    "vacuous",
    "ill-conditioned",
    "random",
    "not-compared",
    "exceeds",
    "shape",
    "dtype",
    "missing",
]


@dataclass(frozen=True)
class OutputResult:
    """What was found for one output.

    Args:
        name: The output.
        stats: Its differences.
        limit: What ``max_abs`` may be; None where it is not judged by it.
        status: How it was judged.
        ok: Whether it counts as equal.
        judged_on: The tensors judged in its place (``vacuous`` and ``ill-conditioned``).
        detail: What is wrong, in words.
    """

    name: str
    stats: Stats
    limit: float | None
    status: Status
    ok: bool
    judged_on: tuple[str, ...] = ()
    detail: str = ""

    @property
    def blind(self) -> bool:
        """Whether nothing telling stands behind the answer."""
        return self.status in ("vacuous", "ill-conditioned") and not self.judged_on

    def to_json(self) -> dict[str, Any]:
        """The entry of the contract, plus ``judged_on`` and ``detail`` where there is one."""
        entry = {**self.stats.to_json(), "limit": json_number(self.limit), "status": self.status}
        if self.judged_on:
            entry["judged_on"] = list(self.judged_on)
        if self.detail:
            entry["detail"] = self.detail
        return entry

    def __str__(self) -> str:
        return f"output {self.name!r}: {self.detail or self.status}"


@dataclass(frozen=True)
class Verification:
    """The answer.

    Args:
        level: ``full``, ``partial`` (operators unknown to the runtime) or ``none``.
        ok: Whether everything compared is equal; None when nothing was.
        provider: Where both ran.
        samples: How many feeds.
        outputs: By name, in the order of the reference.
        unvaried: Dynamic dimensions that were run with one size only.
        not_compared: Nodes (``name (op)``) that could not be run.
        unknown_operators: The operators that are unknown.
        failure: One line on what is wrong, or on why nothing could be compared; empty when ok.
    """

    level: Level
    ok: bool | None
    provider: str
    samples: int
    outputs: Mapping[str, OutputResult] = field(default_factory=dict)
    unvaried: tuple[str, ...] = ()
    not_compared: tuple[str, ...] = ()
    unknown_operators: tuple[str, ...] = ()
    failure: str = ""

    @property
    def failed(self) -> tuple[OutputResult, ...]:
        """The outputs that are not equal."""
        return tuple(result for result in self.outputs.values() if not result.ok)

    def explain(self) -> str:
        """One line on what is wrong, or on what was compared."""
        if self.failure:
            return self.failure
        return f"{len(self.outputs)} outputs equal on {self.samples} feeds ({self.level})"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know although nothing is wrong."""
        found = []
        if self.unvaried:
            names = ", ".join(self.unvaried)
            found.append(f"compared with one size only of the dynamic dimensions {names}")
        if self.unknown_operators:
            names = ", ".join(self.unknown_operators)
            count = len(self.not_compared)
            found.append(f"ONNX Runtime lacks {names}: {count} nodes were not compared")
        blind = [result.name for result in self.outputs.values() if result.blind]
        if blind:
            names = ", ".join(blind)
            found.append(f"no float tensor before the outputs {names} says anything on these feeds")
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """``V`` of the contract; ``sqnr_db`` is null where nothing differs."""
        return {
            "level": self.level,
            "ok": self.ok,
            "provider": self.provider,
            "samples": self.samples,
            "outputs": {name: result.to_json() for name, result in self.outputs.items()},
            "unvaried": list(self.unvaried),
            "not_compared": list(self.not_compared),
            "unknown_operators": list(self.unknown_operators),
            "failure": self.failure or None,
        }


def failures(outputs: Mapping[str, OutputResult]) -> str:
    """One line on the outputs that are not equal; empty when all are."""
    bad = [result for result in outputs.values() if not result.ok]
    if not bad:
        return ""
    return f"{bad[0]}" + (f" (and {len(bad) - 1} more)" if len(bad) > 1 else "")


NOT_VERIFIED = Verification("none", None, "cpu", 0, failure="not verified (--no-verify)")
"""What ``--no-verify`` says."""
