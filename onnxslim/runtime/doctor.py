"""Facts about this installation, for ``onnxslim doctor``."""

from __future__ import annotations

from typing import Any

from onnxslim.errors import OnnxSlimError
from onnxslim.runtime import installed
from onnxslim.runtime.limits import limits_missing
from onnxslim.runtime.worker import Worker


def examine() -> dict[str, Any]:
    """Versions, providers, missing limits of the platform, and problems in one line each."""
    problems = installed.runtime_problems()
    clash = installed.name_clash()
    if clash is not None:
        problems.append(clash)
    providers: list[str] = []
    try:
        with Worker() as worker:
            providers = worker.available_providers()
            worker.self_test("cpu")
    except OnnxSlimError as error:
        if not problems:
            problems.append(str(error))
    return {
        "packages": {p: installed.version_of(p) or "not installed" for p in installed.PACKAGES},
        "providers": providers,
        "missing_limits": limits_missing(),
        "problems": problems,
    }
