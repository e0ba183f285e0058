"""Quantization: what is quantized and how (plan), what values occur (observations), with what scales."""
