"""The JSON documents of the command line, as pydantic models.

Fields may be added, never renamed or removed: other people's scripts read them.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from onnxslim.report.entries import PassEntry, Summary

__all__ = ["SCHEMA", "Document", "OptimizeDocument", "PassEntry", "PruneDocument"]
__all__ += ["QuantizeDocument", "Summary"]

SCHEMA = 1
"""Version of all documents."""


class Document(BaseModel):
    """Base: unknown fields are an error, so that a typo in our own code is found."""

    model_config = ConfigDict(extra="forbid", frozen=False)


class OptimizeDocument(Document):
    """Result of ``optimize`` (and, extended, of the other commands that write a model)."""

    schema_: Literal[1] = Field(default=1, alias="schema", serialization_alias="schema")
    command: str
    input: str | None
    output: str | None
    before: Summary
    after: Summary
    passes: list[PassEntry]
    verification: dict[str, Any]
    warnings: list[str]
    edits: list[str] = []


class QuantizeDocument(OptimizeDocument):
    """Result of ``quantize``.

    ``speedup`` is the latency of the float model over that of the result; ``operators`` are those
    that ONNX Runtime really runs; ``runs`` of a layer is ``int8`` or ``float``.
    """

    mode: str
    target: str
    calibration: dict[str, Any]
    layers: list[dict[str, Any]]
    plan: list[str] = []
    sqnr_db: float | None = None
    cosine: float | None = None
    speedup: float | None = None
    operators: dict[str, int] = {}


class PruneDocument(OptimizeDocument):
    """Result of ``prune``.

    ``kept`` of a group holds, by initializer and axis, the indices that stay; for the inner axis of
    a grouped convolution one list per block. ``quality`` compares with the model as given.
    """

    budget: dict[str, Any]
    recovery: Literal["none", "data-free", "data"]
    groups: list[dict[str, Any]]
    frozen: list[dict[str, str]]
    quality: dict[str, Any] | None = None


class CompressDocument(OptimizeDocument):
    """Result of ``compress``: what ``prune`` and ``quantize`` say, where they were kept.

    ``stages`` says which were, and why not; ``validation`` compares with the model as given.
    """

    stages: list[dict[str, Any]]
    budget: dict[str, Any]
    recovery: Literal["none", "data-free", "data"]
    groups: list[dict[str, Any]]
    frozen: list[dict[str, str]]
    calibration: dict[str, Any]
    layers: list[dict[str, Any]]
    validation: dict[str, Any] | None = None
