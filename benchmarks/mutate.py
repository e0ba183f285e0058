"""Mutation testing: which small faults in passes/ and onnxslim/analysis/ would no test notice?

Draws faults at random (seeded), puts one at a time into a copy of this checkout, and runs the tests
that execute the changed line, as a coverage file with contexts knows them (made as
CONTRIBUTING.md says)::

    .venv/bin/python benchmarks/mutate.py --coverage build/coverage --count 120 --seed 0

A mutant is *killed* by a failing test or by the time limit, and *alive* otherwise; one on a line
that no test executes is alive, too. Prints the survivors as differences. The tests of a mutant run
in three turns: those of the file that is named after the changed one, those of its area
(tests/passes, tests/analysis), then the others.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from itertools import chain
from pathlib import Path

import pytest
from _mutants import Mutant, mutants
from coverage import CoverageData

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("passes", "onnxslim/analysis")
MEMORY = 12 << 30
"""Bytes of address space of a test run: a fault may ask for any amount."""
LIBRARIES = (
    "hypothesis", "numpy", "onnx.reference", "onnx.shape_inference", "onnx_ir.passes.common",
    "onnxruntime",
)  # fmt: skip
"""Imported once, for all forks."""
SOUND = "tests/pipeline/test_spec.py::test_an_unknown_name_gets_a_hint"
"""A test that an untouched copy passes."""
PRELOADED = "ignore::pytest.PytestAssertRewriteWarning"
"""What pytest says of modules that were there before it."""
OK, NOTHING = int(pytest.ExitCode.OK), int(pytest.ExitCode.NO_TESTS_COLLECTED)
MOST, NEAR = 100, 600
"""Tests in the last turn, and in those of the changed file and its area; of more, some are run."""


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant.

    Attributes:
        mutant: The fault.
        state: ``killed``, ``time`` (killed by the limit), ``alive`` or ``uncovered``.
        tests: How many tests were run.
        seconds: Wall time.
    """

    mutant: Mutant
    state: str
    tests: int
    seconds: float

    @property
    def alive(self) -> bool:
        """Whether no test noticed."""
        return self.state in ("alive", "uncovered")


