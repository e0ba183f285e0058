"""Options that mean the same in every command, declared once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from onnxslim.errors import UsageError

if TYPE_CHECKING:
    from onnxslim.api.options import RunOptions

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Show tracebacks and logs.")]
Provider = Annotated[
    str, typer.Option("--provider", help="cpu, cuda or the name of an execution provider.")
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="SRC",
        help="Samples: .npz, folder of .npz/.npy/images/test_data_set_*, FILE.py:FUNCTION, random.",
    ),
]
Samples = Annotated[int | None, typer.Option("--samples", min=1, help="Use at most N samples.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of every random draw.")]
Force = Annotated[bool, typer.Option("--force", help="Replace OUT when it exists.")]
NoVerify = Annotated[
    bool, typer.Option("--no-verify", help="Write OUT without comparing it with MODEL.")
]
CustomOps = Annotated[
    list[str] | None,
    typer.Option("--custom-ops", metavar="LIB.so", help="Library of custom operators to load."),
]
InputShape = Annotated[
    list[str] | None,
    typer.Option("--input-shape", metavar="NAME=1,3,224,224", help="Shape of an input, for runs."),
]
Dim = Annotated[
    list[str] | None,
    typer.Option("--dim", metavar="seq=128", help="Size of a dynamic dimension, for runs."),
]
InputValue = Annotated[
    list[str] | None,
    typer.Option("--input-value", metavar="NAME=16000", help="Value of an input, for runs."),
]
State = Annotated[
    list[str] | None,
    typer.Option("--state", metavar="OUT=IN", help="Feed an output back as an input."),
]
ImageSize = Annotated[
    str | None, typer.Option("--image-size", metavar="H,W", help="Size that images are made.")
]
Resize = Annotated[
    str | None, typer.Option("--resize", help="stretch, crop, letterbox or keep-height.")
]
ChannelOrder = Annotated[str | None, typer.Option("--channel-order", help="rgb or bgr.")]
Scale = Annotated[
    float | None, typer.Option("--scale", help="Factor on pixel values, before mean and std.")
]
Mean = Annotated[
    str | None, typer.Option("--mean", metavar="R,G,B", help="Subtracted from each channel.")
]
Std = Annotated[str | None, typer.Option("--std", metavar="R,G,B", help="Divides each channel.")]
Layout = Annotated[str | None, typer.Option("--layout", help="nchw or nhwc.")]
Labels = Annotated[
    str | None, typer.Option("--labels", metavar="KEY", help="Array of labels in --data.")
]
Metric = Annotated[
    str, typer.Option("--metric", help="top1, top5, miou, exact, cosine, mae, MODULE:FUNCTION.")
]
AllowRandom = Annotated[
    bool, typer.Option("--allow-random-calibration", help="Allow --data random.")
]
Target = Annotated[
    str, typer.Option("--target", help="cpu, cpu-avx2, cpu-arm, tensorrt or a plug-in's.")
]
Report = Annotated[
    Path | None,
    typer.Option("--report", metavar="FILE.html", help="Also write a page with everything found."),
]
ExternalDir = Annotated[
    str | None,
    typer.Option(
        "--allow-external-dir", metavar="DIR", help="Also read external weights from this folder."
    ),
]


Options: TypeAlias = "RunOptions | None"
"""Type of the parameter that :func:`with_run_options` spells out."""


def with_run_options(
    before: Callable[[], None] | None = None, **other: Any
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Let a command's parameter ``options`` stand for every option of how models are run.

    Args:
        before: Called first, before anything heavy is imported.
        other: Another declaration of an option, by its name.
    """

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        declared = [
            p.replace(annotation=other.get(name, p.annotation))
            for name, p in inspect.signature(_run_options, eval_str=True).parameters.items()
        ]

        @functools.wraps(command)
        def run(**given: Any) -> int:
            if before is not None:
                before()
            options = run_options(**{p.name: given.pop(p.name) for p in declared})
            return command(**given, options=options)

        parameters = []
        for parameter in inspect.signature(command, eval_str=True).parameters.values():
            parameters += declared if parameter.name == "options" else [parameter]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate


def _run_options(
    provider: Provider = "cpu",
    data: Data = None,
    samples: Samples = None,
    seed: Seed = 0,
    input_shape: InputShape = None,
    dim: Dim = None,
    input_value: InputValue = None,
    state: State = None,
    image_size: ImageSize = None,
    resize: Resize = None,
    channel_order: ChannelOrder = None,
    scale: Scale = None,
    mean: Mean = None,
    std: Std = None,
    layout: Layout = None,
    custom_ops: CustomOps = None,
) -> None:
    """Declares the options of :func:`run_options`."""


def run_options(
    *,
    provider: str = "cpu",
    data: str | None = None,
    samples: int | None = None,
    seed: int = 0,
    custom_ops: Sequence[str] | None = None,
    input_shape: Sequence[str] | None = None,
    dim: Sequence[str] | None = None,
    input_value: Sequence[str] | None = None,
    state: Sequence[str] | None = None,
    **images: Any,
) -> RunOptions:
    """The options of one command line as the API takes them.

    Raises:
        UsageError: A library of operators that is not there.
    """
    from onnxslim.api.options import RunOptions

    for library in custom_ops or ():
        if not Path(library).is_file():
            raise UsageError(f"--custom-ops {library}: there is no such file; give a library")

    return RunOptions(
        provider=provider,
        data=data,
        data_options={k: v for k, v in images.items() if v is not None},
        samples=samples,
        seed=seed,
        input_shapes=tuple(input_shape or ()),
        dims=tuple(dim or ()),
        input_values=tuple(input_value or ()),
        states=tuple(state or ()),
        custom_ops=tuple(custom_ops or ()),
    )


def spare_threads() -> None:
    """Keep NumPy to one thread where there are few cores; to be called before it is imported.

    The threads of its matrix products spin while they wait for each other, which on two busy cores
    is most of the time.
    """
    import os

    if (os.cpu_count() or 1) <= 2:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def set_up_logging(verbose: bool) -> None:
    """Log everything of this package to standard error under ``-v``."""
    import logging

    if verbose:
        logging.getLogger("onnxslim").setLevel(logging.DEBUG)
