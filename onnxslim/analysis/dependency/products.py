"""Which factor of a split axis may vary.

A Reshape makes of one axis several factors (heads and their width). A position leaves when one of
its digits leaves, so that each factor alone could be pruned: whole heads, or the same place in
every head. One factor per product is let vary: the outermost that can (whole heads, whole groups),
the others stay. That keeps every axis a plain set of coordinates.
"""

from __future__ import annotations

import numpy as np

from onnxslim.analysis.dependency.atoms import STAYS, Atoms, Solution, components
from onnxslim.analysis.dependency.builder import Builder, Product
from onnxslim.analysis.dependency.groups import Indices
from onnxslim.analysis.shape_context import describe


def resolve(b: Builder) -> None:
    """Choose a mode for every product and state what follows from it."""
    pending = list(b.products)
    while pending:
        solution = b.atoms.solve()
        if _propagate(b.atoms, pending, solution):
            continue
        touched = np.zeros(b.atoms.count, dtype=bool)
        later = []
        for product in pending:
            roots = _roots(product, solution)
            if touched[roots].any():
                later.append(product)
                continue
            touched[roots] = True
            touched[STAYS] = False
            _decide(b.atoms, product, solution)
        pending = later


def _roots(product: Product, solution: Solution) -> Indices:
    roots = solution.root[np.concatenate([product.whole, *product.factors])]
    alive: Indices = roots[~solution.stays[roots]]
    return alive


def _propagate(atoms: Atoms, products: list[Product], solution: Solution) -> bool:
    """What stays on one side stays on the other; True when something new was stated."""
    changed = False
    for product in products:
        alive = ~solution.stays[product.whole]
        moving = [~solution.stays[f] for f in product.factors]
        reason = f"{describe(product.node)} regroups it with what stays"
        if not alive.any():
            for factor, varies in zip(product.factors, moving, strict=True):
                if varies.any():
                    atoms.freeze(factor, reason)
                    changed = True
        elif not any(varies.any() for varies in moving):
            atoms.freeze(product.whole, reason)
            changed = True
    return changed


def _decide(atoms: Atoms, product: Product, solution: Solution) -> None:
    chosen = next((k for k in range(len(product.factors)) if _viable(product, k, solution)), None)
    name = describe(product.node)
    for k, factor in enumerate(product.factors):
        if k != chosen:
            atoms.freeze(factor, f"{name} makes it a part of every block")
    if chosen is None:
        atoms.freeze(product.whole, f"{name} regroups it")
    else:
        atoms.unite(product.whole, product.factors[chosen][product.digit(chosen)])


def _viable(product: Product, k: int, solution: Solution) -> bool:
    """Whether a factor would leave at least two sets of coordinates apart, one free to go."""
    own = solution.root[product.factors[k]]
    whole = solution.root[product.whole]
    names, compact = np.unique(np.concatenate([own, whole]), return_inverse=True)
    first, second = compact[: len(own)], compact[len(own) :]
    merged = components(len(names), [(second, first[product.digit(k)])])
    stays = np.zeros(len(names), dtype=bool)
    stays[merged[solution.stays[names]]] = True
    found = np.unique(merged[first])
    return len(found) > 1 and not stays[found].all()
