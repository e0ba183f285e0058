"""Small faults that a test should notice: one changed expression or statement of a source file."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

_COMPARE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult,
}  # fmt: skip
_QUIET = {"debug", "info", "warning"}
"""Methods of a logger: what they say is not part of any result."""


@dataclass(frozen=True)
class Mutant:
    """One fault.

    Attributes:
        path: File, relative to the root of the tree.
        line: First line of what is changed, from 1.
        kind: Name of the change.
        start: First byte of the replaced text.
        end: First byte behind it.
        text: What stands there instead.
    """

    path: str
    line: int
    kind: str
    start: int
    end: int
    text: str

    def apply(self, source: bytes) -> bytes:
        """The source with the fault."""
        return source[: self.start] + self.text.encode() + source[self.end :]


def mutants(path: str, source: bytes) -> list[Mutant]:
    """Every fault that can be made in a file, in the order of the text."""
    starts = [0]
    for line in source.split(b"\n"):
        starts.append(starts[-1] + len(line) + 1)
    found = []
    for old, kind, new in _Visitor().changes(ast.parse(source)):
        start = starts[old.lineno - 1] + old.col_offset
        end = starts[(old.end_lineno or 0) - 1] + (old.end_col_offset or 0)
        text = ast.unparse(ast.fix_missing_locations(new))
        text = f"({text})" if isinstance(new, ast.expr) else text
        found.append(Mutant(path, old.lineno, kind, start, end, text))
    return sorted(found, key=lambda m: (m.start, m.end, m.kind, m.text))


_Change = tuple[ast.expr | ast.stmt, str, ast.expr | ast.stmt]


class _Visitor:
    """Walks what runs: no annotations, decorators, assertions, logging or ``TYPE_CHECKING``."""

    def changes(self, node: ast.AST) -> Iterator[_Change]:
        if isinstance(node, ast.stmt):
            yield from _statement(node)
        elif isinstance(node, ast.expr):
            yield from _expression(node)
        for child in _running(node):
            yield from self.changes(child)


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """The children that take part in a computation."""
    if isinstance(node, ast.AnnAssign) and "ClassVar" in ast.unparse(node.annotation):
        return  # name and promise of a pass: texts and enumerations
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return
    if isinstance(node, (ast.Assert, ast.JoinedStr)) or _is_quiet(node):
        return  # a JoinedStr is a message
    if isinstance(node, ast.keyword) and node.arg == "strict":
        return  # an assertion, too
    left_out = {id(child) for child in _idle(node)}
    for child in ast.iter_child_nodes(node):
        if id(child) not in left_out:
            yield child


def _idle(node: ast.AST) -> Iterator[ast.AST | None]:
    """Children that say nothing of what is computed."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        yield from node.decorator_list
    yield getattr(node, "annotation", None)
    yield getattr(node, "returns", None)
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".reshape"):
        yield from (a for a in node.args if ast.unparse(a) == "-1")  # -2 means the same


def _is_quiet(node: ast.AST) -> bool:
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call):
        return False
    called = node.value.func
    return isinstance(called, ast.Attribute) and called.attr in _QUIET


def _statement(node: ast.stmt) -> Iterator[_Change]:
    if isinstance(node, ast.Return) and node.value is not None:
        if not (isinstance(node.value, ast.Constant) and node.value.value in (None, False)):
            yield node, "return None", ast.Return(ast.Constant(None))
    called = isinstance(node, ast.Expr) and isinstance(node.value, (ast.Call, ast.YieldFrom))
    stored = isinstance(node, ast.Assign) and not isinstance(node.targets[0], (ast.Name, ast.Tuple))
    jumps = isinstance(node, (ast.Continue, ast.Break, ast.Raise, ast.AugAssign))
    if (called or stored or jumps) and not _is_quiet(node):
        yield node, "delete", ast.Pass()
    if isinstance(node, (ast.If, ast.While)) and "TYPE_CHECKING" not in ast.unparse(node.test):
        yield node.test, "negate", ast.UnaryOp(ast.Not(), node.test)


def _expression(node: ast.expr) -> Iterator[_Change]:
    if isinstance(node, ast.Compare):
        for index, operator in enumerate(node.ops):
            new = copy.deepcopy(node)
            new.ops[index] = _COMPARE[type(operator)]()
            yield node, "compare", new
    elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        yield node, "arithmetic", ast.BinOp(node.left, _ARITHMETIC[type(node.op)](), node.right)
    elif isinstance(node, ast.BoolOp):
        other = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
        yield node, "and/or", ast.BoolOp(other, node.values)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        yield node, "drop " + type(node.op).__name__, node.operand
    elif isinstance(node, ast.IfExp):
        yield node.test, "negate", ast.UnaryOp(ast.Not(), node.test)
    elif isinstance(node, ast.Constant):
        yield from _constant(node)


def _constant(node: ast.Constant) -> Iterator[_Change]:
    if isinstance(node.value, bool):
        yield node, "constant", ast.Constant(not node.value)
    elif isinstance(node.value, (int, float)):
        yield node, "constant", ast.Constant(node.value + 1)
