"""What a pass works with: the worklist, the editing verbs, refusals, provenance and analyses.

Every edit goes through here, so that three things hold without any pass thinking of them:

* the worklist re-queues exactly the neighbours of what changed (linear in the nodes);
* each new node remembers the nodes of the loaded model that it stands for;
* a value name of the loaded model means the same tensor or is gone; graph outputs keep theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.shapes import infer_node
from onnxslim.graph import edit
from onnxslim.graph.provenance import History, joined
from onnxslim.pipeline.names import Names
from onnxslim.pipeline.worklist import Queue, few_readers

if TYPE_CHECKING:
    from onnxslim.runtime.worker import Worker

T = TypeVar("T")


class PassContext:
    """State of one run over one model; passes themselves stay immutable values.

    Args:
        model: The model that will be edited.
        worker: Child process for native code (constant folding); started on first use if None.
        calibration: Sample data for passes that need it, else None.
        reference: The untouched model, for passes that repair towards it, else None.
    """

    def __init__(
        self,
        model: ir.Model,
        *,
        worker: Worker | None = None,
        calibration: Any = None,
        reference: Any = None,
    ) -> None:
        self.model = model
        self.calibration = calibration
        self.reference = reference
        self.memory: dict[str, Any] = {}  # what runs on copies of one model may share
        self.spread: Any = None  # measures cuts elsewhere (pipeline.sensitivity.Spread), or here
        self.warnings: list[str] = []
        self.growth: list[str] = []
        self.wanted_opset = 0
        self.skipped: list[tuple[str, str]] = []
        self.history = History(model)
        self.begin(-1)
        self.names = Names(model)
        self._worker = worker
        self._seen_skips: set[tuple[int, str]] = set()
        self._index: dict[str, dict[ir.Node, None]] = {}
        self._sequence: dict[ir.Node, int] = {}
        self._changed: dict[ir.Node, int] = {}
        self._revision = 0
        self._queues: list[Queue] = []
        self._analyses: dict[Callable[[ir.Model], Any], tuple[int, Any]] = {}
        self.reindex()

    # ---------------------------------------------------------------- facts

    @property
    def opset(self) -> int:
        """Version of the standard operator set that the model imports."""
        return self.model.graph.opset_imports.get("", 1)

    @property
    def revision(self) -> int:
        """Grows with every edit."""
        return self._revision

    @property
    def worker(self) -> Worker:
        """The child process that runs native code."""
        if self._worker is None:
            from onnxslim.runtime.worker import Worker

            self._worker = Worker()
        return self._worker

    def analysis(self, build: Callable[[ir.Model], T]) -> T:
        """Result of ``build(model)``, computed again only after an edit."""
        found = self._analyses.get(build)
        if found is None or found[0] != self._revision:
            found = (self._revision, build(self.model))
            self._analyses[build] = found
        result: T = found[1]
        return result

    # ---------------------------------------------------------------- worklist

    def begin(self, since: int, name: str = "") -> None:
        """Start a run of a pass; it need only look at what changed after this revision."""
        self._since, self.history.name = since, name
        self.narrowed = False

    @property
    def since(self) -> int:
        """Revision after which changes are news to the running pass; -1 in a whole round."""
        self.narrowed = self.narrowed or self._since >= 0  # it has not looked at everything
        return self._since

    def reindex(self) -> None:
        """Walk the whole model again: after edits that did not go through this object."""
        known = self._sequence.copy()
        self._index.clear()
        self._sequence.clear()
        for graph in edit.all_graphs(self.model):
            for node in graph:
                self._add_to_index(node)
        self.history.note(node for node in self._sequence if node not in known)
        self._revision += 1

    def _add_to_index(self, node: ir.Node) -> None:
        self._index.setdefault(edit.op_id(node), {})[node] = None
        self._sequence.setdefault(node, len(self._sequence))

    def nodes(self, *ops: str) -> Iterator[ir.Node]:
        """Nodes of these operators (all when none is named), each at least once, in graph order.

        A worklist: nodes whose neighbourhood is edited meanwhile come (again) later. In the second
        and later rounds of a repeated recipe only nodes come whose neighbourhood changed since the
        pass ran last (``self.since``); the last round is always a whole one.

        Args:
            ops: Operator names, ``Conv`` or ``com.microsoft:Gelu``.
        """
        found = [node for op in ops or self._index for node in self._index.get(op, ())]
        if (since := self.since) >= 0:
            found = [node for node in found if self._changed.get(node, -1) > since]
        queue = Queue(frozenset(ops) or None, self._sequence, found)
        self._queues.append(queue)
        try:
            while (waiting := queue.pop()) is not None:
                yield waiting
        finally:
            self._queues.remove(queue)

    def touch(self, *nodes: ir.Node | None) -> None:
        """Mark nodes as changed, so that worklists visit them again."""
        self._revision += 1
        for node in nodes:
            if node is None or node not in self._sequence:
                continue
            self._changed[node] = self._revision
            for queue in self._queues:
                queue.push(node)

    def _touch_around(self, node: ir.Node) -> None:
        """Touch a node, what feeds it and what reads it."""
        self.touch(node, *node.predecessors(), *node.successors())

    # ---------------------------------------------------------------- refusals

    def skip(self, node: ir.Node, reason: str) -> bool:
        """Record that a rewrite matched but was refused; returns False for ``return ctx.skip(..)``.

        Counted once per node and reason, however often the node is visited.
        """
        key = (self._sequence.get(node, -1), reason)
        if key not in self._seen_skips:
            self._seen_skips.add(key)
            self.skipped.append((node.name or edit.op_id(node), reason))
        return False

    def wants_opset(self, node: ir.Node, version: int) -> bool:
        """Refuse a fusion because its operator is newer than the model's opset; returns False.

        The pass ``convert-opset`` (recipe ``aggressive``) raises the opset to what was wanted.
        """
        self.wanted_opset = max(self.wanted_opset, version)
        return self.skip(node, f"the fused operator needs opset {version}")

    # ---------------------------------------------------------------- edits

    def constant(
        self, graph: ir.Graph, stem: str | None, array: np.ndarray | ir.TensorProtocol
    ) -> ir.Value:
        """A new initializer of ``graph`` under a fresh name that starts with ``stem``."""
        name = self.names.value(stem or "const")
        if isinstance(array, (np.ndarray, np.generic)):  # NumPy makes scalars of rank-0 results
            tensor: ir.TensorProtocol = ir.Tensor(np.asarray(array, order="C"), name=name)
        else:
            tensor = _named(array, name)
        value = ir.Value(
            name=name,
            type=ir.TensorType(tensor.dtype),
            shape=ir.Shape(tensor.shape.numpy(), frozen=True),
            const_value=tensor,
        )
        graph.register_initializer(value)
        self._revision += 1
        return value

    def replace(
        self,
        old: ir.Node | Sequence[ir.Node],
        new: ir.Node | Sequence[ir.Node],
        outputs: Sequence[tuple[ir.Value, ir.Value]] | None = None,
    ) -> None:
        """Put ``new`` nodes where the last of ``old`` stands; drop the old ones nobody reads.

        Args:
            old: The nodes that the new ones stand for, in graph order; the last is the anchor.
            new: Unattached nodes in topological order.
            outputs: ``(old value, new value)`` pairs; by default the anchor's outputs and the last
                new node's, position by position. A new value takes over name, type and readers.
        """
        old = [old] if isinstance(old, ir.Node) else list(old)
        new = [new] if isinstance(new, ir.Node) else list(new)
        anchor, graph = old[-1], old[-1].graph
        assert graph is not None, "the anchor was removed before"
        if outputs is None:
            outputs = list(zip(anchor.outputs, new[-1].outputs, strict=False))
        self._describe(old, new)
        self._name_outputs(anchor, new, {id(value) for _, value in outputs})
        graph.insert_before(anchor, new)
        for node in new:
            self._add_to_index(node)
            for inner in edit.subgraphs(node):
                self._index_graph(inner)
        for before, after in outputs:
            self._take_over(before, after)
        for node in new:
            if any(v.shape is None for v in node.outputs):
                infer_node(node)
        kept = _inner_graphs(new)
        self._drop_dead(old, kept)
        if any(n.graph is not None and n.name == new[-1].name for n in old):
            new[-1].name = self.names.node(new[-1].name, new[-1].op_type)
        for node in new:
            self._touch_around(node)

    def _name_outputs(self, anchor: ir.Node, new: Sequence[ir.Node], taken: set[int]) -> None:
        """Fresh names for outputs that have none; those that take over get theirs later."""
        for node in new:
            for value in node.outputs:
                if value.name is None:
                    stem = anchor.outputs[0].name or node.op_type
                    value.name = "" if id(value) in taken else self.names.value(stem)

    def _index_graph(self, graph: ir.Graph) -> None:
        for node in graph.all_nodes():
            if node not in self._sequence:
                self._add_to_index(node)

    def _describe(self, old: Sequence[ir.Node], new: Sequence[ir.Node]) -> None:
        """Give new nodes a name, the provenance and the documentation of the old ones."""
        self.history.note(old)
        sources = joined([n.meta.get(edit.SOURCE, ()) for n in old])
        main = new[-1]
        keeper = next((n for n in old if edit.op_id(n) == edit.op_id(main)), old[-1])
        for node in new:
            node.meta[edit.SOURCE] = sources
            if node.name is None:
                stem = keeper.name if node is main or not keeper.name else ""
                node.name = stem or self.names.node(keeper.name, node.op_type)
        for node in (keeper, *old):
            for key, text in node.metadata_props.items():
                main.metadata_props.setdefault(key, text)
            main.doc_string = main.doc_string or node.doc_string

    def _take_over(self, before: ir.Value, after: ir.Value) -> None:
        """Let ``after`` (of a new node) become ``before``: name, type, readers, outputs."""
        readers = [use.node for use in before.uses()]
        name = before.name
        after.type = before.type if before.type is not None else after.type
        after.shape = before.shape if before.shape is not None else after.shape
        for key, item in before.meta.items():
            after.meta.setdefault(key, item)
        for key, text in before.metadata_props.items():
            after.metadata_props.setdefault(key, text)
        after.doc_string = after.doc_string or before.doc_string
        before.replace_all_uses_with(after, replace_graph_outputs=True)
        before.name = self.names.value(name or "value")
        after.name = name
        self.touch(*readers)

    def bypass(self, node: ir.Node, value: ir.Value, output: int = 0) -> bool:
        """Let every reader of ``node.outputs[output]`` read ``value``; drop the node if unread.

        Returns False, changing nothing, when the output is a graph output and ``value`` cannot
        carry its name (a graph input, an initializer, another output, or an outer scope's value).
        """
        out = node.outputs[output]
        if out.is_graph_output() and not self._can_rename(value, out):
            return False
        readers = [use.node for use in out.uses()]
        if out.is_graph_output():
            name, out_name = value.name, out.name
            out.replace_all_uses_with(value, replace_graph_outputs=True)
            out.name = self.names.value(name or "value")
            value.name = out_name
        else:
            out.replace_all_uses_with(value)
        producer = value.producer()
        if producer is not None:
            self._add_sources(producer, node)
        self._drop_dead([node])
        self.touch(producer, *readers)
        return True

    @staticmethod
    def _can_rename(value: ir.Value, out: ir.Value) -> bool:
        producer, owner = value.producer(), out.producer()
        if producer is None or owner is None or producer.graph is not owner.graph:
            return False
        return not value.is_graph_output()

    @staticmethod
    def _add_sources(node: ir.Node, other: ir.Node) -> None:
        node.meta[edit.SOURCE] = joined([n.meta.get(edit.SOURCE, ()) for n in (node, other)])

    def set_input(self, node: ir.Node, index: int, value: ir.Value | None) -> None:
        """Let one input of a node read another value; None leaves it out."""
        self.history.note([node])
        old = node.inputs[index]
        before = old.producer() if old is not None else None
        node.replace_input_with(index, value)
        if value is None:
            given = [i for i, kept in enumerate(node.inputs) if kept is not None]
            node.resize_inputs(given[-1] + 1 if given else 0)
        self.touch(before)
        self._touch_around(node)

    def set_attributes(self, node: ir.Node, attributes: Mapping[str, Any]) -> None:
        """Set attributes of a node in place; None removes one."""
        self.history.note([node])
        for name, item in attributes.items():
            if item is None:
                node.attributes.pop(name, None)
            else:
                node.attributes[name] = edit.attribute(name, item)
        self._touch_around(node)

    def remove(self, node: ir.Node) -> None:
        """Remove a node that nobody reads."""
        self._drop_dead([node])

    def _drop_dead(self, nodes: Sequence[ir.Node], kept: frozenset[ir.Graph] = frozenset()) -> None:
        """Remove those of ``nodes`` whose outputs nobody reads, last first.

        Args:
            nodes: Candidates, in graph order.
            kept: Subgraphs that new nodes have taken over: they stay as they are.
        """
        for node in reversed(nodes):
            graph = node.graph
            if graph is None or any(v.uses() or v.is_graph_output() for v in node.outputs):
                continue
            above = node.predecessors()
            self.history.note([node])
            self._forget(node, kept)
            for index in range(len(node.inputs)):
                node.replace_input_with(index, None)
            graph.remove(node)
            self.touch(*above, *few_readers(v for p in above for v in p.outputs))

    def _forget(self, node: ir.Node, kept: frozenset[ir.Graph]) -> None:
        """Take a node and everything inside it out of the index."""
        for graph in edit.subgraphs(node):
            if graph in kept:
                continue
            for inner in list(graph.all_nodes()):
                self._forget_one(inner)
                for i in range(len(inner.inputs)):
                    inner.replace_input_with(i, None)
        self._forget_one(node)

    def _forget_one(self, node: ir.Node) -> None:
        self._index.get(edit.op_id(node), {}).pop(node, None)
        self._changed.pop(node, None)
        for queue in self._queues:
            queue.discard(node)


def _inner_graphs(nodes: Sequence[ir.Node]) -> frozenset[ir.Graph]:
    return frozenset(graph for node in nodes for graph in edit.subgraphs(node))


def _named(tensor: ir.TensorProtocol, name: str) -> ir.TensorProtocol:
    """The tensor under another name, leaving the given object as it is when it is shared."""
    if tensor.name == name:
        return tensor
    if isinstance(tensor, ir.Tensor):
        return ir.Tensor(tensor.raw, dtype=tensor.dtype, shape=tensor.shape, name=name)
    return ir.LazyTensor(
        lambda: tensor, dtype=tensor.dtype, shape=ir.Shape(tensor.shape.numpy()), name=name
    )
