"""A comparison as groups of lines, the same for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxslim.report.diff.delta import Delta, Hunk

_NAMES = 4
_AXES = {
    "Conv": ("filters", "input channels"),
    "ConvTranspose": ("input channels", "filters"),
    "Gemm": ("rows", "columns"),
    "MatMul": ("input features", "output features"),
    "BatchNormalization": ("channels",),
    "InstanceNormalization": ("channels",),
    "LayerNormalization": ("channels",),
}

Entry = Mapping[str, Any]


@dataclass
class Group:
    """Hunks of one title.

    Attributes:
        title: What happened.
        count: How often.
        lines: One or more per hunk.
    """

    title: str
    count: int = 0
    lines: list[str] = field(default_factory=list)

    @property
    def heading(self) -> str:
        """``17 x Identity removed``."""
        return f"{self.count} x {self.title}" if self.count > 1 else self.title


def groups(delta: Delta) -> list[Group]:
    """Hunks by title, those that touch most nodes first."""
    found: dict[str, Group] = {}
    weight: dict[str, int] = {}
    for hunk in delta.hunks:
        group = found.setdefault(hunk.title, Group(hunk.title))
        group.count += 1
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
    parts = [f"{len(nodes[k])} {k}" for k in ("removed", "added", "changed") if nodes[k]]
    if weights:
        parts.append(f"{weights} constant{'s' * (weights != 1)} differ{'s' * (weights == 1)}")
    same = f"{counts['unchanged']} of {counts['a']} nodes unchanged ({counts['b']} after)"
    return "; ".join([", ".join(parts), same] if parts else [same])


def _hunk(delta: Delta, hunk: Hunk) -> Iterator[str]:
    for index in hunk.changed:
        yield from _changed(delta.nodes["changed"][index])
    yield from _constants(delta, hunk)
    removed = [delta.nodes["removed"][i] for i in hunk.removed]
    added = [delta.nodes["added"][i] for i in hunk.added]
    if removed:
        yield f"- {_names(removed)}"
    if added:
        yield f"+ {_names(added)}"


def _names(entries: Sequence[Entry]) -> str:
    shown = ", ".join(e["name"] for e in entries[:_NAMES])
    rest = len(entries) - _NAMES
    return f"{shown} and {rest} more" if rest > 0 else shown


def _changed(entry: Entry) -> Iterator[str]:
    was, now = entry["was"], entry["is"]
    keys = [k for k in now if k != "name"]
    told = "; ".join(f"{k} {_show(was[k])} -> {_show(now[k])}" for k in keys)
    yield f"~ {entry['name']} ({entry['op']}): {told}"


def _constants(delta: Delta, hunk: Hunk) -> Iterator[str]:
    """One line per node with all of its constants."""
    by_node: dict[str, list[str]] = {}
    for place in hunk.initializers:
        key, _, index = place.partition(":")
        entry = delta.initializers[key][int(index)]
        uses = entry["uses"]
        more = f" and {len(uses) - 1} more" if len(uses) > 1 else ""
        node = f"{uses[0]['node']}{more} ({uses[0]['op']})"
        by_node.setdefault(node, []).append(_constant(key, entry))
    for node, told in by_node.items():
        yield f"~ {node}: {'; '.join(told)}"


def _constant(key: str, entry: Entry) -> str:
    slot = entry["uses"][0]["input"]
    if key != "changed":
        tensor = entry["is" if key == "added" else "was"]
        return f"input {slot} {key}: {_tensor(tensor)}"
    return f"input {slot} {_difference(entry)}"


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
    if "elements" in entry:
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
    axes = _AXES.get(entry["uses"][0]["op"], ())
    parts = []
    if len(was["shape"]) == len(now["shape"]) and entry["uses"][0]["input"] == 1:
        for axis, (p, q) in enumerate(zip(was["shape"], now["shape"], strict=True)):
            if p != q and axis < len(axes):
                parts.append(f"{p} -> {q} {axes[axis]}")
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


def _tensor(entry: Entry) -> str:
    return f"{entry['dtype']}[{_dims(entry['shape'])}]"


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
