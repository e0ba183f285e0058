"""What a target wants of a quantized model, as data.

A plug-in adds a target by the entry-point group ``onnxslim.targets`` (``onnxslim.pipeline.targets``
looks them up): an instance of :class:`Target`.

Source: measurements on ONNX Runtime 1.31.1, CPU (``docs/quantization.md``); for TensorRT the
documentation of explicit quantization in TensorRT 10.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


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
        least_macs: Multiply-accumulates per sample below which a convolution stays float.
        least_weights: Elements of a matrix below which a MatMul or Gemm stays float.
        depthwise_taps: Largest kernel area of a depthwise convolution in integers.
        group_channels: Fewest input channels per group of a grouped convolution in integers.
        guard: Keep the runtime from quantizing excluded layers by itself.
    """

    name: str
    summary: str
    activation: Literal["uint8", "int8"] = "uint8"
    symmetric: bool = False
    weight_limit: int = 127
    integer_bias: bool = True
    placement: Literal["between", "inputs"] = "between"
    operators: frozenset[str] = frozenset()
    least_macs: int = 100_000
    least_weights: int = 10_000
    depthwise_taps: int = 9
    group_channels: int = 16
    guard: bool = True

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
        least_macs=0,
        least_weights=0,
        depthwise_taps=1 << 30,
        group_channels=0,
        guard=False,
    ),
)
