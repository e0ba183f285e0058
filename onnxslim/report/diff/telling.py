"""A comparison as groups of lines, the same for the terminal and for Markdown."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxslim.report.diff.delta import Delta, Hunk

_NAMES, _OPERATORS, _VALUES = 6, 8, 4
_AXES = {
    "Conv": ("filters", "input channels"),
    "ConvTranspose": ("input channels", "filters"),
    "Gemm": ("rows", "columns"),
    "MatMul": ("input features", "output features"),
    "BatchNormalization": ("channels",),
    "InstanceNormalization": ("channels",),
    "LayerNormalization": ("channels",),
}

_PASSES = 3
"""Passes named in a heading."""

Entry = Mapping[str, Any]


@dataclass
class Group:
    """Hunks of one title.

    Attributes:
        title: What happened.
        first: Index of the first of them.
        count: How often.
        lines: One or more per hunk.
        passes: How many hunks each pass of ours had a part in, as far as that is known.
    """

    title: str
    first: int = 0
    count: int = 0
    lines: list[str] = field(default_factory=list)
    passes: Counter[str] = field(default_factory=Counter)

    @property
    def heading(self) -> str:
        """``17x: Identity removed (eliminate-identity)``."""
        names = [name for name, _ in self.passes.most_common()]
        rest = len(names) - _PASSES
        told = ", ".join(names if rest <= 0 else [*names[:_PASSES], f"{rest} more"])
        title = f"{self.title} ({told})" if told else self.title
        return f"{self.count}x: {title}" if self.count > 1 else title


def groups(delta: Delta) -> list[Group]:
    """Hunks by title, those that touch most nodes first."""
    found: dict[str, Group] = {}
    weight: dict[str, int] = {}
    for index, hunk in enumerate(delta.hunks):
        group = found.setdefault(hunk.title, Group(hunk.title, index))
        group.count += 1
        group.passes.update(hunk.passes)
        group.lines += _hunk(delta, hunk)
        size = len(hunk.removed) + len(hunk.added) + len(hunk.changed) + len(hunk.initializers)
        weight[hunk.title] = weight.get(hunk.title, 0) + size
    return sorted(found.values(), key=lambda g: -weight[g.title])


def facts(delta: Delta) -> list[str]:
    """Inputs, outputs and properties, one line each."""
    lines = [f"{key}: {_show(v['was'])} -> {_show(v['is'])}" for key, v in delta.meta.items()]
    for word, part in (("input", delta.inputs), ("output", delta.outputs)):
        lines += [f"{word} {_port(e)} removed" for e in part["removed"]]
        lines += [f"{word} {_port(e)} added" for e in part["added"]]
        for entry in part["changed"]:
            if entry["name"] == "order" and "order" in entry["was"]:
                was, now = (", ".join(entry[k]["order"]) for k in ("was", "is"))
                lines.append(f"{word}s in another order: {was} -> {now}")
            elif "source" in entry["was"]:
                was, now = entry["was"]["source"], entry["is"]["source"]
                lines.append(f"{word} {entry['name']} comes from {was} -> {now}")
            else:
                lines.append(f"{word} {_port(entry['was'])} -> {_port(entry['is'])}")
    return lines


def total(delta: Delta) -> str:
    """One line of counts."""
    counts, nodes = delta.counts, delta.nodes
    weights = sum(len(delta.initializers[k]) for k in delta.initializers)
    numbers = [f"{len(nodes[k])} {k}" for k in ("removed", "added", "changed") if nodes[k]]
    if weights:
        numbers.append(f"{weights} constant{'s' * (weights != 1)} differ{'s' * (weights == 1)}")
    parts = [", ".join(numbers)] if numbers else []
    net = Counter(e["op"] for e in nodes["added"])
    net.subtract(e["op"] for e in nodes["removed"])
    top = sorted(((n, op) for op, n in net.items() if n), key=lambda x: (-abs(x[0]), x[1]))
    told = ", ".join(f"{n:+d} {op}" for n, op in top[:_OPERATORS])
    if told:
        parts.append(told + (" ..." if len(top) > _OPERATORS else ""))
    same = f"{counts['unchanged']} of {counts['a']} nodes unchanged ({counts['b']} after)"
    return "; ".join([*parts, same])


def _hunk(delta: Delta, hunk: Hunk) -> Iterator[str]:
    by_node: dict[str, list[str]] = {}
    for index in hunk.changed:
        entry = delta.nodes["changed"][index]
        by_node.setdefault(f"{entry['name']} ({entry['op']})", []).extend(_changed(entry))
    for place in hunk.initializers:
        key, _, number = place.partition(":")
        entry = delta.initializers[key][int(number)]
        uses = entry["uses"]
        others = len(dict.fromkeys(u["node"] for u in uses)) - 1
        more = f" and {others} more" if others else ""
        node = f"{uses[0]['node']} ({uses[0]['op']}){more}"
        by_node.setdefault(node, []).append(f"{uses[0]['role']} {_constant(key, entry)}")
    for item in hunk.inputs:
        node = f"{item['node']} ({item['op']})"
        by_node.setdefault(node, []).append(f"{item['role']} {_computed(item)}")
    for node, told in by_node.items():
        yield f"~ {node}: {'; '.join(told)}"
    for sign, entries, places in (
        ("-", delta.nodes["removed"], hunk.removed),
        ("+", delta.nodes["added"], hunk.added),
    ):
        if places:
            yield f"{sign} {_names([entries[i]['name'] for i in places])}"


def _computed(item: Entry) -> str:
    """An input that was a constant and is computed now, or the other way round."""
    was, now = item.get("tensors", (None, None))
    if was is None and now is None:
        return f"{item['was']} -> {item['is']}"
    if was is None or now is None:
        return f"added: {_tensor(now)}" if was is None else f"removed: {_tensor(was)}"
    if was["shape"] == now["shape"]:
        return f"{_tensor(was)} -> {now['dtype']}"
    parts = _axes(was["shape"], now["shape"], item)
    told = f" ({', '.join(parts)})" if parts else ""
    return f"{_tensor(was)} -> {_tensor(now)}{told}"


def _names(names: Sequence[str]) -> str:
    """Some names, a long beginning that they share only once."""
    shown, rest = list(names[:_NAMES]), len(names) - _NAMES
    start = os.path.commonprefix(shown)
    start = start[: start.rfind("/") + 1] if len(shown) > 1 else ""
    told = ", ".join(name.removeprefix(start) for name in shown)
    if rest > 0:
        told += f" and {rest} more"
    return f"{start}{{{told}}}" if start else told


def _changed(entry: Entry) -> Iterator[str]:
    was, now = entry["was"], entry["is"]
    for key in (k for k in now if k != "name"):
        yield f"{key.removeprefix('attribute ')} {_show(was[key])} -> {_show(now[key])}"


def _constant(key: str, entry: Entry) -> str:
    if key != "changed":
        return f"{key}: {_tensor(entry['is' if key == 'added' else 'was'])}"
    return _difference(entry)


def _difference(entry: Entry) -> str:
    """How a constant differs, shortly."""
    was, now = entry["was"], entry["is"]
    if "value" in was and "value" in now and was["dtype"] == now["dtype"]:
        return f"{_show(was['value'])} -> {_show(now['value'])}"
    if was["shape"] != now["shape"]:
        return _resized(entry)
    parts = []
    if was["dtype"] != now["dtype"]:
        parts.append(f"{was['dtype']} -> {now['dtype']}")
    if entry.get("differing") == 0:
        parts.append("same values")
    elif "elements" in entry:
        share = f"{entry['differing']} of {entry['elements']} elements"
        parts.append("all elements" if entry["differing"] == entry["elements"] else share)
        parts.append(f"max |d| {_number(entry['max_abs'])}")
        if entry["rel_l2"] is not None:
            parts.append(f"relative {_number(entry['rel_l2'])}")
        before, after = entry["sparsity"]
        if abs(before - after) > 0.005:
            parts.append(f"zeros {before:.0%} -> {after:.0%}")
    return ", ".join(parts) or f"{_tensor(was)} differs"


def _resized(entry: Entry) -> str:
    was, now = entry["was"], entry["is"]
    shapes = f"{_dims(was['shape'])} -> {_dims(now['shape'])}"
    parts = _axes(was["shape"], now["shape"], entry["uses"][0])
    if was["dtype"] != now["dtype"]:
        parts.append(f"{was['dtype']} -> {now['dtype']}")
    for key, words in (
        ("sliced", "a slice of the first"),
        ("extended", "the first is a slice of it"),
        ("transposed", "transposed"),
        ("reshaped", "same elements"),
    ):
        if key in entry:
            parts.append(words)
    return f"{shapes} ({', '.join(parts)})" if parts else shapes


def _axes(was: Sequence[int], now: Sequence[int], use: Entry) -> list[str]:
    """``64 -> 48 filters``: other sizes of a weight, by what its axes mean."""
    axes = _AXES.get(use["op"], ())
    if len(was) != len(now) or use["input"] != 1:
        return []
    named = zip(was, now, axes, strict=False)
    return [f"{p} -> {q} {axis}" for p, q, axis in named if p != q]


def _tensor(entry: Entry) -> str:
    if "value" in entry and math.prod(entry["shape"]) <= _VALUES:
        return _show(entry["value"])
    fill = f" of {_show(entry['fill'])}" if "fill" in entry else ""
    return f"{entry['dtype']}[{_dims(entry['shape'])}]{fill}"


def _dims(shape: Sequence[Any]) -> str:
    return "x".join("?" if d is None else str(d) for d in shape) or "scalar"


def _port(entry: Entry) -> str:
    shape = entry["shape"]
    dims = "" if shape is None else f"[{', '.join('?' if d is None else str(d) for d in shape)}]"
    return f"{entry['name']} {entry['dtype'] or 'not a tensor'}{dims}"


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3g}"


def _show(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return f"[{', '.join(map(_show, value))}]"
    return str(value)
