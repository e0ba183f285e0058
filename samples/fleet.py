"""One recipe over several models in parallel processes; run it twice: the second resumes."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnxslim
from onnxslim import demo

if __name__ == "__main__":  # worker processes import this file
    models = Path("fleet")
    models.mkdir(exist_ok=True)
    for number in range(3):
        shutil.copy(demo.model_path(), models / f"model{number}.onnx")
    result = onnxslim.batch("default", [models], "fleet-out", executor="processes:2")
    for entry in result.entries:
        print(entry.input, "ok" if entry.ok else entry.error, f"{entry.seconds} s")
