"""Turns what the child answered, or how it died, into one of our errors."""

from __future__ import annotations

import re

from onnxslim.errors import (
    DataError,
    MissingRuntimeError,
    OnnxSlimError,
    ProviderError,
    WorkerError,
)
from onnxslim.runtime.process import Process

_WHY = {
    "SIGFPE": ", as an integer division by zero or of the smallest integer by -1 does",
    "SIGSEGV": ", an access outside of its memory",
    "SIGBUS": ", a mapped file became shorter",
    "SIGABRT": ", it gave up by itself",
}
_LOADING = re.compile(r"^FAIL : Load model from .* failed:")  # a temporary name
_UNKNOWN = "is not a registered function/op"
_GPU = ("cuda", "tensorrt")


def refused(kind: str, text: str, label: str, process: Process) -> OnnxSlimError:
    """The error for an answer that is a refusal."""
    if kind == "missing":
        return MissingRuntimeError(
            f"ONNX Runtime is needed and cannot be imported ({text}); "
            "install it: pip install 'onnxslim-toolkit[cpu]'"
        )
    if kind == "provider":
        return _provider(text, process)
    if kind == "memory":
        detail = "" if "bad_alloc" in text else f" ({text})"
        return WorkerError(
            f"{label}: needs more memory than allowed{detail}; use smaller inputs or batches",
            "memory",
        )
    if kind == "data":
        return DataError(f"{label}: {text}")
    text = _LOADING.sub("", text)
    advice = "; give the library that has it with --custom-ops" if _UNKNOWN in text else ""
    return WorkerError(f"{label}: {text}{advice}", "error")


def _provider(text: str, process: Process) -> ProviderError:
    if "fell back" in text:
        heard = process.stderr_tail(1, 200)
        said = f" ({heard})" if heard else ""
        return ProviderError(f"{text}{said}; see onnxslim doctor, or use --provider cpu")
    if any(name in text.lower() for name in _GPU):
        return ProviderError(f"{text}; install it: pip install 'onnxslim-toolkit[gpu]'")
    return ProviderError(f"{text}; use one that it has")


def died(process: Process, label: str, cpu: float) -> WorkerError:
    """The error for a child that is gone."""
    how, heard = process.post_mortem()
    if how in ("SIGPROF", "SIGXCPU"):
        return WorkerError(
            f"{label}: used more than the {cpu:g} s of CPU time allowed and was stopped; "
            "use smaller inputs or a smaller model",
            "timeout",
        )
    if how == "SIGKILL" or process.ran_out_of_memory():
        return WorkerError(
            f"{label}: native code was stopped ({how}), most likely for lack of memory; "
            "use smaller inputs or a smaller batch",
            "memory",
        )
    said = f"; its last words: {heard}" if heard else ""
    return WorkerError(
        f"{label}: native code crashed on it ({how}{_WHY.get(how, '')}){said}; "
        "the model is broken, or this is a bug of ONNX Runtime or onnx",
        "crash",
    )
