"""The JSON documents of the command line, as pydantic models.

Fields may be added, never renamed or removed: other people's scripts read them.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from onnxslim.report.entries import PassEntry, Summary

__all__ = ["SCHEMA", "Document", "OptimizeDocument", "PassEntry", "Summary"]

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
