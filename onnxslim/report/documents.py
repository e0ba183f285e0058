"""The JSON documents of the command line, as pydantic models.

Fields may be added, never renamed or removed: other people's scripts read them.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA = 1
"""Version of all documents."""


class Document(BaseModel):
    """Base: unknown fields are an error, so that a typo in our own code is found."""

    model_config = ConfigDict(extra="forbid", frozen=False)


class Summary(Document):
    """``S`` of the contract: what a model is made of.

    Attributes:
        nodes: Nodes of all graphs and subgraphs, ``Constant`` left out.
        parameters: Elements of all weights, shared ones counted once.
        macs: Multiply-accumulate operations for one sample; None when shapes stay unknown.
        bytes: Size of the file and its external data.
        opset: Version of the standard operator set.
        operators: Count per operator type, by name.
    """

    nodes: int
    parameters: int
    macs: int | None
    bytes: int
    opset: int
    operators: dict[str, int]


class PassEntry(Document):
    """What one pass did."""

    name: str
    options: dict[str, Any]
    rewrites: int
    seconds: float
    skipped: dict[str, int]


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
