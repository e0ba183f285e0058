"""Numeric verification of a rewrite: is the rewritten model the same function as the original?

Both run in the worker, the runtime's optimizer off, on feeds that the reference accepts. Each
float output has a limit that comes from the reference's own noise (``noise``). Outputs that say
nothing (constant) or on which no limit means anything (ill-conditioned) are judged on the last
telling float tensors before them (``judge``). Source of the rules: CONTRACT.md, "Verification".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from onnxslim.errors import WorkerError
from onnxslim.runtime.dims import Description
from onnxslim.runtime.specs import Feed
from onnxslim.verify.judge import Judge
from onnxslim.verify.preparation import Preparation
from onnxslim.verify.reference import Reference
from onnxslim.verify.sessions import Runner, SessionLike, Source, WorkerLike, open_part
from onnxslim.verify.verification import OutputResult, Verification, failures

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["OutputResult", "Verification", "Verifier", "verify"]


class Verifier:
    """Verifies candidates against one reference, which is prepared once, in the background.

    Args:
        reference: File or bytes of the original.
        model: The same, in memory; read before the constructor returns, then free to be edited.
        worker: Runs models.
        feeds: Sample data to use instead of random feeds (three are plenty).
        description: What the user said of the inputs.
        seed: Of all random draws.
        provider: Execution provider of both.
        custom_ops: Libraries with operators of the user.

    Raises:
        UsageError: The description contradicts the model.
    """

    def __init__(
        self,
        reference: Source,
        model: ir.Model,
        worker: WorkerLike,
        *,
        feeds: Iterable[Feed] | None = None,
        description: Description | None = None,
        seed: int = 0,
        provider: str = "cpu",
        custom_ops: Iterable[str] = (),
    ) -> None:
        self._provider = provider
        self._preparation = Preparation(
            Runner(worker, provider, tuple(custom_ops)),
            reference,
            model,
            feeds=feeds,
            description=description,
            seed=seed,
        )

    def close(self) -> None:
        """Stops preparing, and frees the session."""
        self._preparation.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def reference(self) -> Reference:
        """The prepared reference; waits for it.

        Raises:
            UnsupportedModelError: The runtime refuses the reference.
            ProviderError: The provider is missing.
        """
        return self._preparation.result()

    def verify(self, candidate: Source, model: ir.Model | None = None) -> Verification:
        """Compares one candidate.

        Args:
            candidate: File or bytes of the rewritten model.
            model: The same in memory, if at hand; else the file is read when names are needed.

        Raises:
            UnsupportedModelError: The runtime refuses the reference.
        """
        reference = self.reference
        if reference.level == "none":
            return self._answer(reference, None, failure=f"nothing to compare: {reference.error}")
        problem, source = "", candidate
        try:
            session, source, problem = self._open(reference, candidate)
        except WorkerError as error:
            return self._broken(reference, "the rewritten model does not load", error)
        if session is None:
            return self._answer(reference, False, failure=f"the rewritten model: {problem}")
        different = _interface(reference, session)
        if different:
            session.close()
            return self._answer(reference, False, failure=different)
        judge = Judge(reference, session, source, candidate, model)
        try:
            outputs = judge.run()
        except WorkerError as error:
            return self._broken(reference, "the rewritten model does not run", error)
        finally:
            judge.close()
        return self._answer(reference, not failures(outputs), outputs, failures(outputs))

    def _open(
        self, reference: Reference, candidate: Source
    ) -> tuple[SessionLike | None, Source, str]:
        if reference.level != "partial":
            return reference.runner.session(candidate, like=candidate), candidate, ""
        part = open_part(reference.runner, candidate, "", reference.missing_types)
        return part.session, part.source, part.error

    def _broken(self, reference: Reference, what: str, error: WorkerError) -> Verification:
        text = " ".join(str(error).split())
        return self._answer(reference, False, failure=f"{what}: {text}")

    def _answer(
        self,
        reference: Reference,
        ok: bool | None,
        outputs: Mapping[str, OutputResult] | None = None,
        failure: str = "",
    ) -> Verification:
        return Verification(
            level=reference.level,
            ok=ok,
            provider=self._provider,
            samples=len(reference.feeds),
            outputs=outputs or {},
            unvaried=reference.unvaried,
            not_compared=reference.not_compared,
            unknown_operators=reference.unknown,
            failure=failure,
        )


def _interface(reference: Reference, session: SessionLike) -> str:
    """What differs in the names of inputs and outputs, in words; empty when nothing does."""
    own = reference.session
    assert own is not None
    pairs = [
        ("inputs", own.inputs, session.inputs),
        ("overridable initializers", own.overridable, session.overridable),
    ]
    if reference.level == "full":
        pairs.append(("outputs", own.outputs, session.outputs))
    for what, expected, found in pairs:
        names, others = ([spec.name for spec in specs] for specs in (expected, found))
        if what == "overridable initializers":
            names, others = sorted(names), sorted(others)
        if names != others:
            return f"the {what} are {_listed(others)}; expected {_listed(names)}"
    return ""


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:8])
    return (shown + (", ..." if len(names) > 8 else "")) or "none"


def verify(
    reference: Source,
    candidate: Source,
    *,
    worker: WorkerLike,
    model: ir.Model,
    candidate_model: ir.Model | None = None,
    feeds: Iterable[Feed] | None = None,
    description: Description | None = None,
    seed: int = 0,
    provider: str = "cpu",
) -> Verification:
    """Verifies one candidate; see :class:`Verifier`, which prepares while passes run."""
    with Verifier(
        reference,
        model,
        worker,
        feeds=feeds,
        description=description,
        seed=seed,
        provider=provider,
    ) as verifier:
        return verifier.verify(candidate, candidate_model)
