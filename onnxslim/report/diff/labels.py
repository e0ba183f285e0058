"""What a node is, without names, at decreasing levels of detail.

``FULL``: operator, attributes, contents of constants, bodies. ``SHAPED``: operator, attributes,
types and shapes of constants. ``KIND``: operator and attributes, and of arithmetic which operands
are constants. ``OPERATOR``: operator. ``WEIGHT``: operator and content of the largest constant.

An attribute that says what its default says is left out, unless the default differs between
versions of the operator: then it is filled in. What is an attribute in one version of an operator
and an input in another (``axes``, the bounds of ``Clip``) is the same in both forms.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Hashable
from functools import lru_cache
from typing import Any

import onnx
import onnx_ir as ir

from onnxslim.graph.schema import get_schema
from onnxslim.report.diff.flow import Const, Vertex, constant_of

FULL, SHAPED, KIND, OPERATOR, WEIGHT = range(5)

COMMUTATIVE = frozenset(
    {"Add", "Mul", "And", "Or", "Xor", "Equal", "Max", "Min", "Sum", "Mean", "BitwiseAnd",
     "BitwiseOr", "BitwiseXor"}
)  # fmt: skip

_ARITHMETIC = COMMUTATIVE | {"Sub", "Div", "Pow", "Where", "Less", "Greater"}

Frozen = Hashable


@lru_cache(maxsize=4096)
def _versions(op: str) -> tuple[onnx.defs.OpSchema, ...]:
    """All versions of an operator of a standard domain, newest first."""
    domain, _, op_type = op.rpartition(":")
    found, version = [], 1 << 30
    while version > 0:
        try:
            schema = onnx.defs.get_schema(op_type, max_inclusive_version=version, domain=domain)
        except onnx.defs.SchemaError:
            break
        found.append(schema)
        version = schema.since_version - 1
    return tuple(found)


@lru_cache(maxsize=4096)
def movable(op: str) -> frozenset[str]:
    """Names that are an attribute in one version of an operator and an input in another."""
    versions = _versions(op)
    inputs = {p.name.lower() for schema in versions for p in schema.inputs}
    return frozenset(
        name for schema in versions for name in schema.attributes if name.lower() in inputs
    )


@lru_cache(maxsize=8192)
def parameter(op: str, version: int, slot: int) -> str | None:
    """The attribute that input ``slot`` was in another version of the operator, or None."""
    names = movable(op)
    if not names:
        return None
    schema = next((s for s in _versions(op) if s.since_version <= version), None)
    if schema is None or slot >= len(schema.inputs):
        return None
    formal = schema.inputs[slot].name.lower()
    return next((name for name in sorted(names) if name.lower() == formal), None)


@lru_cache(maxsize=8192)
def input_name(op: str, version: int, slot: int) -> str:
    """What the operator calls an input: ``weight``, ``bias``, ``axes``; else ``input 3``."""
    schema = next((s for s in _versions(op) if s.since_version <= version), None)
    if schema is None or slot >= len(schema.inputs):
        return f"input {slot}"
    formal = schema.inputs[slot].name
    if op in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return {"W": "weight", "B": "bias" if op != "Gemm" and op != "MatMul" else "weight",
                "C": "bias"}.get(formal, formal)  # fmt: skip
    return formal


@lru_cache(maxsize=1024)
def _counts_outputs(op: str) -> bool:
    """Whether the number of outputs means something: as many as one likes, or unknown."""
    versions = _versions(op)
    return not versions or versions[0].max_output > 100


@lru_cache(maxsize=8192)
def _defaults(op: str, version: int) -> tuple[dict[str, Frozen], frozenset[str]]:
    """Defaults of an operator, and those of them that no version has otherwise."""
    domain, _, op_type = op.rpartition(":")
    schema = get_schema(domain, op_type, version)
    if schema is None:
        return {}, frozenset()
    own = {name: frozen(value) for name, value in schema.defaults}
    stable = set(own)
    for other in _versions(op):
        known = get_schema(domain, op_type, other.since_version)
        if known is None:
            continue
        said = {name: frozen(value) for name, value in known.defaults}
        stable -= {n for n in own if n in known.attributes and said.get(n) != own[n]}
    return own, frozenset(stable)


def frozen(value: Any) -> Frozen:
    """An attribute value as something that is compared bit by bit."""
    if isinstance(value, float):
        return ("float", struct.pack("<f", value))
    if isinstance(value, (bool, int)):
        return int(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)):
        return tuple(frozen(item) for item in value)
    if isinstance(value, (ir.Tensor, ir.TensorProtoTensor)) or isinstance(value, ir.TensorProtocol):
        return ("tensor", Const("", value).digest)  # the protocol is slow to ask for
    return ("other", str(value))


def attributes(vertex: Vertex) -> dict[str, Frozen]:
    """Attributes that say something, and constant inputs that were attributes once."""
    own, stable = _defaults(vertex.op, vertex.version)
    found = {name: value for name, value in own.items() if name not in stable}
    for name, value in vertex.attributes.items():
        fixed = frozen(value)
        if (name not in stable or own[name] != fixed) and not _is_implied(vertex, name, fixed):
            found[name] = fixed
    names = movable(vertex.op)
    if not names:
        return found
    for slot in range(1, len(vertex.inputs)):
        moved = parameter(vertex.op, vertex.version, slot)
        const = None if moved is None else constant_of(vertex.inputs[slot])
        if moved is not None and const is not None and const.size <= 64:
            found[moved] = frozen(_plain(const))
    for name in names:
        number = found.get(name)
        if isinstance(number, int):
            found[name] = (number,)  # ``k`` of TopK: a number once, now a list of one
    return found


_ONES, _ZEROS = ("strides", "dilations"), ("pads", "output_padding")
_WINDOWS = frozenset({"Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool"})


def _is_implied(vertex: Vertex, name: str, value: Frozen) -> bool:
    """Whether an attribute says what leaving it out says, although the standard has no default."""
    if vertex.op == "Reshape" and name == "allowzero" and len(vertex.inputs) > 1:
        dims = constant_of(vertex.inputs[1])
        return dims is not None and dims.size <= 64 and bool((dims.array() != 0).all())
    if vertex.op not in _WINDOWS or not isinstance(value, tuple):
        return False
    if name in _ONES:
        return all(item == 1 for item in value)
    if name in _ZEROS:
        return not any(value)
    return name == "kernel_shape" and vertex.op.startswith("Conv")  # the weight says it


def _pattern(vertex: Vertex) -> tuple[bool, ...]:
    """Which operands of arithmetic are constants."""
    if vertex.op not in _ARITHMETIC:
        return ()
    found = [constant_of(source) is not None for source in vertex.inputs]
    return tuple(sorted(found) if vertex.op in COMMUTATIVE else found)


def _plain(const: Const) -> Any:
    """The number or list of numbers that an attribute would hold."""
    array = const.array()
    if array.ndim == 0 or (array.size == 1 and array.dtype.kind == "f"):
        return array.reshape(-1)[0].item() if array.dtype.kind in "iufb" else str(array)
    return array.reshape(-1).tolist()


class Labels:
    """Labels of nodes, as small numbers shared by both models.

    Args:
        weights: ``exact``, ``close``, ``shape`` or ``ignore``: how constants that training makes
            count.
    """

    def __init__(self, weights: str = "exact") -> None:
        self.weights = weights
        self._numbers: dict[Frozen, int] = {}
        self._known: tuple[dict[Vertex, int], ...] = tuple({} for _ in range(WEIGHT + 1))
        self._stable: dict[Frozen, int] = {}
        self._attributes: dict[Vertex, tuple[tuple[str, Frozen], ...]] = {}

    def number(self, key: Frozen) -> int:
        """The same number for equal keys."""
        return self._numbers.setdefault(key, len(self._numbers))

    def stable(self, key: Frozen) -> int:
        """A number for a key that is the same in every process."""
        found = self._stable.get(key)
        if found is None:
            text = key if isinstance(key, bytes) else repr(key).encode()
            digest = hashlib.blake2b(text, digest_size=7).digest()
            found = self._stable[key] = int.from_bytes(digest, "little")
        return found

    def constant(self, const: Const) -> Frozen:
        """What counts of a constant."""
        if self.weights == "exact" or not const.is_weight:
            return const.digest
        return "weight" if self.weights == "ignore" else (const.dtype, const.shape)

    def attributes(self, vertex: Vertex) -> tuple[tuple[str, Frozen], ...]:
        """See :func:`attributes`, as a sorted tuple, computed once."""
        found = self._attributes.get(vertex)
        if found is None:
            found = tuple(sorted(attributes(vertex).items()))
            self._attributes[vertex] = found
        return found

    @staticmethod
    def counts_outputs(vertex: Vertex) -> bool:
        """Whether the number of outputs of a node means something."""
        return _counts_outputs(vertex.op)

    def label(self, vertex: Vertex, level: int) -> int:
        """Number of the label of a node; equal for equal labels of one level."""
        known = self._known[level]
        found = known.get(vertex)
        if found is None:
            found = known[vertex] = self.number((level, self._label(vertex, level)))
        return found

    def _label(self, vertex: Vertex, level: int) -> Frozen:
        if level == OPERATOR:
            return vertex.op
        if level == KIND:
            return vertex.op, self._named_only(vertex), _pattern(vertex)
        if level == WEIGHT:
            found = [c for c in map(constant_of, vertex.inputs) if c is not None and c.size >= 16]
            weight = max(found, key=lambda c: c.size, default=None)
            return vertex.op, None if weight is None else self.constant(weight)
        constants: list[Frozen] = []
        for slot, source in enumerate(vertex.inputs):
            const = constant_of(source)
            constants.append(None if const is None else self._constant(vertex, slot, const, level))
        if vertex.op in COMMUTATIVE:
            constants = sorted((c for c in constants if c is not None), key=repr)
        count = len(vertex.outputs) if _counts_outputs(vertex.op) else 0
        key: tuple[Frozen, ...] = (vertex.op, self.attributes(vertex), tuple(constants), count)
        if level == FULL and vertex.bodies:
            bodies = ((name, self.body(flow)) for name, flow in sorted(vertex.bodies.items()))
            key += (tuple(bodies),)
        return key

    def _named_only(self, vertex: Vertex) -> tuple[tuple[str, Frozen], ...]:
        """Attributes without those that may be inputs: shapes, axes, bounds."""
        names = movable(vertex.op)
        return tuple(item for item in self.attributes(vertex) if item[0] not in names)

    def _constant(self, vertex: Vertex, slot: int, const: Const, level: int) -> Frozen:
        if const.size <= 64 and parameter(vertex.op, vertex.version, slot) is not None:
            return None
        if level == SHAPED:
            return "weight" if self.weights == "ignore" else (const.dtype, const.shape)
        return self.constant(const)

    def body(self, flow: Any) -> int:
        """Number of a body; what it reads from outside is only known to come from there."""
        from onnxslim.report.diff.hashing import forward

        ids = forward(flow, self, FULL, outer=lambda source: "outer")
        rest = tuple(sorted(ids[v] for v in flow.nodes))
        return self.number(("body", tuple(ids.source(s) for s in flow.outputs), rest))
