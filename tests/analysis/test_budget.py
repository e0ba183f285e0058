"""Budgets and granularity as users write them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxslim.analysis.budget import (
    Budget,
    Granularity,
    Kind,
    parse_amount,
    parse_budget,
    parse_layer_ratio,
    schedule,
)
from onnxslim.analysis.dependency.groups import Group
from onnxslim.errors import UsageError


def group(size: int, *, cells: int = 1, width: int = 1, kind: str = "channel") -> Group:
    return Group(0, size, np.arange(size) * cells // size, width, (), (), kind)


@pytest.mark.parametrize(
    ("text", "amount"),
    [("0.7", 0.7), ("70%", 0.7), ("120M", 120e6), ("1.5G", 1.5e9), ("3e6", 3e6), (".5", 0.5),
     ("100%", 1.0), ("64k", 64e3)],
)  # fmt: skip
def test_amounts(text: str, amount: float) -> None:
    assert parse_amount(text, "--macs") == pytest.approx(amount)


@pytest.mark.parametrize("text", ["", "x", "-1", "0.7 %%", "8ms", "1,5", "nan", "inf"])
def test_no_amounts(text: str) -> None:
    with pytest.raises(UsageError, match="--macs is .*expected a part"):
        parse_amount(text, "--macs")


@pytest.mark.parametrize(
    ("kind", "text"), [("ratio", "1"), ("ratio", "2"), ("macs", "0"), ("params", "120%")]
)
def test_amounts_that_make_no_sense(kind: Kind, text: str) -> None:
    with pytest.raises(UsageError, match=f"--{kind} is .*expected"):
        parse_budget(kind, text)


def test_a_limit_is_a_part_or_a_number() -> None:
    assert parse_budget("macs", "25%").limit(1000) == 250
    assert parse_budget("macs", "120").limit(1000) == 120
    assert parse_budget("macs", "1").limit(1000) == 1000


def test_steps_lead_from_nothing_to_the_budget() -> None:
    assert [Budget("ratio", 0.6).at(p, 0).amount for p in (0, 0.5, 1)] == [0, 0.3, 0.6]
    assert [Budget("macs", 0.2).at(p, 100).limit(100) for p in (0.5, 1)] == pytest.approx([60, 20])
    assert [Budget("macs", 20).at(p, 100).limit(100) for p in (0.5, 1)] == pytest.approx([60, 20])
    assert Budget("macs", 0.2).at(0.5, 0) == Budget("macs", 1.0)
    assert schedule(4, "linear") == [0.25, 0.5, 0.75, 1.0]
    assert schedule(2, "polynomial") == [0.875, 1.0]
    with pytest.raises(UsageError, match="--steps is 0"):
        schedule(0, "linear")


def test_layer_ratios() -> None:
    assert parse_layer_ratio("a=b*=0.25") == ("a=b*", 0.25)
    assert parse_layer_ratio("op:Conv=30%") == ("op:Conv", 0.3)
    for text in ("conv1", "=0.3", "conv1=1", "conv1=x"):
        with pytest.raises(UsageError, match="--layer"):
            parse_layer_ratio(text)


@pytest.mark.parametrize(
    ("made", "options", "levels"),
    [
        (group(32), {}, [32, 24, 16, 8]),
        (group(30), {}, [30, 24, 16, 8]),
        (group(8), {}, [8]),
        (group(10), {}, [10, 8]),
        (group(100), {"round_to": 16}, [100, 96, 80, 64, 48, 32, 16]),
        (group(6), {"round_to": 1, "min_channels": 1}, [6, 5, 4, 3, 2, 1]),
        (group(6), {"round_to": 1, "min_channels": 4}, [6, 5, 4]),
        (group(200), {}, [200, *range(192, 23, -8)]),  # 12 % are 24
        (group(16, cells=4), {}, [16, 8]),
        (group(12, cells=3), {"round_to": 1, "min_channels": 1}, [12, 9, 6, 3]),
        (group(6, width=16, kind="head"), {}, [6, 5, 4, 3, 2, 1]),
        (group(8, width=4, kind="head"), {}, [8, 6, 4, 2]),
        (group(8, width=16, kind="head"), {"min_channels": 40}, [8, 7, 6, 5, 4, 3]),
        (group(8, width=16, kind="head"), {"min_channels": 32}, [8, 7, 6, 5, 4, 3, 2]),
        (group(8, width=0), {"round_to": 1, "min_channels": 7}, [8, 7]),
        (group(6, cells=3), {"round_to": 1, "min_channels": 1}, [6, 3]),
        (group(16), {"halvings": 1}, [16, 12, 8, 4]),
        (group(4), {"halvings": 3}, [4, 3, 2, 1]),
        (group(16), {"halvings": 3, "round_to": 8}, [16, 8]),
        (group(56), {"blocks": "all"}, [56, 48, 32, 16, 8]),
        (group(16), {"blocks": "all"}, [16, 8]),
        (group(56), {"blocks": "grouped"}, [56, 48, 40, 32, 24, 16, 8]),
        (group(64, cells=4), {"blocks": "grouped"}, [64, 48, 32, 16, 8]),
        (group(200), {"blocks": "all"}, [200, *range(192, 23, -16)]),
        (group(8, width=4, kind="head"), {"blocks": "all"}, [8, 6, 4, 2]),
    ],
)
def test_levels(made: Group, options: dict[str, Any], levels: list[int]) -> None:
    assert list(Granularity(**options).levels(made)) == levels


def test_only_defaults_are_halved() -> None:
    assert Granularity(8, 4).halved() is None
    once = Granularity(8).halved()
    assert once == Granularity(8, None, 1)
    assert Granularity(None, 8).halved() == Granularity(None, 8, 1)
    assert Granularity(blocks="all").halved() == Granularity()
    last = Granularity(halvings=16)
    assert last.halved() is None
    assert (last.multiple, last.least(group(1000))) == (1, 1)


@pytest.mark.parametrize("name", ["round_to", "min_channels"])
def test_a_granularity_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=name.replace("_", "-")):
        Granularity(**dict[str, Any]({name: 0}))
