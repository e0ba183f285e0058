"""A folder of images; without Pillow only the message that names the extra is tested."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxslim.errors import DataError, MissingRuntimeError, UsageError
from onnxslim.runtime.data import DataOptions, ImageOptions, open_data
from onnxslim.runtime.images import parse_channels, parse_image_size
from onnxslim.runtime.specs import InputSpec

NCHW = InputSpec("x", np.dtype(np.float32), ("n", 3, 8, 16))


def test_without_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingRuntimeError, match=r"pip install 'onnxslim-toolkit\[images\]'"):
        open_data(tmp_path, [NCHW])


def test_parses() -> None:
    assert parse_image_size("224") == (224, 224)
    assert parse_image_size("48,320") == parse_image_size("48x320") == (48, 320)
    assert parse_channels("--mean", "0.5,0.25") == (0.5, 0.25)
    for text in ("", "a", "1,2,3", "0", "-3"):
        with pytest.raises(UsageError, match="no size"):
            parse_image_size(text)
    with pytest.raises(UsageError, match="--std 'x'"):
        parse_channels("--std", "x")


def save(path: Path, pixels: Any, mode: str | None = None, **options: Any) -> None:
    image = pytest.importorskip("PIL.Image").fromarray(np.asarray(pixels, np.uint8))
    (image if mode is None else image.convert(mode)).save(path, **options)


def flat(height: int, width: int, colour: tuple[int, ...] = (255, 51, 0)) -> Any:
    return np.broadcast_to(np.array(colour), (height, width, len(colour)))


def read(folder: Path, spec: InputSpec = NCHW, **options: Any) -> Any:
    source = open_data(folder, [spec], DataOptions(images=ImageOptions(**options)))
    return np.concatenate([batch.real("x") for batch in source])


def test_stretch_scale_and_layout(tmp_path: Path) -> None:
    save(tmp_path / "b.png", flat(4, 4))
    save(tmp_path / "a.png", flat(9, 3, (0, 0, 255)))
    found = read(tmp_path)
    assert found.shape == (2, 3, 8, 16)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[1, :, 0, 0], [1, 0.2, 0], atol=1e-6)
    np.testing.assert_allclose(found[0, :, 7, 15], [0, 0, 1], atol=1e-6)
    last = read(tmp_path, InputSpec("x", np.dtype(np.float32), (None, 8, 16, 3)))
    np.testing.assert_allclose(last.transpose(0, 3, 1, 2), found)


def test_normalization_and_order(tmp_path: Path) -> None:
    save(tmp_path / "a.png", flat(8, 16))
    found = read(tmp_path, channel_order="bgr", scale=1.0, mean=(1, 2, 3), std=(2.0,))
    np.testing.assert_allclose(found[0, :, 3, 3], [(0 - 1) / 2, (51 - 2) / 2, (255 - 3) / 2])


def test_integer_inputs_get_bytes(tmp_path: Path) -> None:
    save(tmp_path / "a.png", flat(8, 16))
    found = read(tmp_path, InputSpec("x", np.dtype(np.uint8), (1, 8, 16, 3)))
    assert found.dtype == np.uint8
    assert found[0, 0, 0].tolist() == [255, 51, 0]


def test_grey_and_fixed_batch(tmp_path: Path) -> None:
    for name in "abc":
        save(tmp_path / f"{name}.png", flat(8, 16, (51, 51, 51)))
    spec = InputSpec("x", np.dtype(np.float32), (2, 1, 8, 16))
    batches = list(open_data(tmp_path, [spec]))
    assert [b.count for b in batches] == [2, 1]
    np.testing.assert_allclose(batches[1].feeds["x"], 0.2, atol=1e-6)


def test_crop_letterbox_and_keep_height(tmp_path: Path) -> None:
    pixels = np.zeros((8, 32, 3))
    pixels[:, 8:24] = 255  # the middle is white
    save(tmp_path / "a.png", pixels)
    assert read(tmp_path, resize="crop").min() > 0.99
    boxed = read(tmp_path, resize="letterbox")[0, 0]
    np.testing.assert_allclose(boxed[[0, 1, 6, 7]], 114 / 255, atol=1e-6)
    assert boxed[3:5, 6:10].min() > 0.99
    kept = read(tmp_path, resize="keep-height")
    assert kept.shape == (1, 3, 8, 16)
    assert kept[0, 0, :, :7].max() < 0.01 < 0.99 < kept[0, 0, :, 9:].min()
    save(tmp_path / "a.png", flat(16, 8, (255, 255, 255)))
    padded = read(tmp_path, resize="keep-height", mean=(0.5,))
    np.testing.assert_allclose(padded[0, 0, :, :4], 0.5, atol=1e-6)
    assert not padded[0, 0, :, 4:].any()


def test_keep_height_of_a_dynamic_width(tmp_path: Path) -> None:
    save(tmp_path / "a.png", flat(4, 12))
    save(tmp_path / "b.png", flat(4, 20))
    spec = InputSpec("x", np.dtype(np.float32), (None, 3, None, None))
    options = DataOptions(images=ImageOptions(size=(8, 8), resize="keep-height"))
    batches = list(open_data(tmp_path, [spec], options))
    assert [b.feeds["x"].shape for b in batches] == [(1, 3, 8, 24), (1, 3, 8, 40)]


def test_sub_folders_and_rotation(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    image_module = pytest.importorskip("PIL.Image")
    pixels = np.zeros((16, 8, 3), np.uint8)
    pixels[:8] = 255  # the upper half; turned, the right or the left one
    exif = image_module.Exif()
    exif[0x0112] = 6
    image_module.fromarray(pixels).save(tmp_path / "cat" / "a.png", exif=exif)
    found = read(tmp_path)[0, 0]
    assert found[:, 9:].min() > 0.9 > 0.1 > found[:, :7].max()


@pytest.mark.parametrize(
    ("spec", "options", "said"),
    [
        ((None, 3, None, None), {}, "give one with --image-size"),
        ((None, 3, 8, 8), {"size": (9, 8)}, "gives height 9, but input 'x'"),
        ((None, 3, 8, 8), {"mean": (1, 2)}, "--mean has 2 values"),
        ((None, 3, 8, 8), {"std": (0.0,)}, "--std has a zero"),
        ((None, 7, 8, 8), {}, "has no axis of 1, 3 or 4 channels"),
        ((None, 3, 8, 8), {"layout": "nhwc"}, "has 8 channels in nhwc"),
        ((None, 8), {}, "serves a model with one input of four axes"),
    ],
)
def test_refuses(tmp_path: Path, spec: Any, options: Any, said: str) -> None:
    save(tmp_path / "a.png", flat(4, 4))
    with pytest.raises((DataError, UsageError)) as error:
        read(tmp_path, InputSpec("x", np.dtype(np.float32), spec), **options)
    assert said in str(error.value)


def test_refuses_broken_and_deep_images(tmp_path: Path) -> None:
    image_module = pytest.importorskip("PIL.Image")
    (tmp_path / "a.png").write_bytes(b"\x89PNG no")
    with pytest.raises(DataError, match="a.png cannot be read as an image"):
        read(tmp_path)
    image_module.fromarray(np.full((4, 4), 40000, np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="more than 8 bits"):
        read(tmp_path)
