"""Options that mean the same in every function and command that runs a model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnxslim.runtime.dims import Description
    from onnxslim.runtime.specs import InputSpec


@dataclass(frozen=True)
class RunOptions:
    """How models are run: on what, on which inputs, how often.

    Attributes:
        provider: ``cpu``, ``cuda`` or the name of an execution provider.
        data: Sample data in any form of ``--data``; None draws random inputs.
        data_options: How images become tensors (the fields of ``DataOptions``).
        samples: At most this many samples; None takes the command's default.
        seed: Seed of every random draw.
        input_shapes: ``NAME=1,3,224,224`` each.
        dims: ``seq=128`` each.
        input_values: ``NAME=16000`` each.
        states: ``OUT=IN`` each: an output that is fed back as an input.
        custom_ops: Libraries of custom operators for ONNX Runtime; loaded only when given here.
    """

    provider: str = "cpu"
    data: Any = None
    data_options: Mapping[str, Any] = field(default_factory=dict)
    samples: int | None = None
    seed: int = 0
    input_shapes: tuple[str, ...] = ()
    dims: tuple[str, ...] = ()
    input_values: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    custom_ops: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Data that can be read only once (a generator, a reader) is kept as it is read."""
        if self.data is None or isinstance(self.data, str | os.PathLike):
            return
        if hasattr(self.data, "get_next") or isinstance(self.data, Iterator):
            from onnxslim.runtime.readers import Replay

            object.__setattr__(self, "data", Replay(self.data))

    def describe(self, specs: Sequence[InputSpec], outputs: Iterable[str]) -> Description:
        """The descriptions of inputs, checked against a model's inputs and outputs.

        Raises:
            UsageError: Naming the inputs that exist when one is named that does not.
        """
        from onnxslim.runtime.dims import describe

        return describe(
            specs,
            outputs=outputs,
            input_shapes=self.input_shapes,
            dims=self.dims,
            input_values=self.input_values,
            states=self.states,
        )
