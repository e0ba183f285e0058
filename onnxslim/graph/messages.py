"""How a model is quoted in an error message: names come from strangers, lines stay single."""

from __future__ import annotations

import onnx

from onnxslim.errors import UnsupportedModelError

_LONGEST = 80


def show(text: object) -> str:
    """Quote a name: control characters escaped, at most 80 characters."""
    quoted = repr(text)
    return quoted if len(quoted) <= _LONGEST else quoted[: _LONGEST - 4] + "..." + quoted[-1]


def describe(node: onnx.NodeProto) -> str:
    """A node by name and operator."""
    op = node.op_type
    is_plain = isinstance(op, str) and op.isidentifier() and op.isascii() and len(op) < 60
    return f"node {show(node.name)} ({op if is_plain else show(op)})"


def root_cause(error: BaseException) -> str:
    """The first line of the innermost error, shortened."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).splitlines() or [type(error).__name__]
    line = "".join(c if c.isprintable() else "?" for c in lines[0])
    return line if len(line) <= 200 else line[:197] + "..."


def refuse(where: str, found: str, expected: str) -> UnsupportedModelError:
    """The error for a model that is not taken: where, what was found, what was expected."""
    return UnsupportedModelError(f"{where}: {found}; expected {expected}")
