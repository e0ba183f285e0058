"""What a pruning is asked for: how much is to go, in which portions, and how much must stay."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from onnxslim.analysis.dependency.groups import Group
from onnxslim.errors import UsageError
from onnxslim.graph import edit

Kind = Literal["ratio", "macs", "params"]

ROUND_TO = 8
"""Widths of this multiple run well on every CPU that ONNX Runtime has blocked kernels for."""

BLOCK = 16
"""Channels that ONNX Runtime's convolutions take at once with AVX-512 (8 with AVX2): there 24 take
as long as 32, and 8 as long as 16. Printed by ``benchmarks/widths.py``."""

LEAST_CHANNELS, LEAST_PART = 8, 0.12
"""What a group keeps by default: the larger of the two."""

_AMOUNT = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?\d+)?)\s*([%kKMGT]?)\s*", re.ASCII)
_UNITS = {"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


@dataclass(frozen=True)
class Budget:
    """One target.

    Attributes:
        kind: ``ratio`` removes a part of the channels; ``macs`` and ``params`` keep at most a part
            or an amount.
        amount: A part (0 to 1), or for ``macs`` and ``params`` above 1 an absolute number.
    """

    kind: Kind
    amount: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.amount) or self.amount < 0:
            raise UsageError(f"--{self.kind} is {self.amount}: expected a number above 0")
        if self.kind == "ratio" and not 0 <= self.amount < 1:
            raise UsageError(f"--ratio is {self.amount:g}: expected a part from 0 to below 1")
        if self.kind != "ratio" and self.amount == 0:
            raise UsageError(f"--{self.kind} is 0: expected a part above 0, or a number")

    @property
    def absolute(self) -> bool:
        """Whether the amount is a number of MACs or parameters."""
        return self.kind != "ratio" and self.amount > 1

    def limit(self, dense: float) -> float:
        """The largest cost allowed, given that of the dense model."""
        return self.amount if self.absolute else self.amount * dense

    def at(self, part: float, dense: float) -> Budget:
        """The budget on the way to this one: none at ``part`` 0, this one at 1."""
        if self.kind == "ratio":
            return Budget("ratio", self.amount * part)
        share = min(self.limit(dense) / dense, 1.0) if dense else 1.0
        return Budget(self.kind, 1.0 - (1.0 - share) * part)


def parse_amount(text: str, option: str) -> float:
    """``0.7``, ``70%``, ``120M`` or ``3e6`` as a number: up to 1 a part, above an amount.

    Raises:
        UsageError: For anything else.
    """
    match = _AMOUNT.fullmatch(text)
    if match is None:
        other = {"--ratio": "", "--latency": " or milliseconds (8ms)"}
        amount = other.get(option, " or an amount (120M)")
        raise UsageError(f"{option} is {text!r}: expected a part (0.7, 70%){amount}")
    number, unit = float(match[1]), match[2]
    return number / 100 if unit == "%" else number * _UNITS.get(unit, 1)


def parse_budget(kind: Kind, text: str) -> Budget:
    """A budget as the command line has it.

    Raises:
        UsageError: For a text that is no amount, or an amount that makes no sense.
    """
    option = f"--{kind}"
    if text.strip().endswith("%") and parse_amount(text, option) > 1:
        raise UsageError(f"{option} is {text}: expected at most 100%")
    return Budget(kind, parse_amount(text, option))


def parse_layer_ratio(text: str) -> tuple[str, float]:
    """``GLOB=R`` of ``--layer``; names may contain equals signs.

    Raises:
        UsageError: For a text of another form, or a ratio that is not from 0 to below 1.
    """
    glob, equals, amount = text.rpartition("=")
    if not equals or not glob:
        raise UsageError(f"--layer {text!r}: expected GLOB=R, such as 'layer1*=0.3'")
    ratio = parse_amount(amount, f"--layer {text!r}")
    if not 0 <= ratio < 1:
        raise UsageError(f"--layer {text!r}: expected a ratio from 0 to below 1")
    return glob, ratio


def schedule(steps: int, kind: str) -> list[float]:
    """How far each of ``steps`` steps goes, the last one to 1.

    ``linear``: equal parts. ``polynomial``: ``1 - (1 - i/n)^3``, more at first (Zhu and Gupta
    2017, arXiv:1710.01878, equation 1).
    """
    if steps < 1:
        raise UsageError(f"--steps is {steps}: expected at least 1")
    parts = [i / steps for i in range(1, steps + 1)]
    return parts if kind == "linear" else [1 - (1 - p) ** 3 for p in parts]


@dataclass(frozen=True)
class Granularity:
    """In which portions units are removed, and how many stay.

    Attributes:
        round_to: Kept channels are a multiple of it; None is 8, less where a budget asks for it.
        min_channels: Channels that every group keeps; None is the larger of 8 and 12 %.
        halvings: How often the defaults were halved to meet a budget.
        blocks: Which widths fill blocks of 16 channels, or are below: ``all`` of them, those of
            ``grouped`` convolutions, or ``none``.
        parts: Of grouped convolutions, each part fills blocks.
    """

    round_to: int | None = None
    min_channels: int | None = None
    halvings: int = 0
    blocks: Literal["all", "grouped", "none"] = "none"
    parts: bool = False

    def __post_init__(self) -> None:
        for name, value in (("round-to", self.round_to), ("min-channels", self.min_channels)):
            if value is not None and value < 1:
                raise UsageError(f"--{name} is {value}: expected at least 1")

    @property
    def multiple(self) -> int:
        """What kept channels are a multiple of."""
        return self.round_to or max(1, ROUND_TO >> self.halvings)

    def halved(self) -> Granularity | None:
        """Half the defaults; None when nothing is left to halve: given values stay."""
        if self.blocks != "none":
            return replace(self, blocks="none", parts=False)
        if self.halvings >= 16 or (self.round_to is not None and self.min_channels is not None):
            return None
        return Granularity(self.round_to, self.min_channels, self.halvings + 1)

    def portion(self, group: Group) -> int:
        """Units that stay or leave together: whole cells, and widths of the multiple.

        Heads count by their channels: eight heads of 16 channels leave one by one.
        """
        units = self.multiple // math.gcd(self.multiple, max(group.width, 1))
        return math.lcm(units, max(group.cell_count, 1))

    def least(self, group: Group) -> int:
        """Units that a group keeps at least, whole portions or not."""
        wide = max(group.width, 1)
        if self.min_channels is not None:
            least = math.ceil(self.min_channels / wide)
        else:
            default = max(LEAST_CHANNELS / wide, LEAST_PART * group.size)
            least = math.ceil(default / (1 << self.halvings))
        return min(max(least, 1, group.cell_count), group.size)

    def levels(self, group: Group) -> Sequence[int]:
        """Numbers of units that a group may keep, all of them first, then falling."""
        portion, least = self.portion(group), self.least(group)
        first = (group.size - 1) // portion * portion
        lower: Sequence[int] = range(first, least - 1, -portion)
        if group.width <= 1 and (
            self.blocks == "all" or self.blocks == "grouped" and group.cell_count > 1
        ):
            parts = parts_in_blocks(group) if self.parts else ()
            lower = [
                n
                for n in lower
                if (n % BLOCK == 0 or n < BLOCK) and all((n // p) % BLOCK == 0 for p in parts)
            ]
        return [group.size, *lower]


def parts_in_blocks(group: Group) -> set[int]:
    """Numbers of parts that grouped convolutions compute in blocks of channels each.

    A part that does not fill its blocks would make them leave the blocked layout: slower than
    before. Parts of a single block cannot become narrower; they are left out.
    """
    convolutions = {site.node for site in group.sites if edit.is_op(site.node, "Conv")}
    counts = {int(edit.attr(node, "group", 1)) for node in convolutions} - {1}
    return {n for n in counts if group.size >= 2 * BLOCK * n and group.size % (BLOCK * n) == 0}
