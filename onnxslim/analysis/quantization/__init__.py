"""Quantization: what is quantized and how (plan), what values occur (observations), scales."""
