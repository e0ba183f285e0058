"""What a user installs: the wheel built from the sdist, in an environment of its own.

To need no network, the build uses the tools of this environment (``--no-isolation``), and the new
environment sees the dependencies of this one through a ``.pth`` file. Lines of a ``.pth`` only
extend the search path: an editable install of this project is not activated by it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import onnxslim

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = PROJECT["tool"]["setuptools"]
TOP_LEVEL = {"onnxslim", f"onnxslim_toolkit-{onnxslim.__version__}.dist-info"}
pytestmark = pytest.mark.slow
JUNK = shutil.ignore_patterns("__pycache__", ".*_cache", ".*.tmp")


def run(*command: str | Path, cwd: str | Path, **env: str) -> str:
    """Run a command that must succeed; return its standard output."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PIP_"))}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=clean | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"} | env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def copy_checkout(target: Path) -> Path:
    """Copy what git holds, so that a build leaves nothing in the real folder."""
    for name in ("onnxslim", "passes", "tests", "samples"):
        shutil.copytree(ROOT / name, target / name, symlinks=True, ignore=JUNK)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy2(path, target / path.name)
    return target


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    checkout = copy_checkout(tmp_path_factory.mktemp("checkout"))
    run(sys.executable, "-m", "build", "--sdist", "--no-isolation", cwd=checkout)
    (archive,) = (checkout / "dist").iterdir()
    return archive


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", cwd=source)
    (built,) = (source / "dist").iterdir()
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment with the wheel in it; returns its folder."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = scripts(folder) / "python"
    install = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet")
    run(*install, "--no-index", "--no-deps", wheel, cwd=folder)
    here = "\n".join({sysconfig.get_path("purelib"): None, sysconfig.get_path("platlib"): None})
    (site_packages(folder) / "dependencies.pth").write_text(here + "\n", encoding="utf-8")
    return folder


def scripts(environment: Path) -> Path:
    return environment / ("Scripts" if os.name == "nt" else "bin")


def site_packages(environment: Path) -> Path:
    base = {"base": str(environment), "platbase": str(environment)}
    return Path(sysconfig.get_path("purelib", "venv", vars=base))


def test_the_package_list_is_the_tree() -> None:
    folders = {path.parent for path in (ROOT / "onnxslim").rglob("*.py")}
    folders |= {path.parent for path in (ROOT / "onnxslim" / "passes").rglob("*.py")}
    found = {folder.relative_to(ROOT).as_posix().replace("/", ".") for folder in folders}
    assert sorted(SETUPTOOLS["packages"]) == sorted(found)


def test_the_wheel_holds_the_package_and_nothing_beside_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert {name.split("/")[0] for name in archive.namelist()} == TOP_LEVEL


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    folders = {ROOT / "onnxslim": "onnxslim", ROOT / "passes": "onnxslim/passes"}
    expected = {
        f"{name}/{path.relative_to(folder).as_posix()}"
        for folder, name in folders.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert sorted(name for name in names if name.startswith("onnxslim/")) == sorted(expected)


def test_only_our_packages_land_in_site_packages(environment: Path) -> None:
    found = {path.name for path in site_packages(environment).iterdir()}
    assert found - {"dependencies.pth"} == TOP_LEVEL


def test_the_installed_command_tells_its_version(environment: Path) -> None:
    text = run(scripts(environment) / "onnxslim", "--version", cwd="/")
    assert onnxslim.__version__ in text


def test_the_installed_command_lists_passes(environment: Path) -> None:
    text = run(scripts(environment) / "onnxslim", "passes", cwd="/")
    public = [p.stem for p in (ROOT / "passes").glob("*.py") if not p.stem.startswith("_")]
    assert public
    assert [stem for stem in public if stem.replace("_", "-") not in text] == []


def test_the_installed_package_is_the_one_that_runs(environment: Path) -> None:
    code = "import onnxslim, onnxslim.passes as p; print(onnxslim.__file__, p.__file__, sep='\\n')"
    files = run(scripts(environment) / "python", "-c", code, cwd="/").splitlines()
    inside = site_packages(environment).resolve()
    assert [Path(f).resolve().is_relative_to(inside) for f in files] == [True, True]


def test_a_checkout_without_symlinks_works(tmp_path: Path) -> None:
    """Git writes a text file in place of the link where symlinks are switched off."""
    link = copy_checkout(tmp_path) / "onnxslim" / "passes"
    link.unlink()
    link.write_text("../passes", encoding="utf-8")
    code = "import onnxslim.passes; print(onnxslim.passes.__file__)"
    # -S: without the finder that an editable install of the real folder has put into this one
    found = run(sys.executable, "-S", "-c", code, cwd=tmp_path, PYTHONPATH=str(tmp_path)).strip()
    assert Path(found) == tmp_path / "passes" / "__init__.py"


def test_no_runtime_is_a_base_dependency() -> None:
    """onnxruntime and onnxruntime-gpu overwrite each other: the user chooses one extra."""
    base = PROJECT["project"]["dependencies"]
    assert [name for name in base if name.startswith("onnxruntime")] == []
    extras = PROJECT["project"]["optional-dependencies"]
    runtime = [[d for d in extras[e] if d.startswith("onnxruntime")] for e in ("cpu", "gpu")]
    assert [[name.split(">")[0] for name in names] for names in runtime] == [
        ["onnxruntime"],
        ["onnxruntime-gpu"],
    ]


def test_the_sdist_can_be_tested_and_has_no_second_copy_of_the_passes(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "CHANGELOG.md", "Makefile", "passes/__init__.py"} <= names
    assert {"tests/test_packaging.py", "samples/optimize_api.py"} <= names
    assert [name for name in names if name.startswith("onnxslim/passes")] == []


def test_every_extra_that_a_message_names_exists() -> None:
    root = Path(__file__).parents[1]
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    named = {
        extra
        for path in (root / "onnxslim").rglob("*.py")
        for extra in re.findall(r"onnxslim-toolkit\[(\w+)\]", path.read_text())
    }
    assert {"cpu", "gpu", "images"} <= named <= set(extras)
