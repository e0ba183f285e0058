from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxslim.errors import DataError, UsageError
from onnxslim.runtime.specs import Array
from onnxslim.verify.metrics import get_metric


def f32(values: Any) -> Array:
    return np.array(values, np.float32)


def points(name: str, output: Any, labels: Any) -> float:
    metric = get_metric(name)
    rows = metric.rows({"out": np.asarray(output)}, np.asarray(labels))
    return metric.total(rows.mean(axis=0))


LOGITS = np.array([[3, 1, 0], [0, 1, 2], [0, 5, 1], [9, 1, 2]], np.float32)


def test_top1() -> None:
    assert points("top1", LOGITS, [0, 2, 1, 1]) == 75
    assert points("top1", LOGITS, [[0], [2], [1], [1]]) == 75
    assert points("top1", LOGITS, np.eye(3)[[0, 2, 1, 1]]) == 75


def test_top1_of_classes_and_of_one_number() -> None:
    assert points("top1", np.array([1, 2, 3]), [1, 2, 0]) == pytest.approx(200 / 3)
    assert points("top1", f32([[0.2], [0.9]]), [0, 1]) == 100
    assert points("top1", f32([[-2], [3]]), [0, 0]) == 50


def test_top1_of_tokens() -> None:
    scores = np.zeros((2, 3, 4), np.float32)
    scores[:, :, 1] = 1
    assert points("top1", scores, [[1, 1, 1], [1, 0, 0]]) == pytest.approx(100 * (1 + 1 / 3) / 2)


def test_top5() -> None:
    scores = np.arange(10, dtype=np.float32)[None].repeat(3, axis=0)
    assert points("top5", scores, [9, 5, 4]) == pytest.approx(200 / 3)


def test_miou_ignores_unknown_labels() -> None:
    scores = np.zeros((1, 2, 2, 2), np.float32)
    scores[0, 1, 0] = 1  # upper row is class 1
    assert points("miou", scores, [[[1, 1], [0, 0]]]) == 100
    assert points("miou", scores, [[[1, 0], [0, 0]]]) == pytest.approx(100 * (1 / 2 + 2 / 3) / 2)
    assert points("miou", scores, [[[1, 255], [0, 0]]]) == 100


def test_miou_is_over_the_whole_set() -> None:
    metric = get_metric("miou")
    one = metric.rows({"o": f32([[[[1]], [[0]]]])}, np.array([[[0]]]))
    two = metric.rows({"o": f32([[[[1]], [[0]]]])}, np.array([[[1]]]))
    assert metric.total(np.concatenate([one, two]).mean(axis=0)) == 25


def test_exact_decodes_ctc() -> None:
    path = np.eye(4, dtype=np.float32)[[[0, 1, 1, 0, 2, 0], [3, 3, 0, 3, 0, 0]]]
    assert points("exact", path, [[1, 2, 0], [3, 3, 0]]) == 100
    assert points("exact", path, [[1, 2, -1], [3, -1, -1]]) == 50
    assert points("exact", np.swapaxes(path, 0, 1).copy(), [[1, 2, 0], [3, 3, 0]]) == 100


def test_exact_of_sequences_of_one_length() -> None:
    assert points("exact", np.array([[1, 2], [3, 4]]), [[1, 2], [3, 5]]) == 50


def test_cosine_and_mae() -> None:
    assert points("cosine", f32([[1, 0], [1, 1]]), [[2, 0], [0, 1]]) == pytest.approx(
        100 * (1 + 0.5**0.5) / 2
    )
    assert points("mae", f32([[1], [3]]), [[2], [2]]) == pytest.approx(50)
    assert points("mae", f32([[2], [2]]), [2, 2]) == 100


def test_labels_that_do_not_fit() -> None:
    with pytest.raises(DataError, match=r"labels of shape \[2, 3\]"):
        points("top1", LOGITS, [[0, 1, 1], [1, 0, 0]])
    with pytest.raises(DataError, match="miou needs scores"):
        points("miou", np.array([1, 2]), [1, 2])


def test_a_function_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "def half(outputs, labels):\n    return [50.0] * len(labels)\n"
        "def one(outputs, labels):\n    return 7\n"
        "def bad(outputs, labels):\n    return [1, 2, 3]\n"
        "number = 3\n"
    )
    assert points(f"{path}:half", LOGITS, [0] * 4) == 50
    assert points(f"{path}:one", LOGITS, [0] * 4) == 7
    with pytest.raises(DataError, match="expected one number per sample"):
        points(f"{path}:bad", LOGITS, [0] * 4)
    with pytest.raises(UsageError, match="no function but a int"):
        get_metric(f"{path}:number")
    with pytest.raises(UsageError, match="has no 'other'"):
        get_metric(f"{path}:other")


def test_a_function_of_a_module_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_scores_module.py").write_text("def full(outputs, labels):\n    return 100\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert points("my_scores_module:full", LOGITS, [0] * 4) == 100
    assert sys.path == before
    sys.modules.pop("my_scores_module")


@pytest.mark.parametrize("name", ["top3", "no_such_module:f", "missing.py:f"])
def test_unknown(name: str) -> None:
    with pytest.raises(UsageError, match="--metric"):
        get_metric(name)
