"""Atoms: the Transposes and views that are read off them move every element to its place."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph import edit
from onnxslim.graph.load import from_proto
from onnxslim.passes._atoms import Movement, trace
from tests.nets import net

Step = tuple[int, ...] | list[int]
"""A permutation as a tuple, the shape after a view as a list."""

CHAINS: list[tuple[list[int], list[Step]]] = [
    ([2, 3, 4], []),
    ([2, 3, 4], [(0, 2, 1)]),
    ([2, 3, 4], [(1, 2, 0), (1, 2, 0)]),
    ([2, 3, 4], [(1, 2, 0), (2, 0, 1)]),
    ([2, 12], [[2, 3, 4], (0, 2, 1), [2, 12]]),
    ([2, 12], [[2, 3, 4], (0, 2, 1)]),
    ([2, 3, 4], [(0, 2, 1), [2, 12]]),
    ([2, 3, 4], [(2, 0, 1), [24]]),
    ([2, 1, 3], [(2, 1, 0)]),
    ([2, 1, 3], [[2, 3], (1, 0), [3, 1, 2, 1]]),
    ([1, 6], [[6], [2, 3], (1, 0)]),
    ([6, 4], [[3, 2, 4], (1, 0, 2), [6, 4]]),
    ([6, 4], [[3, 8], (1, 0), [4, 2, 3]]),
    ([8, 6], [[2, 2, 2, 2, 3], (0, 3, 1, 4, 2), [4, 6, 2]]),
    ([2, 3, 4, 5], [(0, 2, 3, 1), [2, 20, 3], (0, 2, 1)]),
    ([2, 3, 4, 5], [[6, 20], (1, 0), [4, 5, 2, 3]]),
    ([2, 3, 4, 5], [(1, 0, 3, 2), [6, 20], (1, 0)]),
    ([2, 3, 4, 5], [(2, 3, 0, 1)]),
]


def run(x: Any, steps: list[Step]) -> Any:
    for step in steps:
        x = x.transpose(step) if isinstance(step, tuple) else x.reshape(step)
    return x


def chain_of(source: list[Any], steps: list[Step]) -> Any:
    given: dict[str, Any] = {}
    lines = []
    for i, step in enumerate(steps):
        if isinstance(step, tuple):
            lines.append(f"a{i + 1} = Transpose<perm = {list(step)}>(a{i})")
        else:
            lines.append(f"a{i + 1} = Reshape(a{i}, s{i})")
            given[f"s{i}"] = step
    if not steps:
        lines = ["a1 = Identity(a0)"]
    model = from_proto(
        net("  ".join(lines), a0=f"float{str(source).replace(chr(39), '')}", **given)
    )
    infer_shapes(model)
    return list(model.graph)


def movement(source: list[Any], steps: list[Step]) -> Movement:
    nodes = chain_of(source, steps)
    if not steps:
        nodes[0].op_type = "Reshape"
    found = trace(nodes)
    assert found is not None
    return found


def sizes_of(found: Movement) -> list[int]:
    return [size for size in found.sizes if isinstance(size, int)]


@pytest.mark.parametrize(("source", "steps"), CHAINS)
def test_does_what_the_chain_does(source: list[int], steps: list[Step]) -> None:
    x = np.arange(np.prod(source)).reshape(source)
    wanted = run(x, steps)
    found = movement(source, steps)
    assert found.source == tuple(source) and found.wanted == wanted.shape
    assert found.in_order == np.array_equal(x.reshape(-1), wanted.reshape(-1))
    atoms = x.reshape(sizes_of(found)).transpose(found.order)
    assert np.array_equal(atoms.reshape(-1), wanted.reshape(-1))
    assert [a for group in found.start for a in group] == list(range(len(found.sizes)))
    for groups, shape in ((found.start, x.shape), (found.end, wanted.shape)):
        assert [int(np.prod([sizes_of(found)[a] for a in g])) for g in groups] == list(shape)
    sizes, perm = found.units()
    units: Any = x.reshape([int(str(n)) for n in sizes]).transpose(perm)
    assert np.array_equal(units.reshape(-1), wanted.reshape(-1))
    assert all(b != a + 1 for a, b in zip(perm, perm[1:], strict=False)) or len(perm) < 2
    one, first, last = found.as_transpose(), found.transpose_first(), found.transpose_last()
    if one is not None:
        assert np.array_equal(x.transpose(one), wanted)
    if first is not None:
        assert np.array_equal(x.transpose(first).reshape(wanted.shape), wanted)
    if last is not None:
        shape = [wanted.shape[last.index(axis)] for axis in range(wanted.ndim)]
        assert np.array_equal(x.reshape(shape).transpose(last), wanted)


@pytest.mark.parametrize(
    ("source", "steps", "one", "first", "last"),
    [
        ([2, 3, 4], [(0, 2, 1)], (0, 2, 1), (0, 2, 1), (0, 2, 1)),
        ([2, 3, 4], [(1, 2, 0), (2, 0, 1)], (0, 1, 2), (0, 1, 2), (0, 1, 2)),
        ([2, 12], [[2, 3, 4], (0, 2, 1), [2, 12]], None, None, None),
        ([2, 12], [[2, 3, 4], (0, 2, 1)], None, None, (0, 2, 1)),
        ([2, 3, 4], [(0, 2, 1), [2, 12]], None, (0, 2, 1), None),
        ([2, 1, 3], [(2, 1, 0)], (2, 1, 0), (2, 0, 1), (1, 2, 0)),
        ([2, 1, 3], [[2, 3], (1, 0), [3, 1, 2, 1]], None, (2, 0, 1), (1, 2, 0, 3)),
        ([1, 6, 1], [[6, 1, 1]], (1, 0, 2), (1, 0, 2), (0, 1, 2)),
    ],
)
def test_as_one_transpose(
    source: list[int], steps: list[Step], one: Any, first: Any, last: Any
) -> None:
    found = movement(source, steps)
    assert (found.as_transpose(), found.transpose_first(), found.transpose_last()) == (
        one, first, last,
    )  # fmt: skip


def test_symbols_are_atoms() -> None:
    found = movement(["N", 6, "M"], [[0, 2, 3, -1], (0, 2, 1, 3)])
    n, two, three, m = found.sizes
    assert (str(n), two, three, str(m)) == ("N", 2, 3, "M")
    assert (found.start, found.end) == (((0,), (1, 2), (3,)), ((0,), (2,), (1,), (3,)))


def test_none_where_sizes_do_not_tell() -> None:
    assert trace(chain_of([6, 4], [[4, 6]])) is None  # no size divides the other
    assert trace(chain_of([4, 6], [[6, 4]])) is None
    for at in range(3):
        nodes = chain_of([2, 3], [(1, 0), [6], [3, 2]])
        nodes[at].outputs[0].shape = None
        assert (trace(nodes) is None) == (at > 0)  # a Transpose is followed without its shape
    nodes = chain_of([2, 3], [(1, 0)])
    nodes[0].inputs[0].shape = None
    assert trace(nodes) is None
    nodes = chain_of([2, 3], [(1, 0)])
    nodes[0].attributes["perm"] = edit.attribute("perm", [0, 2, 1])
    assert trace(nodes) is None
    nodes[0].attributes["perm"] = edit.attribute("perm", [0, 0])
    assert trace(nodes) is None
    nodes = chain_of([2, 3], [[6]])
    for shape in ([2, 3, 2], [2], [5]):  # more elements than there are, or fewer
        nodes[0].outputs[0].shape = ir.Shape(shape)
        assert trace(nodes) is None
