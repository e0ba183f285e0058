"""The result of a comparison."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from onnxslim.graph.signature import signature
from onnxslim.report.diff import markdown, text
from onnxslim.report.diff.entries import constant_entry, input_entry, node_entry, port_entry
from onnxslim.report.diff.flow import Builder, Flow, Vertex, constant_of
from onnxslim.report.diff.hashing import fingerprint
from onnxslim.report.diff.hunks import regions
from onnxslim.report.diff.labels import Labels
from onnxslim.report.diff.naming import name
from onnxslim.report.diff.pairs import pair_ports
from onnxslim.report.diff.picture import all_flows, picture
from onnxslim.report.diff.provenance import Doers, explained
from onnxslim.report.diff.script import ConstantChange, Script, Writer

IGNORABLE = ("names", "order", "shapes", "opset", "metadata", "storage", "doc")
WEIGHTS = ("exact", "close", "shape", "ignore")

Entry = dict[str, Any]


@dataclass(frozen=True)
class Hunk:
    """Changes that belong together.

    Attributes:
        kind: ``fold``, ``fuse``, ``remove``, ``insert``, ``quantize``, ``resize``, ``weights`` ...
        title: For people; hunks of the same title are shown together.
        removed: Indices into ``Delta.nodes["removed"]``.
        added: The same of ``added``.
        changed: The same of ``changed``.
        initializers: ``added:3``: places in ``Delta.initializers``.
        inputs: Inputs that were computed and are constant now, or the other way round.
        passes: The passes of ours that did it, as far as the second model remembers them.
    """

    kind: str
    title: str
    removed: tuple[int, ...] = ()
    added: tuple[int, ...] = ()
    changed: tuple[int, ...] = ()
    initializers: tuple[str, ...] = ()
    inputs: tuple[Entry, ...] = ()
    passes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Delta:
    """Structural difference between two models.

    Attributes:
        a: What the first is called.
        b: What the second is called.
        nodes: ``added``, ``removed``, ``changed``: entries fit for JSON.
        initializers: The same for constants that changed at nodes which both models have.
        inputs: The same for inputs of the model.
        outputs: The same for its outputs.
        meta: Property to ``{"was", "is"}``: opsets, IR version, metadata.
        hunks: The changes of nodes and initializers in groups that belong together.
        counts: Nodes of either model, ``Constant`` left out, and how many are unchanged.
        cosmetic: What differs without being a difference, as lines.
        pairs: Paths of nodes of the first model and of their partners in the second.
    """

    a: str
    b: str
    nodes: Mapping[str, Sequence[Entry]]
    initializers: Mapping[str, Sequence[Entry]]
    inputs: Mapping[str, Sequence[Entry]]
    outputs: Mapping[str, Sequence[Entry]]
    meta: Mapping[str, Entry]
    hunks: tuple[Hunk, ...]
    counts: Mapping[str, int]
    cosmetic: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    _draw: Callable[[], dict[str, Any]] = field(default=dict, repr=False, compare=False)

    def graph(self) -> dict[str, Any]:
        """Both models as one graph to draw, see :func:`onnxslim.report.diff.picture.picture`."""
        return self._draw()

    @property
    def identical(self) -> bool:
        """No difference but names, order and storage."""
        return self.changes == 0

    @property
    def changes(self) -> int:
        """How many entries there are."""
        parts = (self.nodes, self.initializers, self.inputs, self.outputs)
        return sum(len(part[key]) for part in parts for key in part) + len(self.meta)

    def has(self, kind: str) -> bool:
        """Whether there is a difference of a kind: any, io, structure, weights, meta or none."""
        io = any(part[key] for part in (self.inputs, self.outputs) for key in part)
        found = {
            "any": not self.identical,
            "none": False,
            "io": io,
            "structure": io or any(self.nodes[key] for key in self.nodes),
            "weights": any(self.initializers[key] for key in self.initializers),
            "meta": bool(self.meta),
        }
        return found[kind]

    def to_json(self) -> dict[str, Any]:
        """The document of ``onnxslim diff --json``."""
        keys = ("added", "removed", "changed")
        parts = ("nodes", "initializers", "inputs", "outputs")
        return {
            "schema": 1,
            "command": "diff",
            "a": self.a,
            "b": self.b,
            "identical": self.identical,
            "changes": self.changes,
            **{p: {k: list(getattr(self, p)[k]) for k in keys} for p in parts},
            "meta": {key: dict(value) for key, value in self.meta.items()},
            "hunks": [
                {
                    "kind": h.kind,
                    "title": h.title,
                    **{k: list(getattr(h, k)) for k in ("removed", "added", "changed")},
                    "initializers": list(h.initializers),
                    "inputs": list(h.inputs),
                    "passes": list(h.passes),
                }
                for h in self.hunks
            ],
            "counts": dict(self.counts),
            "cosmetic": list(self.cosmetic),
        }

    def text(self, most: int | None = 20) -> str:
        """As shown in a terminal; at most ``most`` lines of detail per group, None shows all."""
        return text.render(self, most)

    def to_markdown(self, limit: int = markdown.LIMIT) -> str:
        """As a comment on a pull request, of at most ``limit`` characters."""
        return markdown.render(self, limit)


def difference(
    first: ir.Model,
    second: ir.Model,
    *,
    names: tuple[str, str] = ("a", "b"),
    ignore: Sequence[str] = (),
    weights: str = "exact",
    tolerance: tuple[float, float] | None = None,
) -> Delta:
    """Compare two models; neither is changed.

    Args:
        first: The one before.
        second: The one after.
        names: What they are called.
        ignore: Some of :data:`IGNORABLE`.
        weights: One of :data:`WEIGHTS`.
        tolerance: ``(atol, rtol)`` for ``close``.
    """
    labels = Labels(weights)
    a, b = Builder(first), Builder(second)
    flipped = _is_flipped(a, b, labels)
    writer = Writer(labels, tolerance if weights == "close" else None)
    left, right = (b, a) if flipped else (a, b)
    writer.compare(left.main, right.main)
    for key in [k for k in left.functions if k in right.functions]:
        writer.compare(left.functions[key], right.functions[key])
    script = writer.script.flipped() if flipped else writer.script
    return _Maker(script, (a, b), (first, second), names, frozenset(ignore)).delta()


def _is_flipped(a: Builder, b: Builder, labels: Labels) -> bool:
    """Whether the second model comes first, so that the way round does not change the pairs."""
    for key in (_operators, _constants, fingerprint):
        first, second = key(a.main, labels), key(b.main, labels)
        if first != second:
            return bool(second < first)
    return False


def _operators(flow: Flow, labels: Labels) -> Any:
    return len(flow.nodes), sorted(Counter(v.op for v in flow.nodes).items())


def _constants(flow: Flow, labels: Labels) -> int:
    """A number for the constants, whatever their order."""
    constants = (c for v in flow.nodes for c in map(constant_of, v.inputs) if c is not None)
    return sum(labels.stable(labels.constant(c)) for c in constants)


class _Maker:
    """Turns a script into entries."""

    def __init__(
        self,
        script: Script,
        builders: tuple[Builder, Builder],
        models: tuple[ir.Model, ir.Model],
        names: tuple[str, str],
        ignore: frozenset[str],
    ) -> None:
        self._script = script
        self._builders, self._models = builders, models
        self._names, self._ignore = names, ignore
        self._known = explained(script, models[1])
        self._doers = Doers(models[1])

    def delta(self) -> Delta:
        """All of it."""
        script = self._script
        changed = [
            {
                "name": c.b.path,
                "op": c.b.op,
                "was": {"name": c.a.path, **{f.name: f.was for f in c.fields}},
                "is": {"name": c.b.path, **{f.name: f.now for f in c.fields}},
            }
            for c in script.changed
        ]
        nodes = {
            "added": [node_entry(v) for v in script.added],
            "removed": [node_entry(v) for v in script.removed],
            "changed": changed,
        }
        initializers: dict[str, list[Entry]] = {"added": [], "removed": [], "changed": []}
        places: dict[ConstantChange, str] = {}
        for change in script.constants:
            key = "added" if change.a is None else "removed" if change.b is None else "changed"
            places[change] = f"{key}:{len(initializers[key])}"
            initializers[key].append(constant_entry(change))
        inputs, outputs = (self._ports(which) for which in ("inputs", "outputs"))
        for path, port, was, now in script.ends:
            entry = {"name": path + port, "was": {"source": was}, "is": {"source": now}}
            outputs["changed"].append(entry)
        pairs = [(x, y) for m in script.matches for x, y in m.pairs.items()]
        return Delta(
            *self._names,
            nodes,
            initializers,
            inputs,
            outputs,
            dict(self._meta()),
            tuple(self._hunks(places)),
            self._counts(len(pairs)),
            tuple(self._cosmetic(pairs)),
            tuple((x.path, y.path) for x, y in pairs),
            self._picture,
        )

    def _picture(self) -> dict[str, Any]:
        first, second = (all_flows(b.main, b.functions) for b in self._builders)
        return picture(self._script, (first, second), regions(self._script, self._known))

    def _counts(self, paired: int) -> dict[str, int]:
        script = self._script
        touched = {c.a for c in script.changed}
        touched.update(use[0] for c in script.constants for use in c.uses)
        totals = [sum(_size(f) for f in (b.main, *b.functions.values())) for b in self._builders]
        gone = sum(_size_of(v) for v in script.removed)
        return {"a": totals[0], "b": totals[1], "unchanged": totals[0] - gone - len(touched)}

    def _hunks(self, places: Mapping[ConstantChange, str]) -> Iterator[Hunk]:
        script = self._script
        removed = {v: i for i, v in enumerate(script.removed)}
        added = {v: i for i, v in enumerate(script.added)}
        changed = {c: i for i, c in enumerate(script.changed)}
        for region in regions(script, self._known):
            kind, title = name(region)
            yield Hunk(
                kind,
                title,
                tuple(removed[v] for v in region.removed),
                tuple(added[v] for v in region.added),
                tuple(changed[c] for c in region.changed),
                tuple(places[c] for c in region.constants),
                tuple(input_entry(item) for item in region.inputs),
                self._doers.of(region),
            )

    def _ports(self, which: str) -> dict[str, list[Entry]]:
        """Entries for the inputs or outputs of the models."""
        first, second = (getattr(signature(m), which) for m in self._models)
        pairs = pair_ports([p.name for p in first], [p.name for p in second])
        taken = set(pairs.values())
        found: dict[str, list[Entry]] = {
            "added": [port_entry(p) for i, p in enumerate(second) if i not in taken],
            "removed": [port_entry(p) for i, p in enumerate(first) if i not in pairs],
            "changed": [],
        }
        for i, j in sorted(pairs.items()):
            was, now = port_entry(first[i]), port_entry(second[j])
            for key, option in (("name", "names"), ("shape", "shapes")):
                if option in self._ignore:
                    was[key] = now[key]
            if was != now:
                found["changed"].append({"name": now["name"], "was": was, "is": now})
        order = [pairs[i] for i in sorted(pairs)]
        if order != sorted(order) and "order" not in self._ignore:
            lists = [[p.name for p in ports] for ports in (first, second)]
            entry = {"name": "order", "was": {"order": lists[0]}, "is": {"order": lists[1]}}
            found["changed"].append(entry)
        return found

    def _meta(self) -> Iterator[tuple[str, Entry]]:
        first, second = self._models
        if "opset" not in self._ignore:
            for domain in sorted({*first.opset_imports, *second.opset_imports}):
                versions = [m.opset_imports.get(domain) for m in self._models]
                if versions[0] != versions[1] and any(_uses(m, domain) for m in self._models):
                    yield f"opset {domain or 'ai.onnx'}", _was_is(*versions)
        functions = [list(b.functions) for b in self._builders]
        for key in sorted({*functions[0]} ^ {*functions[1]}):
            yield f"function {key}", _was_is(*("defined" if key in f else None for f in functions))
        if "metadata" in self._ignore:
            return
        for key in ("ir_version", "model_version", "domain"):
            values = [getattr(m, key) or None for m in self._models]
            if values[0] != values[1]:
                yield key, _was_is(*values)
        for key in sorted({*first.metadata_props, *second.metadata_props}):
            values = [m.metadata_props.get(key) for m in self._models]
            if values[0] != values[1]:
                yield f"metadata {key}", _was_is(*values)

    def _cosmetic(self, pairs: Sequence[tuple[Vertex, Vertex]]) -> Iterator[str]:
        renamed = sum(x.name != y.name for x, y in pairs)
        if renamed:
            yield f"{renamed} nodes have another name"
        for key in ("producer_name", "producer_version", "doc_string"):
            was, now = (getattr(m, key) or "" for m in self._models)
            if was != now:
                yield f"{key.replace('_', ' ')}: {was[:60]!r} -> {now[:60]!r}"


def _was_is(was: Any, now: Any) -> Entry:
    return {"was": was, "is": now}


def _uses(model: ir.Model, domain: str) -> bool:
    graphs = [model.graph, *(f.graph for f in model.functions.values())]
    return not domain or any(n.domain == domain for graph in graphs for n in graph.all_nodes())


def _size(flow: Flow) -> int:
    return sum(_size_of(v) for v in flow.nodes)


def _size_of(vertex: Vertex) -> int:
    return 1 + sum(_size(body) for body in vertex.bodies.values())
