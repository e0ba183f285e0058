"""Which distributions are installed, and which of them are in each other's way."""

from __future__ import annotations

import importlib.metadata

OWN = "onnxslim-toolkit"
CLASH = "onnxslim"

PACKAGES = (
    OWN,
    "onnx",
    "onnx-ir",
    "numpy",
    "networkx",
    "onnxruntime",
    "onnxruntime-gpu",
    "pillow",
)


def version_of(name: str) -> str | None:
    """Version of an installed distribution, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def name_clash() -> str | None:
    """One line when the other distribution called ``onnxslim`` is installed beside ours."""
    other = version_of(CLASH)
    if other is None:
        return None
    return (
        f"another distribution named onnxslim ({other}) is installed and overwrites files of "
        f"{OWN}: run `pip uninstall -y onnxslim && pip install --force-reinstall {OWN}`"
    )


def runtime_problems() -> list[str]:
    """What is wrong with the installed ONNX Runtime distributions."""
    cpu, gpu = version_of("onnxruntime"), version_of("onnxruntime-gpu")
    if cpu is None and gpu is None:
        return [f"no ONNX Runtime is installed: run `pip install '{OWN}[cpu]'`"]
    if cpu is not None and gpu is not None:
        return [
            f"onnxruntime {cpu} and onnxruntime-gpu {gpu} are both installed and share one folder, "
            "so that CUDA may be missing: uninstall both, then install one"
        ]
    return []
