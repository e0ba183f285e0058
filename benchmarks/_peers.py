"""The simplifiers that are compared, each in a virtual environment of its own."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OURS = ("ours", "ours --no-verify")
_RUNTIME = "onnxruntime==1.31.1"
_ONNX = "onnx==1.23.2"

_OPTIMIZER = (
    "import sys, onnx, onnxoptimizer as o;"
    "onnx.save(o.optimize(onnx.load(sys.argv[1]), None, True), sys.argv[2])"
)
_ONNXSCRIPT = (
    "import sys, onnx_ir as ir; from onnxscript import optimizer;"
    "m = ir.load(sys.argv[1]); ir.save(optimizer.optimize(m) or m, sys.argv[2])"
)
_ORT = (
    "import sys, onnxruntime as o; s = o.SessionOptions(); s.log_severity_level = 4;"
    "s.graph_optimization_level = o.GraphOptimizationLevel.ORT_ENABLE_BASIC;"
    "s.optimized_model_filepath = sys.argv[2];"
    "o.InferenceSession(sys.argv[1], s, providers=['CPUExecutionProvider'])"
)


@dataclass(frozen=True)
class Tool:
    """A command that reads one file and writes another.

    Args:
        name: In the tables.
        env: Folder of its environment.
        command: Words before input and output; the first is a program of the environment.
        after: Words after them.
        middle: Words between input and output.
        packages: What pip installs; ours comes from a wheel of this checkout.
    """

    name: str
    env: str
    command: tuple[str, ...]
    packages: tuple[str, ...]
    middle: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    def words(self, envs: Path, source: Path, target: Path) -> list[str]:
        """The command line on one model."""
        program = envs / self.env / "bin" / self.command[0]
        return [
            str(program),
            *self.command[1:],
            str(source),
            *self.middle,
            str(target),
            *self.after,
        ]


_OURS = {"env": "ours", "command": ("onnxslim", "optimize"), "packages": (_RUNTIME, _ONNX)}
TOOLS = (
    Tool(OURS[0], **_OURS, middle=("-o",), after=("--force", "-q")),
    Tool(OURS[1], **_OURS, middle=("-o",), after=("--force", "-q", "--no-verify")),
    Tool("onnxslim", "onnxslim", ("onnxslim",), ("onnxslim==0.1.98", _RUNTIME, _ONNX)),
    Tool("onnxsim", "onnxsim", ("onnxsim",), ("onnxsim==0.8.1", _RUNTIME, _ONNX)),
    Tool(
        "onnxoptimizer",
        "onnxoptimizer",
        ("python", "-c", _OPTIMIZER),
        ("onnxoptimizer==0.4.2", _ONNX),
    ),
    Tool(
        "onnxscript",
        "onnxscript",
        ("python", "-c", _ONNXSCRIPT),
        ("onnxscript==0.7.2", "onnx-ir==1.1.0", _ONNX),
    ),
    Tool("ort_basic", "ort_basic", ("python", "-c", _ORT), (_RUNTIME, _ONNX)),
)


def environment() -> dict[str, str]:
    """Variables of every command: bytecode may be written and one thread is used."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    kept.pop("PYTHONPATH", None)
    return kept | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def prepare(tools: tuple[Tool, ...], envs: Path) -> None:
    """Install what is not installed yet, with compiled bytecode; ours whenever it changed."""
    for env in dict.fromkeys(tool.env for tool in tools):
        packages = next(tool.packages for tool in tools if tool.env == env)
        stamp = envs / env / "benchmark.txt"
        wanted = " ".join(packages) + (f" {_digest()}" if env == "ours" else "")
        if stamp.is_file() and stamp.read_text() == wanted:
            continue
        print(f"installing {env} into {envs / env} ...", file=sys.stderr)
        python = envs / env / "bin" / "python"
        if not python.exists():
            venv.create(envs / env, with_pip=True, symlinks=True)
        _pip(python, "install", *packages)
        if env == "ours":
            _install_checkout(python)
        _run([str(python), "-m", "compileall", "-q", str(_site(envs / env))], check=False)
        stamp.write_text(wanted)


def _install_checkout(python: Path) -> None:
    """Build a wheel from a copy, so that no `build` folder appears in the checkout."""
    with tempfile.TemporaryDirectory(prefix="bench_wheel_") as folder:
        copy, wheels = Path(folder, "source"), Path(folder, "wheels")
        ignored = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")
        shutil.copytree(ROOT, copy, symlinks=True, ignore=ignored)
        _pip(python, "wheel", "--no-deps", "-w", str(wheels), str(copy))
        wheel = str(next(wheels.glob("*.whl")))
        _pip(python, "install", wheel)
        _pip(python, "install", "--no-deps", "--force-reinstall", wheel)


def _pip(python: Path, *words: str) -> None:
    _run([str(python), "-m", "pip", "--quiet", *words])


def _run(words: list[str], check: bool = True) -> None:
    done = subprocess.run(words, env=environment(), capture_output=True, text=True)
    if check and done.returncode:
        sys.exit(f"{' '.join(words)} failed:\n{done.stderr[-2000:]}")


def _site(env: Path) -> Path:
    return next((env / "lib").glob("python3*")) / "site-packages"


def _digest() -> str:
    digest = hashlib.sha256()
    for folder in ("onnxslim", "passes"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    digest.update((ROOT / "pyproject.toml").read_bytes())
    return digest.hexdigest()
