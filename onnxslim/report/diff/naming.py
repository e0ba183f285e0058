"""What a region of changes is called: by what typically causes such a change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from onnxslim.report.diff.flow import Vertex
from onnxslim.report.diff.hunks import Region

_AFFINE = frozenset({"BatchNormalization", "Mul", "Div", "Add", "Sub", "InstanceNormalization"})
_LINEAR = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "ConvInteger"})
_QDQ = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
_NO_EFFECT = frozenset({"Identity", "Dropout"})

Name = tuple[str, str]
"""Kind, for programs, and title, for people."""


def name(region: Region) -> Name:
    """Kind and title of a region."""
    for rule in _RULES:
        found = rule(region)
        if found is not None:
            return found
    raise AssertionError("the last rule names everything")


def operators(nodes: Iterable[Vertex], most: int = 6) -> str:
    """``Shape, 2 Gather, Concat``: operators in order of their first appearance."""
    counts = Counter(v.op.split(":")[-1] for v in nodes)
    parts = [f"{n} {op}" if n > 1 else op for op, n in counts.items()]
    rest = len(parts) - most
    if rest > 1:
        parts = [*parts[:most], f"{rest} other operators"]
    return ", ".join(parts)


def _ops(nodes: Sequence[Vertex]) -> set[str]:
    return {v.op.split(":")[-1] for v in nodes}


def _quantized(region: Region) -> Name | None:
    new, old = _ops(region.added), _ops(region.removed)
    if new and new <= _QDQ and not old:
        return "quantize", "quantization inserted: " + " and ".join(sorted(new, reverse=True))
    if old and old <= _QDQ and not new:
        return "dequantize", "quantization removed: " + " and ".join(sorted(old, reverse=True))
    extra = new & _QDQ or {op for op in new if op.startswith("QLinear") or op.endswith("Integer")}
    if extra and not old & _QDQ:
        return "quantize", f"quantized: {operators(region.removed)} -> {operators(region.added)}"
    return None


def _folded(region: Region) -> Name | None:
    old = _ops(region.removed)
    if not old or region.added or not old <= _AFFINE | _NO_EFFECT or not old & _AFFINE:
        return None
    into = [v for v in region.touched if v.op in _LINEAR]
    if not into or len(region.touched) > len(into):
        return None
    what = operators([v for v in region.removed if v.op in _AFFINE])
    return "fold", f"{what} folded into {operators(into)}"


def _ahead(region: Region) -> Name | None:
    if not region.removed or region.added or not region.to_constant:
        return None
    if all(v.value is not None for v in region.removed):
        return "constant", f"{operators(region.removed)} stored as constant"
    return "constant", f"{operators(region.removed)} computed ahead into a constant"


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


def _one_sided(region: Region) -> Name | None:
    if region.removed and not region.added:
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
    if region.changed or not region.constants:
        return None
    for change in region.constants:
        if change.a is None or change.b is None or len(change.a.shape) != len(change.b.shape):
            return None
    if all(c.a.shape == c.b.shape for c in region.constants if c.a and c.b):
        return None
    shrunk = [c.b.size <= c.a.size for c in region.constants if c.a and c.b]
    what = "pruned" if all(shrunk) else "widened" if not any(shrunk) else "changed"
    return "resize", f"channels {what}"


def _in_place(region: Region) -> Name:
    """Pairs only: what differs between them."""
    names = {f.name.split()[0] for c in region.changed for f in c.fields}
    if "operator" in names:
        fields = [f for c in region.changed for f in c.fields if f.name == "operator"]
        return "replace", f"{fields[0].was} -> {fields[0].now}"
    nodes = operators(region.touched)
    if names:
        kind = "rewire" if names == {"input"} else "attribute"
        word = "reads something else" if kind == "rewire" else "attributes changed"
        return kind, f"{nodes}: {word}"
    if any(c.a is None or c.b is None for c in region.constants):
        return "constant", f"{nodes}: constant input {_gained(region)}"
    if any(c.a and c.b and c.a.dtype != c.b.dtype for c in region.constants):
        pairs = {(c.a.dtype, c.b.dtype) for c in region.constants if c.a and c.b}
        return "convert", "constants " + ", ".join(f"{p} -> {q}" for p, q in sorted(pairs))
    if any(c.a and c.a.is_weight for c in region.constants):
        return "weights", "weights differ"
    return "constant", "constants differ"


def _gained(region: Region) -> str:
    return "added" if any(c.a is None for c in region.constants) else "removed"


_RULES: tuple[Callable[[Region], Name | None], ...] = (
    _quantized,
    _folded,
    _inlined,
    _ahead,
    _converted,
    _one_sided,
    _rewritten,
    _resized,
    _in_place,
)
