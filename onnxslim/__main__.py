"""``python -m onnxslim``: the command, also where its script is not installed."""

from __future__ import annotations

from onnxslim.cli.main import run

if __name__ == "__main__":
    run()
