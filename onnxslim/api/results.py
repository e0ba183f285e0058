"""What the functions of the API give back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxslim.report.documents import OptimizeDocument
    from onnxslim.report.entries import PassEntry, Summary
    from onnxslim.verify.verification import Verification


@dataclass
class Result:
    """A rewritten model with everything that is known of the rewriting.

    Attributes:
        model: The new model.
        before: Counts of the model given.
        after: Counts of the new model.
        passes: What each pass did and refused.
        verification: The comparison with the model given, in ONNX Runtime.
        warnings: What a person should read, one line each.
        edits: Asked-for changes of the interface, one line each.
        input: Path of the model given, if it was one.
        output: Path of the file written, if any.
        command: Name of the command.
    """

    model: ir.Model
    before: Summary
    after: Summary
    passes: list[PassEntry]
    verification: Verification
    warnings: list[str] = field(default_factory=list)
    edits: list[str] = field(default_factory=list)
    input: str | None = None
    output: str | None = None
    command: str = "optimize"

    def document(self) -> OptimizeDocument:
        """The JSON document of the command."""
        from onnxslim.report.documents import OptimizeDocument

        return OptimizeDocument(
            schema=1,
            command=self.command,
            input=self.input,
            output=self.output,
            before=self.before,
            after=self.after,
            passes=self.passes,
            verification=self.verification.to_json(),
            warnings=self.warnings,
            edits=self.edits,
        )

    def to_json(self) -> dict[str, Any]:
        """The document as plain data."""
        return self.document().model_dump(by_alias=True)
