"""The plan of a quantization: which tensors and layers become integers, and why others do not.

A plan is plain data: names and reasons. It can be printed, compared and tested without a runtime.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from onnxslim.analysis.quantization.targets import Target


@dataclass(frozen=True)
class Edge:
    """A tensor that is quantized: a QuantizeLinear and a DequantizeLinear are put on it.

    Attributes:
        tensor: Its name.
        like: The tensor whose scale and zero point it has (itself, mostly).
        low: The quantized range starts here or above; None when unbounded.
        high: The quantized range ends here or below; None when unbounded.
        fixed: The range is ``[low, high]`` whatever was observed.
        readers: Keys of the nodes that read the dequantized tensor; None is all of them, and the
            graph output too.
        axis_size: Elements along axis 1, for the guard; None when unknown.
    """

    tensor: str
    like: str
    low: float | None = None
    high: float | None = None
    fixed: bool = False
    readers: tuple[str, ...] | None = None
    axis_size: int | None = None


@dataclass(frozen=True)
class Layer:
    """A node with weights, and what becomes of it.

    Attributes:
        key: Name of its first output, which is unique in a graph.
        name: The name that a user knows it by.
        op: Its operator.
        quantized: Whether it runs on integers.
        reason: Why not; empty when it does.
        data: Name of its data input.
        weight: Name of its weight.
        axis: Axis of the weight that has a scale per index; None is one scale.
        bias: Name of its constant bias; empty when there is none.
        bias_key: Key of the Add that adds it; empty when the layer does itself.
        integer_bias: The bias becomes int32.
        result: Name of the tensor after its bias and the activation that it absorbs.
        guard: It stays float between integers, and the runtime has to be kept from quantizing it:
            name of the quantized tensor that it, or a chain of movements before it, reads.
        guarded: Key of the node that reads that tensor.
    """

    key: str
    name: str
    op: str
    quantized: bool
    reason: str = ""
    data: str = ""
    weight: str = ""
    axis: int | None = None
    bias: str = ""
    bias_key: str = ""
    integer_bias: bool = False
    result: str = ""
    guard: str = ""
    guarded: str = ""


@dataclass(frozen=True)
class Plan:
    """What is quantized.

    Attributes:
        target: For what.
        layers: All layers with weights, in graph order.
        edges: By tensor name, in graph order.
        carriers: Other nodes that run on integers: key to operator.
    """

    target: Target
    layers: tuple[Layer, ...] = ()
    edges: Mapping[str, Edge] = field(default_factory=dict)
    carriers: Mapping[str, str] = field(default_factory=dict)

    @property
    def quantized(self) -> tuple[Layer, ...]:
        """The layers that run on integers."""
        return tuple(layer for layer in self.layers if layer.quantized)

    @property
    def observed(self) -> tuple[str, ...]:
        """Tensors whose values have to be seen, in order, each once."""
        roots = (edge.like for edge in self.edges.values())
        fixed = {edge.tensor for edge in self.edges.values() if edge.fixed}
        return tuple(name for name in dict.fromkeys(roots) if name not in fixed)

    def lines(self) -> Iterator[str]:
        """The plan as text, a line per layer and tensor, for people and for ``diff``."""
        for layer in self.layers:
            what = "int8" if layer.quantized else f"float: {layer.reason}"
            guard = " (guarded)" if layer.guard else ""
            yield f"layer {layer.name} {layer.op}: {what}{guard}"
        for key, op in self.carriers.items():
            yield f"carrier {key} {op}: int8"
        for edge in self.edges.values():
            yield f"tensor {edge.tensor}: {self.target.activation}{_edge_text(edge)}"


def _edge_text(edge: Edge) -> str:
    parts = []
    if edge.like != edge.tensor:
        parts.append(f"scale of {edge.like}")
    if edge.low is not None or edge.high is not None:
        low = "-inf" if edge.low is None else f"{edge.low:g}"
        high = "inf" if edge.high is None else f"{edge.high:g}"
        parts.append(f"{'exactly' if edge.fixed else 'within'} [{low}, {high}]")
    if edge.readers is not None:
        parts.append(f"for {', '.join(edge.readers)}")
    return ", " + ", ".join(parts) if parts else ""
