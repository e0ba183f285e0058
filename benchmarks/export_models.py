"""Write the networks that pruning is measured on, as both exporters of PyTorch write them.

Architectures of torchvision and transformers and some of our own, with random weights: no two
tensors are equal (exporters merge those), normalizations have seen data. Not run in CI; PyTorch
and the rest are installed into an environment of their own on first use (about 1.3 GB)::

    .venv/bin/python benchmarks/export_models.py /tmp/zoo [--only resnet50 ...] [--form dynamo ...]

Forms: ``ts`` is the TorchScript exporter with every BatchNormalization kept, ``folded`` the same
with its own folding, ``dynamo`` the new exporter. Batch (and length of text) stay dynamic. Every
file is run in ONNX Runtime and compared with PyTorch; a line says how far they are apart.
"""

from __future__ import annotations

import argparse
import functools
import os
import subprocess
import sys
import time
import venv
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ENV = Path.home() / ".cache" / "onnxslim-bench" / "torch"
PACKAGES = (
    "torch==2.13.0", "torchvision==0.28.0", "onnx==1.23.2", "onnxscript==0.7.2",
    "onnxruntime==1.31.1", "transformers",
)  # fmt: skip
FORMS = ("ts", "folded", "dynamo")
SEED = 20261122
VISION = (
    "resnet18", "resnet50", "resnext50_32x4d", "densenet121", "mobilenet_v2",
    "mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0", "regnet_x_400mf",
    "regnet_y_400mf", "shufflenet_v2_x1_0", "squeezenet1_1", "mnasnet0_5", "googlenet",
    "convnext_tiny", "vit_b_16", "swin_t", "swin_v2_t",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A network with an example of what it takes.

    Args:
        model: A torch module in evaluation mode.
        inputs: Tensors by name.
        dynamic: Axes of the inputs that stay open, by input: axis to name.
    """

    model: Any
    inputs: dict[str, Any]
    dynamic: dict[str, dict[int, str]]


def main() -> None:
    """Run in the environment; everything that needs PyTorch is imported there only."""
    args = _arguments()
    if Path(sys.prefix) != ENV:
        _prepare()
        sys.exit(subprocess.run([ENV / "bin" / "python", __file__, *sys.argv[1:]]).returncode)
    warnings.filterwarnings("ignore")
    args.out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name in args.only or NAMES:
        for form in FORMS[2:] if name in ONLY_DYNAMO else args.form or FORMS:
            target = args.out / f"{name}_{form}.onnx"
            if target.exists() and not args.again:
                continue
            started = time.perf_counter()
            try:
                apart = _write(_case(name), form, target)
            except Exception as error:  # an exporter may fail on anything; the others go on
                failed += 1
                target.unlink(missing_ok=True)
                print(f"{target.name}: {type(error).__name__}: {str(error)[:300]}", flush=True)
                continue
            size, seconds = target.stat().st_size / 1e6, time.perf_counter() - started
            text = f"{size:.1f} MB, {seconds:.0f} s, differs by {apart:.1e} of the peak"
            print(f"{target.name}: {text}", flush=True)
    sys.exit(1 if failed else 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Export networks for pruning benchmarks.")
    parser.add_argument("out", type=Path, help="folder that is written")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these networks")
    parser.add_argument("--form", nargs="+", choices=FORMS, help="these exporters")
    parser.add_argument("--again", action="store_true", help="write what is there already, too")
    return parser.parse_args()


def _prepare() -> None:
    stamp = ENV / "benchmark.txt"
    if stamp.is_file() and stamp.read_text() == " ".join(PACKAGES):
        return
    print(f"installing PyTorch into {ENV} ...", file=sys.stderr)
    if not (ENV / "bin" / "python").exists():
        venv.create(ENV, with_pip=True, symlinks=True)
    words = [ENV / "bin" / "python", "-m", "pip", "install", "--quiet", *PACKAGES]
    subprocess.run(words, check=True)
    stamp.write_text(" ".join(PACKAGES))


# ------------------------------------------------------------------------------ networks


def _case(name: str) -> Case:
    import torch

    torch.manual_seed(SEED)
    case = OWN[name]() if name in OWN else _vision(name)
    _draw(case.model)
    _see_data(case)
    return case


@functools.cache
def _torchvision() -> Any:
    """torchvision; without its operators where they cannot be loaded (built for CUDA)."""
    import importlib.util

    import torch

    found = importlib.util.find_spec("torchvision")
    assert found is not None and found.origin is not None
    try:
        torch.ops.load_library(str(Path(found.origin).parent / "_C.so"))
    except OSError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for kind in ("nms", "qnms"):
            library.define(f"{kind}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        torch.torchvision_operators = library  # type: ignore[attr-defined]  # lives as long
    import torchvision

    return torchvision


def _vision(name: str, **more: Any) -> Case:
    if name == "googlenet":
        more |= {"aux_logits": False, "init_weights": True, "transform_input": False}
    return _image(_torchvision().models.get_model(name, weights=None, **more))


def _image(model: Any, size: int = 224) -> Case:
    import torch

    return Case(model.eval(), {"x": torch.randn(2, 3, size, size)}, {"x": {0: "N"}})


def _resnet_groupnorm() -> Case:
    from torch import nn

    return _vision("resnet18", norm_layer=lambda channels: nn.GroupNorm(8, channels))


def _unet() -> Case:
    import torch
    from torch import nn

    def double(cin: int, cout: int) -> Any:
        layers: list[Any] = []
        for c in (cin, cout):
            layers += [nn.Conv2d(c, cout, 3, padding=1, bias=False), nn.BatchNorm2d(cout)]
            layers.append(nn.ReLU())
        return nn.Sequential(*layers)

    class UNet(nn.Module):
        def __init__(self, widths: tuple[int, ...] = (32, 64, 128, 256)) -> None:
            super().__init__()
            ends = list(zip(widths, widths[1:], strict=False))
            self.first = double(3, widths[0])
            self.down = nn.ModuleList(double(a, b) for a, b in ends)
            self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in reversed(ends))
            self.merge = nn.ModuleList(double(2 * a, a) for a, _ in reversed(ends))
            self.last = nn.Conv2d(widths[0], 4, 1)

        def forward(self, x: Any) -> Any:
            x = self.first(x)
            skips = []
            for down in self.down:
                skips.append(x)
                x = down(nn.functional.max_pool2d(x, 2))
            for up, merge in zip(self.up, self.merge, strict=True):
                x = merge(torch.cat((skips.pop(), up(x)), 1))
            return self.last(x)

    return _image(UNet(), 128)


def _recurrent(kind: str) -> Case:
    import torch
    from torch import nn

    class Stack(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(40, 128)
            cell = getattr(nn, kind)
            self.cells = cell(128, 128, num_layers=2, bidirectional=True, batch_first=True)
            self.hidden, self.last = nn.Linear(256, 128), nn.Linear(128, 20)

        def forward(self, x: Any) -> Any:
            y, _ = self.cells(torch.relu(self.first(x)))
            return self.last(torch.relu(self.hidden(y)))

    return Case(Stack().eval(), {"x": torch.randn(2, 12, 40)}, {"x": {0: "N", 1: "L"}})


def _bert() -> Case:
    import torch

    _torchvision()  # which transformers imports
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=2000, hidden_size=256, num_hidden_layers=4, num_attention_heads=4,
        intermediate_size=1024, max_position_embeddings=128, num_labels=5, return_dict=False,
    )  # fmt: skip
    ids = torch.randint(0, 2000, (2, 16))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    dynamic = {name: {0: "N", 1: "L"} for name in inputs}
    return Case(BertForSequenceClassification(config).eval(), inputs, dynamic)


def _llama() -> Case:
    import torch

    _torchvision()  # which transformers imports
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=2000, hidden_size=256, intermediate_size=768, num_hidden_layers=4,
        num_attention_heads=8, num_key_value_heads=2, max_position_embeddings=128,
        use_cache=False,
    )  # fmt: skip

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = LlamaForCausalLM(config)

        def forward(self, input_ids: Any) -> Any:
            return self.model(input_ids, use_cache=False).logits

    inputs = {"input_ids": torch.randint(0, 2000, (2, 16))}
    return Case(Logits().eval(), inputs, {"input_ids": {0: "N", 1: "L"}})


OWN: dict[str, Callable[[], Case]] = {
    "resnet18_groupnorm": _resnet_groupnorm,
    "unet": _unet,
    "lstm_stack": lambda: _recurrent("LSTM"),
    "gru_stack": lambda: _recurrent("GRU"),
    "bert_small": _bert,
    "llama_small": _llama,
}
NAMES = (*VISION, *OWN)
ONLY_DYNAMO = ("llama_small",)  # the other exporter has no operator for its masks


# ------------------------------------------------------------------------------ weights


def _draw(model: Any) -> None:
    """No two tensors equal: constant vectors are drawn, everything else is disturbed a little."""
    import torch

    with torch.no_grad():
        for tensor in model.parameters():
            if tensor.numel() > 1 and float(tensor.std()) == 0:
                ones = abs(float(tensor.flatten()[0])) > 0
                tensor.copy_(torch.rand_like(tensor) * 0.8 + 0.6 if ones else tensor)
                tensor.add_(torch.randn_like(tensor) * (0 if ones else 0.05))
            else:
                tensor.add_(torch.randn_like(tensor) * tensor.abs().mean() * 0.01)


def _see_data(case: Case) -> None:
    """Set the statistics of every BatchNormalization from random inputs."""
    import torch

    norms = [m for m in case.model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.train()
        norm.momentum = None
    with torch.no_grad():
        for _ in range(2 if norms else 0):
            case.model(*(torch.randn_like(value) for value in case.inputs.values()))
    case.model.eval()


# ------------------------------------------------------------------------------ export


def _write(case: Case, form: str, target: Path) -> float:
    """Export, and the largest difference to PyTorch as a part of the output's peak."""
    import onnx
    import onnxruntime
    import torch

    arguments = tuple(case.inputs.values())
    names: dict[str, Any] = {"input_names": list(case.inputs), "output_names": ["y"]}
    if form == "dynamo":
        torch.onnx.export(
            case.model, arguments, str(target), dynamo=True, external_data=False, verbose=False,
            dynamic_shapes=_dynamic(case), **names,
        )  # fmt: skip
    else:
        mode = torch.onnx.TrainingMode
        training = mode.EVAL if form == "folded" else mode.PRESERVE
        torch.onnx.export(
            case.model, arguments, str(target), dynamo=False, opset_version=17,
            training=training, dynamic_axes=case.dynamic | {"y": {0: "N"}}, **names,
        )  # fmt: skip
    onnx.checker.check_model(str(target))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(target), options, ["CPUExecutionProvider"])
    feed = {name: value.numpy() for name, value in case.inputs.items()}
    with torch.no_grad():
        expected = case.model(*arguments)
    expected = (expected[0] if isinstance(expected, tuple) else expected).numpy()
    found = session.run(None, {i.name: feed[i.name] for i in session.get_inputs()})[0]
    return float(abs(found - expected).max() / abs(expected).max())


def _dynamic(case: Case) -> tuple[dict[int, Any], ...]:
    import torch

    return tuple(
        {axis: torch.export.Dim.DYNAMIC for axis in case.dynamic[name]} for name in case.inputs
    )


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
