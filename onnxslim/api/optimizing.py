"""Run a recipe over a model, verify the result against the original, write it.

The order of things: the child process starts importing ONNX Runtime while the model is read here;
it runs the original while the passes work here; the rewritten model is written beside the target
under a temporary name, compared from there, and only then renamed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.api.options import RunOptions
from onnxslim.api.results import Result
from onnxslim.api.sources import ModelLike, open_model, path_of
from onnxslim.errors import PassError, UnsupportedModelError, VerificationError
from onnxslim.graph.interface import InterfaceEdits, apply_edits, redeclare_outputs
from onnxslim.graph.opset import raise_opset
from onnxslim.graph.save import Staged, check_target, check_text_target, stage
from onnxslim.graph.signature import signature
from onnxslim.pipeline.base import Numerics, Pass
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.manager import Manager, without
from onnxslim.pipeline.recipes import Recipe, format_recipe, get_recipe
from onnxslim.pipeline.registry import get_pass
from onnxslim.pipeline.spec import format_pass, parse_pass
from onnxslim.report.entries import PassEntry
from onnxslim.report.summary import summarize
from onnxslim.runtime.worker import Worker
from onnxslim.verify.structure import verify_structure
from onnxslim.verify.verification import NOT_VERIFIED, Verification

if TYPE_CHECKING:
    from onnxslim.runtime.dims import Description
    from onnxslim.runtime.specs import Feed, InputSpec
    from onnxslim.verify.numerics import Verifier

FEEDS = 3
"""Feeds that a verification takes from ``--data``."""


def optimize(
    model: ModelLike,
    recipe: str | os.PathLike[str] | Recipe = "default",
    *,
    passes: Sequence[str | Pass] = (),
    skip: Sequence[str] = (),
    edits: InterfaceEdits | None = None,
    output: str | os.PathLike[str] | None = None,
    options: RunOptions | None = None,
    verify: bool = True,
    force: bool = False,
    save_recipe: str | os.PathLike[str] | None = None,
    allow_external_dir: str | None = None,
    on_step: Callable[[str], None] | None = None,
    worker: Worker | None = None,
) -> Result:
    """Make a model smaller without changing what it computes.

    Args:
        model: A path, an ``onnx_ir.Model`` or an ``onnx.ModelProto``; never changed.
        recipe: Name of a recipe, a ``.toml`` file, or a :class:`Recipe`.
        passes: Passes to run after the recipe, as values or text (``fold-constants{...}``).
        skip: Names of passes to leave out.
        edits: Asked-for changes of the interface, made and checked before the recipe.
        output: File to write; None gives only the model.
        options: How the models are run for the verification.
        verify: Compare the result with the original in ONNX Runtime before anything is written.
        force: Replace ``output`` when it exists.
        save_recipe: File to write the resolved recipe to.
        allow_external_dir: Another folder that external weights may be read from.
        on_step: Called with the name of what is being done.
        worker: The child process for native code, left open; by default one for this call.

    Returns:
        The new model with counts, passes, verification and warnings.

    Raises:
        UnsupportedModelError: When the model cannot be read or is invalid.
        VerificationError: When the result differs; it names the pass, and has ``result``.
        UsageError: For options that make no sense.
    """
    if isinstance(passes, (str, Pass)):
        passes = (passes,)
    chosen = resolve(recipe, passes, skip)
    target = None if output is None else check_target(output, path_of(model), force=force)
    if save_recipe is not None:
        check_text_target(save_recipe, path_of(model), output)
    options = options or RunOptions()
    with ExitStack() as stack:
        if worker is None:
            worker = Worker()
            stack.callback(worker.close)
        if verify:
            worker.start()
        asked = edits or InterfaceEdits()
        job = _Job(model, chosen, worker, options, asked, allow_external_dir, on_step or _silent)
        job.open(stack, verify)
        job.rewrite(target)
        result = job.finish(target, stack)
    if save_recipe is not None:
        Path(save_recipe).write_text(format_recipe(chosen), encoding="utf-8")
    return result


def resolve(
    recipe: str | os.PathLike[str] | Recipe, passes: Sequence[str | Pass], skip: Sequence[str]
) -> Recipe:
    """The recipe to run: the named one, with passes appended and others left out."""
    base = recipe if isinstance(recipe, Recipe) else get_recipe(os.fspath(recipe))
    added = tuple(p if isinstance(p, Pass) else parse_pass(p) for p in passes)
    left_out = [get_pass(name).name for name in skip]
    return without(Recipe(base.name, (*base.steps, *added)), left_out)


def _silent(text: str) -> None:
    """Progress that nobody asked for."""


@dataclass
class _Job:
    """One run of :func:`optimize`."""

    source: ModelLike
    recipe: Recipe
    worker: Worker
    options: RunOptions
    edits: InterfaceEdits
    allow_external_dir: str | None
    on_step: Callable[[str], None]
    warnings: list[str] = field(default_factory=list)

    def open(self, stack: ExitStack, verify: bool) -> None:
        """Read the model, refuse an invalid one, and let the child run it meanwhile."""
        self.on_step("reading")
        self.model = open_model(self.source, allow_external_dir=self.allow_external_dir)
        self.size = signature(self.model).bytes
        problems = verify_structure(self.model)
        if problems:
            raise UnsupportedModelError(f"{self._label()} is not a valid model: {problems[0]}")
        infer_shapes(self.model, worker=self.worker)
        self.before = summarize(self.model, self.size)
        self.done = self._edit(self.model)
        self.verifier = self._verifier(stack) if verify else None
        if self.edits.opset is not None:
            self.done.append(convert(self.model, self.edits.opset))

    def _load(self) -> ir.Model:
        """The model as the recipe found it, afresh."""
        model = open_model(self.source, allow_external_dir=self.allow_external_dir)
        if self.edits:
            infer_shapes(model)
            self._edit(model)
            if self.edits.opset is not None:
                convert(model, self.edits.opset)
        return model

    def _edit(self, model: ir.Model) -> list[str]:
        """Asked-for edits that the reference of the verification has, too; a line each."""
        if not self.edits.shape_edits:
            return []
        done = apply_edits(model, self.edits)
        infer_shapes(model)
        if self.edits.fix_shapes:
            redeclare_outputs(model)
        return done

    def _label(self) -> str:
        return str(path_of(self.source) or "the model")

    def _verifier(self, stack: ExitStack) -> Verifier:
        from onnxslim.analysis.constant_work import excessive_work
        from onnxslim.runtime.specs import output_names, specs_of
        from onnxslim.verify.numerics import Verifier

        excess = excessive_work(self.model)
        if excess is not None:
            raise UnsupportedModelError(
                f"{self._label()} is not run to verify the result: {excess}; "
                "use --no-verify to rewrite it all the same"
            )
        path = path_of(self.source)
        if path is None or self.edits.shape_edits or signature(self.model).rewritten:
            path = stack.enter_context(stage(self.model)).model_path
        specs = specs_of(self.model)
        description = self.options.describe(specs, output_names(self.model))
        return Verifier(
            path,
            self.model,
            self.worker,
            feeds=self._feeds(specs, description),
            description=description,
            seed=self.options.seed,
            provider=self.options.provider,
            custom_ops=self.options.custom_ops,
        )

    def _feeds(self, specs: list[InputSpec], description: Description) -> list[Feed] | None:
        """The first samples of ``--data``; None to draw random ones."""
        if self.options.data is None:
            return None
        from onnxslim.api.samples import open_samples

        source = open_samples(self.options, specs, description, self.model, samples=FEEDS)
        return list(source.rebatched(1).feeds())

    def rewrite(self, target: Path | None) -> None:
        """Run the recipe; when a pass breaks the model, leave the model from before it."""
        self.ctx = PassContext(self.model, worker=self.worker)
        self.manager = Manager(self.recipe, on_pass=self.on_step)
        try:
            self.manager.run(self.model, self.ctx)
        except PassError as error:
            raise type(error)(f"{error}; {self._reproducer(target)}") from error

    def _reproducer(self, target: Path | None) -> str:
        from onnxslim.api.blame import Culprit, replay

        runs = self.manager.runs
        before, _ = replay(self._load(), self.recipe, len(runs) - 1)
        return Culprit("", format_pass(runs[-1]), before).save(target, self._label())

    def finish(self, target: Path | None, stack: ExitStack) -> Result:
        """Stage the new model, verify what was staged, and put it in place."""
        self.on_step("verifying")
        staged = stack.enter_context(
            stage(self.model)
            if target is None
            else stage(self.model, target.parent, name=target.name)
        )
        verification = self._verify(staged)
        result = self._result(staged, verification)
        if verification.ok is False:
            raise self._failure(result, target)
        if verification.ok is None and self.verifier is not None and not self.lossy:
            raise UnsupportedModelError(
                f"{self._label()} cannot be verified ({verification.failure}): describe its inputs "
                "with --input-shape, --dim or --data, or use --no-verify"
            )
        if target is not None:
            staged.commit(target)
            result.output = str(target)
        return result

    def _verify(self, staged: Staged) -> Verification:
        if self.verifier is None:
            return NOT_VERIFIED
        found = self.verifier.verify(staged.model_path, self.model)
        return unjudged(found, self.lossy) if self.lossy else found

    @property
    def lossy(self) -> list[str]:
        """Names of passes of the recipe that do not promise the same function."""
        passes = self.recipe.passes()
        return [p.name for p in passes if p.numerics is Numerics.LOSSY]

    def _result(self, staged: Staged, verification: Verification) -> Result:
        after = summarize(self.model, staged.bytes)
        warnings = [*self.ctx.warnings, *verification_warnings(verification)]
        if staged.bytes > self.size:
            reasons = "; ".join(self.ctx.growth) or "the file was re-encoded"
            grown = staged.bytes - self.size
            warnings.append(f"the model grew by {grown} bytes: {reasons}")
        path = path_of(self.source)
        return Result(
            model=self.model,
            before=self.before,
            after=after,
            passes=[
                PassEntry(
                    name=r.name,
                    options=r.options,
                    rewrites=r.rewrites,
                    seconds=round(r.seconds, 4),
                    skipped=r.skipped,
                )
                for r in self.manager.records
            ],
            verification=verification,
            warnings=warnings,
            edits=self.done,
            input=None if path is None else str(path),
        )

    def _failure(self, result: Result, target: Path | None) -> VerificationError:
        """Name the pass that broke the model, and leave what is needed to see it again."""
        from onnxslim.api.blame import blame

        culprit = blame(self._load, self.recipe, len(self.manager.runs), self._still_equal)
        what = result.verification.explain()
        text = f"verification failed after {culprit.text}: {what}"
        if culprit.model is not None:
            text += f"; {culprit.save(target, self._label())}"
        error = VerificationError(text)
        error.result = result  # type: ignore[attr-defined]
        return error

    def _still_equal(self, model: ir.Model) -> bool:
        assert self.verifier is not None
        with stage(model) as staged:
            return self.verifier.verify(staged.model_path, model).ok is not False


def convert(model: ir.Model, version: int) -> str:
    """Raise the opset in place; returns the line that says so."""
    before = model.graph.opset_imports.get("", 1)
    raise_opset(model, version)
    infer_shapes(model)
    return f"opset raised from {before} to {version}"


def unjudged(found: Verification, lossy: Sequence[str]) -> Verification:
    """Differences in numbers are what lossy passes make; anything else is still a failure."""
    broken = [r for r in found.failed if r.status != "exceeds"]
    if found.ok is not False or broken or not found.outputs:
        return found
    names = ", ".join(lossy)
    failure = f"not judged: {names} may change the results; onnxslim validate says how much"
    return replace(found, level="none", ok=None, failure=failure)


def verification_warnings(verification: Verification) -> list[str]:
    """What a person should know of how far a verification went."""
    found = []
    if verification.unvaried:
        names = ", ".join(verification.unvaried)
        found.append(f"verified with one size only of: {names}")
    if verification.not_compared:
        ops = ", ".join(verification.unknown_operators)
        found.append(
            f"{len(verification.not_compared)} nodes were not compared: ONNX Runtime lacks {ops}"
        )
    return found
