"""Prunes with ours and recovers by least squares alone, which shows what the choices are worth.

python _prune_least_squares.py MODEL CALIB.npz OUT CONFIG KIND PART

The steps on all weights together, behind least squares, bring any choice of channels so near to the
dense model that choices can hardly be told apart.
"""

from __future__ import annotations

import sys

from onnxslim.api import prune_goals
from onnxslim.api.pruning import prune

CONFIGS: dict[str, dict[str, str]] = {
    "default": {},
    "uniform": {"scope": "local"},
    "l2-uniform": {"scope": "local", "criterion": "l2"},
}


def main() -> None:
    """Prune without the last passes."""
    source, calibration, target, config, kind, part = sys.argv[1:7]
    prune_goals.AT_LAST = ()
    settings = {kind: float(part), **CONFIGS[config]}
    prune(source, data=calibration, output=target, compare=False, **settings)


if __name__ == "__main__":
    main()
