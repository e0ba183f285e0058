from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import pytest

from onnxslim.runtime import child, spawn

NAME = "onnxslim-worker-abcd_123"
DAY = 24 * 3600


def make(folder: Path, days: float) -> Path:
    folder.mkdir()
    (folder / "stderr").write_text("x")
    then = time.time() - days * DAY
    os.utime(folder, (then, then))
    return folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_that_nobody_touches_any_more_is_removed(place: Path) -> None:
    old = make(place / NAME, 8)
    new = spawn.private_folder()
    assert not old.exists()
    assert new.is_dir() and new.parent == place and spawn._NAME.fullmatch(new.name)


@pytest.mark.parametrize(
    ("name", "days"),
    [(NAME, 6), ("onnxslim-work", 99), ("onnxslim-worker-abcd_1234", 99), ("a" + NAME, 99)],
)
def test_other_folders_stay(place: Path, name: str, days: float) -> None:
    kept = make(place / name, days)
    spawn.private_folder()
    assert (kept / "stderr").exists()


def test_what_a_link_points_to_stays(place: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    target = make(tmp_path_factory.mktemp("other") / "folder", 99)
    (place / NAME).symlink_to(target, target_is_directory=True)
    os.utime(place / NAME, (0, 0), follow_symlinks=False)
    spawn.private_folder()
    assert (target / "stderr").exists()


def test_a_living_child_touches_its_folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(place / NAME, 8)
    reading, writing = os.pipe()
    left: list[Path] = []

    def stop(given: Path) -> None:
        left.append(given)

    def touched(path: Path) -> None:
        found.append(path)
        os.close(writing)  # the parent is gone: the loop ends

    found: list[Path] = []
    monkeypatch.setattr(child, "TOUCHED", 0.0)
    monkeypatch.setattr(child, "_leave", stop)
    monkeypatch.setattr(os, "utime", touched)
    child._outlive(reading, folder)
    os.close(reading)
    assert (found, left) == ([folder], [folder])
