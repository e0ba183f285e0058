"""What a region of changes is called: by what typically causes such a change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from onnxslim.report.diff.flow import Const, Output, Source, Vertex, constant_of
from onnxslim.report.diff.hunks import AFFINE, LINEAR, Region, is_decoder
from onnxslim.report.diff.labels import input_name
from onnxslim.report.diff.script import ConstantChange
from onnxslim.report.diff.weights import compare

_QDQ = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
_NO_EFFECT = frozenset({"Identity", "Dropout"})
_SHAPES = frozenset(
    {"Add", "Cast", "Concat", "ConstantOfShape", "Div", "Equal", "Expand", "Floor", "Gather",
     "Identity", "Mod", "Mul", "Pow", "Range", "Reshape", "Shape", "Size", "Slice", "Sqrt",
     "Squeeze", "Sub", "Transpose", "Unsqueeze", "Where"}
)  # fmt: skip
"""Operators that sizes are computed with."""

_MANY = 9
_FEW = 4
"""So many names are only counted."""

Name = tuple[str, str]
"""Kind, for programs, and title, for people."""


def name(region: Region) -> Name:
    """Kind and title of a region."""
    for rule in _RULES if region.removed or region.added else _OF_PAIRS:
        found = rule(region)
        if found is not None:
            kind, title = found
            return kind, ", ".join([title, *(more for more in _also(region) if more not in title)])
    raise AssertionError("the last rule names everything")


def _also(region: Region) -> Iterator[str]:
    """What happened to the weights besides."""
    pairs = [(c.a, c.b) for c in region.constants if c.a and c.b and c.a.is_weight]
    pairs += [(p, q) for i in region.inputs if (p := _stored(i.was)) and (q := _stored(i.now))]
    sizes = {p.size > q.size for p, q in pairs if _is_resized(p, q)}
    if sizes:
        words = "channels changed" if len(sizes) > 1 else f"channels {_SIZED[sizes.pop()]}"
        yield words
    types = sorted({(p.dtype, q.dtype) for p, q in pairs if p.dtype != q.dtype})
    if types and not region.inputs:
        yield "constants " + ", ".join(f"{p} -> {q}" for p, q in types)


_SIZED = {True: "pruned", False: "widened"}


def _stored(source: Source) -> Const | None:
    """What a decoder reads, or a constant."""
    if isinstance(source, Output) and is_decoder(source.node):
        return constant_of(source.node.inputs[0])
    return source if isinstance(source, Const) and source.is_weight else None


def _is_resized(p: Const, q: Const) -> bool:
    """Whether a constant has other sizes along the same axes."""
    return len(p.shape) == len(q.shape) and p.size != q.size


def operators(nodes: Iterable[Vertex], most: int = 6) -> str:
    """``Shape, 2 Gather, Concat``: operators in order of their first appearance."""
    counts = Counter(v.op.split(":")[-1] for v in nodes)
    parts = [f"{'many' if n > _MANY else n} {op}" if n > 1 else op for op, n in counts.items()]
    rest = len(parts) - most
    if rest > 1:
        parts = [*parts[:most], f"{rest} other operators"]
    return ", ".join(parts)


def _ops(nodes: Sequence[Vertex]) -> set[str]:
    return {v.op.split(":")[-1] for v in nodes}


def _quantized(region: Region) -> Name | None:
    new, old = _ops(region.added), _ops(region.removed)
    if (decoded := _decoded(region)) is not None:
        return decoded
    if new and new <= _QDQ and not old:
        return "quantize", "quantization inserted: " + ", ".join(sorted(new, reverse=True))
    if old and old <= _QDQ and not new:
        return "dequantize", "quantization removed: " + ", ".join(sorted(old, reverse=True))
    if new and new <= _QDQ and not old & _QDQ:
        what = operators(region.removed)
        return "quantize", f"{what} absorbed by the quantization inserted after it"
    extra = new & _QDQ or {op for op in new if op.startswith("QLinear") or op.endswith("Integer")}
    if extra and not old & _QDQ:
        return "quantize", f"quantized: {operators(region.removed)} -> {operators(region.added)}"
    return None


def _decoded(region: Region) -> Name | None:
    """Weights of a layer in another form, with what they took in on the way."""
    for kind, made, rest, words in (
        ("quantize", region.added, region.removed, "weights quantized"),
        ("dequantize", region.removed, region.added, "weights no longer quantized"),
    ):
        if not made or not all(map(is_decoder, made)) or not _ops(rest) <= AFFINE | _NO_EFFECT:
            continue
        largest = max((c for v in made if (c := constant_of(v.inputs[0]))), key=lambda c: c.size)
        told = f"{words} to {largest.dtype}" if kind == "quantize" else words
        affine = [v for v in rest if v.op in AFFINE]
        return kind, f"{told}, {operators(affine)} folded" if affine else told
    return None


def _folded(region: Region) -> Name | None:
    old = _ops(region.removed)
    if not old or region.added or not old <= AFFINE | _NO_EFFECT or not old & AFFINE:
        return None
    touched = region.touched or [i.a for i in region.inputs if i.a not in region.removed]
    into = [v for v in dict.fromkeys(touched) if v.op in LINEAR | AFFINE]
    if not into or len(touched) > len(into):
        return None
    what = operators([v for v in region.removed if v.op in AFFINE])
    return "fold", f"{what} folded into {operators(into)}"


def _merged(region: Region) -> Name | None:
    """Nothing is added, and what stays says what the removed nodes said."""
    if not region.removed or region.added or region.to_constant:
        return None
    if region.are_twins:
        return "duplicate", f"{operators(region.removed)} merged with an equal one"
    into = [v for v in region.touched if v.flow is region.removed[0].flow]
    if into and len({v.op for v in into}) == 1 and not _ops(region.removed) <= _NO_EFFECT:
        return "merge", f"{operators(region.removed)} merged into {into[0].op.split(':')[-1]}"
    return None


def _ahead(region: Region) -> Name | None:
    if not region.removed or region.added:
        return None
    if all(v.value is not None for v in region.removed) and not _ops(region.removed) <= _NO_EFFECT:
        return "constant", f"{operators(region.removed)} stored as constant"
    if not region.to_constant:
        return None
    ops = _ops(region.removed)
    if "Shape" in ops and len(ops) > 2 and ops <= _SHAPES:
        return "constant", f"shapes computed ahead: {operators(region.removed)}"
    return "constant", f"{operators(region.removed)} computed ahead into a constant"


def _behind(region: Region) -> Name | None:
    """The other way round: what was a constant is computed."""
    if not region.added or region.removed or not region.from_constant:
        return None
    what = "shapes" if (ops := _ops(region.added)) <= _SHAPES and "Shape" in ops else "a constant"
    return "compute", f"{what} computed at run time: {operators(region.added)}"


def _converted(region: Region) -> Name | None:
    ops = _ops(region.added) | _ops(region.removed)
    if ops and ops <= {"Cast", "CastLike"}:
        if region.added and region.removed:
            return "convert", "Cast changed"
        return "convert", "Cast inserted" if region.added else "Cast removed"
    return None


def _inlined(region: Region) -> Name | None:
    held = [v for v in region.removed if v.bodies]
    if held and region.added:
        return "inline", f"{operators(held)} inlined"
    return None


def _neutral(vertex: Vertex) -> bool:
    """Adding zeros, multiplying by ones."""
    unit = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1}.get(vertex.op)
    found = [c for c in map(constant_of, vertex.inputs) if c is not None]
    if unit is None or len(found) != 1 or not found[0].size:
        return False
    return bool((found[0].array() == unit).all())


def _one_sided(region: Region) -> Name | None:
    if region.removed and not region.added:
        rest = [v for v in region.removed if v.op not in _NO_EFFECT]
        if rest and all(map(_neutral, rest)):
            return "remove", f"{operators(region.removed)} without effect removed"
        return "remove", f"{operators(region.removed)} removed"
    if region.added and not region.removed:
        return "insert", f"{operators(region.added)} inserted"
    return None


def _rewritten(region: Region) -> Name | None:
    if not region.removed:
        return None
    old, new = operators(region.removed), operators(region.added)
    kind = "fuse" if len(region.removed) > len(region.added) else "rewrite"
    return kind, f"{old} -> {new}"


def _resized(region: Region) -> Name | None:
    if region.changed or any(c.a is None or c.b is None for c in region.constants):
        return None
    found = next(_also(region), "")
    return ("resize", found) if found.startswith("channels") else None


def _in_place(region: Region) -> Name:
    """Pairs only: what differs between them."""
    names = {f.name.split()[0] for c in region.changed for f in c.fields}
    if "operator" in names:
        fields = [f for c in region.changed for f in c.fields if f.name == "operator"]
        return "replace", f"{fields[0].was} -> {fields[0].now}"
    nodes = operators(region.touched)
    if names == {"input"}:
        return "rewire", f"{nodes}: reads something else"
    if names:
        return "attribute", f"{nodes}: {_listed(_attributes(region))} changed"
    if any(c.a is None or c.b is None for c in region.constants):
        return "constant", f"{nodes}: {_gained(region)}"
    if any(c.a and c.b and c.a.dtype != c.b.dtype for c in region.constants):
        pairs = {(c.a.dtype, c.b.dtype) for c in region.constants if c.a and c.b}
        return "convert", "constants " + ", ".join(f"{p} -> {q}" for p, q in sorted(pairs))
    if all(_is_moved(c) for c in region.constants):
        return "reshape", f"{nodes}: {_listed(_roles(region))} in another shape, same elements"
    if any(c.a and c.a.is_weight for c in region.constants):
        return "weights", "weights differ"
    return "constant", f"{nodes}: {_listed(_roles(region))} changed"


def _attributes(region: Region) -> Iterator[str]:
    """Names of the attributes that changed; another number of outputs is no attribute."""
    for change in region.changed:
        for item in change.fields:
            yield item.name.removeprefix("attribute ") if item.name[:5] != "input" else "inputs"
    yield from _roles(region)


def _roles(region: Region) -> Iterator[str]:
    """What the operators call the constants that changed."""
    for change in region.constants:
        for _, node, slot in change.uses:
            yield input_name(node.op, node.version, slot)


def _listed(names: Iterable[str]) -> str:
    """``allowzero``, ``axes and keepdims``, ``3 attributes``."""
    found = list(dict.fromkeys(names))
    return " and ".join(found) if len(found) < _FEW else f"{len(found)} attributes"


def _is_moved(change: ConstantChange) -> bool:
    """Whether a weight has the same elements with other dimensions."""
    a, b = change.a, change.b
    if a is None or b is None or not a.is_weight or a.shape == b.shape:
        return False
    return bool(compare(a, b).get("reshaped"))


def _gained(region: Region) -> str:
    """``bias of zeros removed``."""
    for change in region.constants:
        const = change.a or change.b
        if const is not None and (change.a is None or change.b is None):
            _, node, slot = change.uses[0]
            what = input_name(node.op, node.version, slot)
            if const.size and not const.array().any():
                what += " of zeros"
            return f"{what} {'added' if change.a is None else 'removed'}"
    return "constant changed"


_OF_PAIRS: tuple[Callable[[Region], Name | None], ...] = (_resized, _in_place)
"""Where every node has a pair."""

_RULES: tuple[Callable[[Region], Name | None], ...] = (
    _quantized,
    _folded,
    _inlined,
    _ahead,
    _merged,
    _behind,
    _converted,
    _one_sided,
    _rewritten,
    *_OF_PAIRS,
)
