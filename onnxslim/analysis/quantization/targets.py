"""What a target wants of a quantized model, as data.

A plug-in adds a target by the entry-point group ``onnxslim.targets`` (``onnxslim.pipeline.targets``
looks them up): an instance of :class:`Target`.

Source: measurements on ONNX Runtime 1.31.1, CPU (``docs/quantization.md``); for TensorRT the
documentation of explicit quantization in TensorRT 10.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Costs:
    """What operations take on a processor, in ns, for the choice of what pays.

    Fitted by hand to the times that ONNX Runtime's profiler gives for single layers of fifty sizes
    (one thread); only their proportions matter.

    Attributes:
        float_mac: A multiply-accumulate on floats, channels rounded up to blocks of 16.
        float_element: An element of a float result.
        integer_mac: A multiply-accumulate on integers.
        integer_element: An element of an integer result.
        patch: Gathering one tap of one position of one group for a matrix product; twice as much
            below 4 channels.
        position: A position of an integer convolution, per group.
        depthwise: An element of a depthwise convolution, float and integer.
        tap: One tap of it, float and integer.
        float_weight: Reading a weight of a matrix product.
        integer_weight: The same on integers.
        node: A node.
        conversion: Quantizing or dequantizing an element beside an operator that is float anyway
            (the blocked layout of a float convolution would have to be left there as well).
        layout: What it takes more between two layers.
        pooled: Quantizing an element behind a float MaxPool: ONNX Runtime moves the MaxPool behind
            the QuantizeLinear, where it runs on integers in a layout without a fast kernel.
    """

    float_mac: float = 0.0155
    float_element: float = 0.12
    integer_mac: float = 0.004
    integer_element: float = 0.067
    patch: float = 4.0
    position: float = 13.0
    depthwise: tuple[float, float] = (0.2, 0.25)
    tap: tuple[float, float] = (0.027, 0.042)
    float_weight: float = 0.11
    integer_weight: float = 0.056
    node: float = 2000.0
    conversion: float = 0.2
    layout: float = 0.65
    pooled: float = 90.0

    def dearer(self, factor: float) -> Costs:
        """The same with conversions that cost more."""
        return replace(
            self,
            node=self.node * factor,
            conversion=self.conversion * factor,
            layout=self.layout * factor,
        )


@dataclass(frozen=True)
class Target:
    """How one kind of machine wants quantized models.

    Attributes:
        name: As given to ``--target``.
        summary: One line.
        activation: Type of quantized activations.
        symmetric: Activations have the zero point 0 (of a signed type).
        weight_limit: Largest magnitude of a quantized weight; 127, or 63 for 7 bits.
        integer_bias: Biases become int32 with scale ``s_x * s_w``; else they stay float.
        placement: ``between``: around every operator that runs on integers, with absorbed
            activations; ``inputs``: only on the inputs of layers with weights.
        operators: Operators that carry integers from layer to layer.
        costs: What operations take; None quantizes whatever can be.
        guard: Keep the runtime from quantizing excluded layers by itself.
        vectors: Products of a matrix with a single vector, or with a single column, are quantized.
        shortcuts: An Add behind a quantized Conv gets its other input quantized as well, so that
            Conv, Add and Relu become one kernel.
    """

    name: str
    summary: str
    activation: Literal["uint8", "int8"] = "uint8"
    symmetric: bool = False
    weight_limit: int = 127
    integer_bias: bool = True
    placement: Literal["between", "inputs"] = "between"
    operators: frozenset[str] = frozenset()
    costs: Costs | None = Costs()
    guard: bool = True
    vectors: bool = True
    shortcuts: bool = False

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest quantized activation."""
        if self.activation == "uint8":
            return 0, 255
        return (-127, 127) if self.symmetric else (-128, 127)


_CARRIERS = frozenset(
    (
        "Add",
        "AveragePool",
        "Clip",
        "Concat",
        "DepthToSpace",
        "Flatten",
        "GlobalAveragePool",
        "LeakyRelu",
        "MaxPool",
        "Mul",
        "Relu",
        "Reshape",
        "Resize",
        "Sigmoid",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    )
)
"""Operators that ONNX Runtime's CPU provider runs on integers between quantized layers."""

SHIPPED: tuple[Target, ...] = (
    Target(
        "cpu",
        "x64 with VNNI or AMX: 8-bit unsigned activations, 8-bit signed weights",
        operators=_CARRIERS,
    ),
    Target(
        "cpu-avx2",
        "x64 without VNNI: the same with 7-bit weights, whose products do not saturate",
        weight_limit=63,
        costs=Costs(integer_mac=0.01),
        operators=_CARRIERS,
    ),
    Target(
        "cpu-arm",
        "ARM64: signed activations and weights",
        activation="int8",
        operators=_CARRIERS,
    ),
    Target(
        "tensorrt",
        "TensorRT: symmetric, on the inputs of weighted layers only, float biases",
        activation="int8",
        symmetric=True,
        integer_bias=False,
        placement="inputs",
        costs=None,
        guard=False,
        vectors=False,
        shortcuts=True,
    ),
)
