"""After a failed verification: the right pass is named, and the model from before it is left."""

from __future__ import annotations

import shlex
from pathlib import Path

import onnx
import pytest

import onnxslim
from onnxslim.errors import PassError, VerificationError
from onnxslim.pipeline.recipes import Recipe, Repeat
from onnxslim.pipeline.registry import get_pass
from tests.nets import net
from tests.toys import EliminateDoubleNeg, Scripted
from tests.verify.broken import CASES, EliminateCorrectness

GOOD = get_pass("eliminate-identity")(), get_pass("eliminate-dead")()
BROKEN = EliminateCorrectness("wrong-epsilon")


def reproducer(error: PassError) -> list[str]:
    return shlex.split(str(error).rsplit("replay with: ", 1)[1])


@pytest.mark.parametrize(
    ("recipe", "run"),
    [
        (Recipe("r", (BROKEN,)), "run 1 of 1"),
        (Recipe("r", (*GOOD, BROKEN, EliminateDoubleNeg())), "run 3 of 4"),
        (Recipe("r", (BROKEN, *GOOD)), "run 1 of 3"),
        (Recipe("r", (GOOD[0], Repeat((*GOOD, EliminateDoubleNeg())), BROKEN)), "run 4 of 4"),
    ],
)
def test_the_culprit_is_named(recipe: Recipe, run: str, tmp_path: Path) -> None:
    source, target = tmp_path / "a model.onnx", tmp_path / "an output.onnx"
    onnx.save(CASES["wrong-epsilon"].model(), source)
    with pytest.raises(VerificationError, match=r"^[^\n]*eliminate-correctness") as caught:
        onnxslim.optimize(source, recipe, output=target)
    assert run in str(caught.value)
    command = reproducer(caught.value)
    left = Path(command[2])
    assert command[:2] == ["onnxslim", "optimize"] and left.parent == tmp_path
    assert command[command.index("-p") + 1] == 'eliminate-correctness{kind="wrong-epsilon"}'
    assert [n.op_type for n in onnx.load(left).graph.node] == ["Conv", "BatchNormalization"]
    with pytest.raises(VerificationError):
        onnxslim.optimize(left, Recipe("again", (BROKEN,)), output=target)
    assert not target.exists()


def test_a_pass_that_raises_leaves_the_model_from_before_it(tmp_path: Path) -> None:
    def crash(*_: object) -> int:
        raise IndexError("list index out of range")

    target = tmp_path / "out.onnx"
    recipe = Recipe("r", (EliminateDoubleNeg(), Scripted(crash)))
    model = net("a = Neg(x)  b = Neg(a)  y = Relu(b)")
    with pytest.raises(PassError, match=r"^pass scripted failed with IndexError[^\n]*$") as caught:
        onnxslim.optimize(model, recipe, output=target)
    left = onnx.load(reproducer(caught.value)[2])
    assert left.graph.node[-1].input == ["x"], "the first pass had run"
    assert not target.exists()