class Tree:
    """A copy of the checkout that may be damaged.

    Args:
        folder: Where it lies.
        limit: Seconds of one test run.
    """

    def __init__(self, folder: Path, limit: float) -> None:
        self.folder, self.limit = folder, limit
        names = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True)
        for name in filter(None, names.split("\0")):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).exists():
                shutil.copy2(ROOT / name, target, follow_symlinks=False)
        self._check()

    def _check(self) -> None:
        """The copy is what Python finds, in the tests too.

        Raises:
            SystemExit: It is not.
        """
        code = "import onnxslim, onnxslim.passes as p; print(onnxslim.__file__, p.__file__)"
        found = subprocess.check_output(
            [sys.executable, "-c", code], cwd=self.folder, env=self._environment(), text=True
        )
        if not all(Path(f).resolve().is_relative_to(self.folder) for f in found.split()):
            raise SystemExit(f"not the copy is imported: {found}")
        base = self.folder / "onnxslim/errors.py"
        source = base.read_bytes()
        base.write_bytes(source + b"\nraise RuntimeError\n")
        state = self.run([SOUND])
        base.write_bytes(source)
        if state != "killed" or self.run([SOUND]) != "alive":
            raise SystemExit("a broken copy passes its tests, or a whole one fails")

    def _environment(self) -> dict[str, str]:
        return os.environ | {
            "PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }  # fmt: skip

    def run(self, tests: Sequence[str]) -> str:
        """Run tests until one fails; the state of the mutant.

        In a fork of this process, which has imported all that is not damaged.
        """
        child = multiprocessing.get_context("fork").Process(
            target=_pytest, args=(self.folder, self._environment(), tests)
        )
        child.start()
        child.join(self.limit)
        if child.exitcode is None:
            os.killpg(child.pid or 0, signal.SIGKILL)
            child.join()
            return "time"
        return "killed" if child.exitcode not in (OK, NOTHING) else "alive"


class Selection:
    """A plug-in of pytest that keeps the tests of these names, and these only.

    Args:
        names: As a coverage file has them; some may be gone since.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out what was not asked for."""
        items[:] = [item for item in items if item.nodeid in self._names]


def _pytest(folder: Path, environment: Mapping[str, str], tests: Sequence[str]) -> None:
    """What the fork does: leads a group of processes, is silent, and runs tests."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with open(os.devnull, "wb") as nowhere:
        for stream in (1, 2):
            os.dup2(nowhere.fileno(), stream)
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:0] = [str(folder)]
    sys.dont_write_bytecode = True
    files = sorted({test.split("::")[0] for test in tests})
    options = ["-x", "-q", "-p", "no:cacheprovider", "-W", PRELOADED]
    there = [file for file in files if Path(file).exists()]
    os._exit(int(pytest.main([*options, *there], [Selection(tests)])) if there else NOTHING)


class Coverage:
    """Which tests execute a line.

    Args:
        file: Made with ``--cov-context=test`` in this checkout.
    """

    def __init__(self, file: Path) -> None:
        self._data = CoverageData(str(file))
        self._data.read()
        self._files = {self._relative(f): f for f in self._data.measured_files()}

    @staticmethod
    def _relative(name: str) -> str:
        path = name.removeprefix(str(ROOT) + "/")
        return path.replace("onnxslim/passes/", "passes/")

    def tests(self, mutant: Mutant, source: bytes) -> list[str]:
        """Names of the tests that execute the statement a mutant of a source is in, sorted."""
        name = self._files.get(mutant.path)
        if name is None:
            return []
        lines = self._data.contexts_by_lineno(name)
        within, statement = _place(mutant, source)
        if not within:  # it runs at import, in whatever test comes first: all that use the file
            return _tests(chain.from_iterable(lines.values()))
        found = (_tests(lines.get(line, ())) for line in (mutant.line, *statement))
        return next(filter(None, found), [])


def _tests(contexts: Iterable[str]) -> list[str]:
    return sorted({c.removesuffix("|run") for c in contexts if c.endswith("|run")})


def _place(mutant: Mutant, source: bytes) -> tuple[bool, range]:
    """Whether a mutant is inside a function, and the lines of the innermost statement around it."""
    within, first, last = False, 0, sys.maxsize
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.stmt) or node.end_lineno is None:
            continue
        if node.lineno <= mutant.line <= node.end_lineno:
            if node.end_lineno - node.lineno <= last - first:
                first, last = node.lineno, node.end_lineno
            within |= isinstance(node, ast.FunctionDef) and node.lineno < mutant.line
    return within, range(first, last + 1)


def turns(mutant: Mutant, tests: Sequence[str], rng: random.Random) -> list[list[str]]:
    """The tests of the file named after the changed one, of its area, then the others."""
    stem = Path(mutant.path).stem.lstrip("_")
    area = f"tests/{mutant.path.removeprefix('onnxslim/').split('/')[0]}/"
    parts: tuple[list[str], ...] = ([], [], [])
    for test in tests:
        own = f"test_{stem}" in test.split("::")[0]
        parts[0 if own else 1 if test.startswith(area) else 2].append(test)
    return [
        sorted(rng.sample(part, most)) if len(part) > most else part
        for part, most in zip(parts, (NEAR, NEAR, MOST), strict=True)
        if part
    ]


def judge(tree: Tree, coverage: Coverage, mutant: Mutant, rng: random.Random) -> Verdict:
    """Put a fault into the copy, run its tests, take it out again."""
    start = time.monotonic()
    path = tree.folder / mutant.path
    source = path.read_bytes()
    tests = coverage.tests(mutant, source)
    state, count = "uncovered", 0
    try:
        path.write_bytes(mutant.apply(source))
        for part in turns(mutant, tests, rng):
            state = tree.run(part)
            count += len(part)
            if state != "alive":
                break
    finally:
        path.write_bytes(source)
    return Verdict(mutant, state, count, round(time.monotonic() - start, 1))


def difference(mutant: Mutant, source: bytes) -> str:
    """A mutant as the lines that it changes."""
    old, new = (s.decode().splitlines() for s in (source, mutant.apply(source)))
    lines = difflib.unified_diff(old, new, lineterm="", n=0)
    return "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))


def draw(count: int, seed: int, only: str, since: float) -> list[Mutant]:
    """A seeded choice of all faults of the files whose path holds ``only``.

    Files changed after ``since`` are left out: the coverage does not know their lines.
    """
    every: list[Mutant] = []
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if only not in name:
                continue
            if path.stat().st_mtime > since:
                print(f"left out, changed since the coverage was made: {name}")
            else:
                every += mutants(name, path.read_bytes())
    return random.Random(seed).sample(every, min(count, len(every)))


def earlier(path: Path | None) -> dict[Mutant, Verdict]:
    """What an interrupted run has found."""
    if path is None or not path.exists():
        return {}
    found = [Verdict(**v | {"mutant": Mutant(**v["mutant"])}) for v in json.loads(path.read_text())]
    return {verdict.mutant: verdict for verdict in found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--coverage", type=Path, required=True, help="made with contexts")
    parser.add_argument("--count", type=int, default=120, help="mutants")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="part of the path of the files")
    parser.add_argument("--limit", type=float, default=180.0, help="seconds of one test run")
    parser.add_argument("--json", type=Path, help="write the verdicts there, and go on")
    options = parser.parse_args()
    for name in LIBRARIES:
        import_module(name)
    coverage, rng = Coverage(options.coverage), random.Random(options.seed)
    verdicts: list[Verdict] = []
    known, made = earlier(options.json), options.coverage.stat().st_mtime
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = Tree(Path(folder).resolve(), options.limit)
        for mutant in draw(options.count, options.seed, options.only, made):
            verdict = known.get(mutant) or judge(tree, coverage, mutant, rng)
            verdicts.append(verdict)
            where = f"{mutant.path}:{mutant.line} {mutant.kind}"
            print(f"{verdict.state:9} {verdict.tests:4} tests {verdict.seconds:6} s  {where}")
            if verdict.alive:
                print(difference(mutant, (tree.folder / mutant.path).read_bytes()), flush=True)
            if options.json:
                options.json.write_text(json.dumps([asdict(v) for v in verdicts], indent=1) + "\n")
    states = Counter(v.state for v in verdicts)
    alive = sum(v.alive for v in verdicts)
    print(f"{len(verdicts)} mutants: {dict(states)}; {100 * alive / len(verdicts):.1f} % alive")


if __name__ == "__main__":
    main()
