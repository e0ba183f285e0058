"""All exceptions of the package, each with the exit code that the command line gives it.

A message says what was found, what was expected and what to do, in one line.
"""

from __future__ import annotations

from typing import Literal


class OnnxSlimError(Exception):
    """Base of everything this package raises on purpose. Exit code 2: it could not be done."""

    exit_code: int = 2


class UsageError(OnnxSlimError):
    """An option, an argument or a combination of them makes no sense."""


class UnknownPassError(UsageError):
    """A pass or recipe of that name does not exist."""


class UnsupportedModelError(OnnxSlimError):
    """The model is unreadable, invalid, hostile, or uses what is not supported."""


class DataError(OnnxSlimError):
    """Sample data or labels are missing or do not fit the model."""


class CalibrationError(DataError):
    """Calibration data is missing, too small or contradicts the model."""


class MissingRuntimeError(OnnxSlimError):
    """ONNX Runtime (or another optional package) is not installed."""


class ProviderError(OnnxSlimError):
    """The execution provider asked for is missing or silently fell back."""


class WorkerError(OnnxSlimError):
    """Native code in the child process failed.

    Args:
        message: One line for the user.
        reason: ``error`` (the library refused), ``crash`` (the process died), ``timeout`` or
            ``memory``.
    """

    def __init__(
        self, message: str, reason: Literal["error", "crash", "timeout", "memory"] = "error"
    ) -> None:
        super().__init__(message)
        self.reason = reason


class PassError(OnnxSlimError):
    """A pass failed: a bug of the pass, not of the model."""


class PreconditionError(PassError):
    """A pass was run on a model that does not meet its precondition."""


class VerificationError(PassError):
    """A rewritten model is not what the original was. Exit code 1; no output is written."""

    exit_code = 1


class TargetError(OnnxSlimError):
    """A target (budget, SQNR, drop) cannot be met; the message names the best reached."""

    exit_code = 1
