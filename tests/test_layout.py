"""The layout of the project: direction of imports, names, sizes, and what no file may do.

Each rule is a function from a parsed file to its complaints. It is run over the whole tree, and on
one small file that breaks it, so that a rule that finds nothing is known to be able to.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Lowest first. A module imports from strictly lower rows, and from its own unit.
ROWS = (
    ("errors", "demo", "_checkout", "_lazy_sympy", "_lazy_modules", "_lazy_dataclasses"),
    ("graph",),
    ("runtime",),
    ("analysis",),
    ("verify",),
    ("pipeline",),
    ("report",),
    ("api",),
    ("fleet",),
    ("docs", "testing"),
    ("cli",),
)
RANK = {unit: rank for rank, row in enumerate(ROWS) for unit in row}
RANK["__init__"] = RANK["docs"]  # gives the API away, lazily
RANK["__main__"] = RANK["cli"] + 1

# The only files that may catch Exception: manager, worker loop, plug-in loader, batch.
BROAD_EXCEPT = re.compile(
    r"onnxslim/(pipeline/(manager|registry)\.py|runtime/child\.py|fleet(/\w+)?\.py)"
)
# The only files that may say "onnxslim.passes": the registry and the finder for odd checkouts.
NAMES_PASSES = re.compile(r"onnxslim/(pipeline/registry|_checkout)\.py")
PASSES_PACKAGE = "onnxslim" + ".passes"

CORE_LINES, PASS_LINES, FUNCTION_LINES = 400, 250, 50


@dataclass(frozen=True)
class Source:
    """A Python file, by its path from the root of the project."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @property
    def is_pass_folder(self) -> bool:
        return self.path.startswith("passes/")

    @property
    def unit(self) -> str:
        return self.path.split("/")[1].removesuffix(".py")

    @property
    def stem(self) -> str:
        return Path(self.path).stem


Rule = Callable[[Source], Iterator[str]]


def sources() -> list[Source]:
    """Every Python file of the package and of passes/, the symlink left out."""
    files = sorted(p for folder in ("onnxslim", "passes") for p in (ROOT / folder).rglob("*.py"))
    named = [(p.relative_to(ROOT).as_posix(), p) for p in files]
    return [
        Source(name, p.read_text(encoding="utf-8"))
        for name, p in named
        if not name.startswith("onnxslim/passes/")
    ]


def imported(source: Source) -> Iterator[tuple[int, str]]:
    """Yield line and absolute dotted name of everything imported, function bodies included."""
    package = source.path.replace("passes/", "onnxslim/passes/", source.is_pass_folder)
    parents = package.split("/")[:-1]
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = parents[: len(parents) - node.level + 1] if node.level else []
            stem = ".".join([*base, *filter(None, [node.module])])
            yield from ((node.lineno, f"{stem}.{alias.name}") for alias in node.names)


def imports_point_down(source: Source) -> Iterator[str]:
    """No import from the same row or a higher one."""
    own = RANK["pipeline"] + 1 if source.is_pass_folder else RANK.get(source.unit)
    if own is None:
        yield "a unit without a row: add it to ROWS"
        return
    for line, name in imported(source):
        parts = name.split(".")
        if parts[0] != "onnxslim" or len(parts) < 2 or parts[1] in (source.unit, "passes"):
            continue
        rank = RANK.get(parts[1], 0 if parts[1].startswith("__") else None)
        if rank is None:
            yield f"line {line}: {name} is no known unit"
        elif rank >= own:
            yield f"line {line}: {name} does not lie below"


def passes_stay_unimported(source: Source) -> Iterator[str]:
    """The core never imports passes/, and a pass never another pass."""
    for line, name in imported(source):
        if name.split(".")[0] == "passes":
            yield f"line {line}: the folder passes/ is imported as {PASSES_PACKAGE}"
        elif f"{name}.".startswith(f"{PASSES_PACKAGE}."):
            module = name.removeprefix(PASSES_PACKAGE).strip(".").split(".")[0]
            if not source.is_pass_folder or not module.startswith("_"):
                yield f"line {line}: imports {name}"
    if source.is_pass_folder or NAMES_PASSES.fullmatch(source.path):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Constant) and str(node.value).startswith(PASSES_PACKAGE):
            yield f"line {node.lineno}: the registry is the one place that holds this name"


def one_name_four_spellings(source: Source) -> Iterator[str]:
    """File, class, name and test file of a pass are one name."""
    if not source.is_pass_folder or source.stem.startswith("_"):
        return
    plain = source.stem.replace("_", "")
    classes = [node for node in source.tree.body if _is_registered(node)]
    if [node.name.lower() for node in classes if isinstance(node, ast.ClassDef)] != [plain]:
        yield f"expected exactly one registered class, named like {source.stem}"
    for node in classes:
        names = [
            item.value.value
            for item in ast.walk(node)
            if isinstance(item, ast.AnnAssign)
            and isinstance(item.target, ast.Name)
            and item.target.id == "name"
            and isinstance(item.value, ast.Constant)
        ]
        if names != [source.stem.replace("_", "-")]:
            yield f"name is {names}, not {source.stem.replace('_', '-')}"
    if not (ROOT / "tests" / "passes" / f"test_{source.stem}.py").is_file():
        yield f"tests/passes/test_{source.stem}.py is missing"


def _is_registered(node: ast.stmt) -> bool:
    return isinstance(node, ast.ClassDef) and any(
        ast.unparse(d).split("(")[0] == "register" for d in node.decorator_list
    )


def files_stay_small(source: Source) -> Iterator[str]:
    """A core module has at most 400 lines, a pass 250."""
    lines = len(source.text.splitlines())
    limit = PASS_LINES if source.is_pass_folder else CORE_LINES
    if lines > limit:
        yield f"{lines} lines, at most {limit}"


def functions_stay_short(source: Source) -> Iterator[str]:
    """The body of a function has at most 50 lines; signature and docstring do not count."""
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
        lines = (node.end_lineno or node.lineno) - body[0].lineno + 1 if body else 0
        if lines > FUNCTION_LINES:
            yield f"line {node.lineno}: {node.name} has {lines} lines, at most {FUNCTION_LINES}"


def only_the_cli_prints(source: Source) -> Iterator[str]:
    """``print`` stands in onnxslim/cli only."""
    if source.path.startswith("onnxslim/cli/"):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
            yield f"line {node.lineno}: print"


def no_broad_except(source: Source) -> Iterator[str]:
    """``except Exception`` hides bugs; four places may, and record it. Cleaning up and re-raising
    hides nothing.
    """
    if BROAD_EXCEPT.fullmatch(source.path):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler) and ast.unparse(node.body[-1]) != "raise":
            caught = "" if node.type is None else ast.unparse(node.type)
            if not caught or re.search(r"\b(Base)?Exception\b", caught):
                yield f"line {node.lineno}: except {caught}".rstrip()


def modules_say_what_they_are(source: Source) -> Iterator[str]:
    """Every module starts with a docstring, and annotations are never evaluated."""
    tree = source.tree
    if not ast.get_docstring(tree):
        yield "no docstring"
    if len(tree.body) > 1 and "from __future__ import annotations" not in source.text:
        yield "from __future__ import annotations is missing"


def light_modules_stay_light(source: Source) -> Iterator[str]:
    """What every start imports loads no heavy package."""
    if source.path not in ("onnxslim/__init__.py", "onnxslim/errors.py", "onnxslim/_checkout.py"):
        return
    heavy = {"onnx", "onnx_ir", "onnxruntime", "networkx", "jinja2", "numpy", "pydantic", "rich"}
    for node in source.tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for line, name in imported(Source(source.path, ast.unparse(node))):
                if name.split(".")[0] in heavy:
                    yield f"line {node.lineno + line - 1}: {name} at module level"


BROKEN: dict[Rule, Source] = {
    imports_point_down: Source("onnxslim/graph/a.py", "def f():\n    from ..runtime import worker"),
    passes_stay_unimported: Source("passes/fold_a.py", "from .fold_b import helper"),
    one_name_four_spellings: Source("passes/fold_a.py", "@register\nclass FoldB(Pass):\n  pass"),
    files_stay_small: Source("passes/fold_a.py", "x = 1\n" * 251),
    functions_stay_short: Source("onnxslim/api.py", "def f():\n" + "    g()\n" * 51),
    only_the_cli_prints: Source("onnxslim/graph/a.py", "print(1)"),
    no_broad_except: Source("onnxslim/api.py", "try:\n  f()\nexcept (OSError, Exception):\n  g()"),
    modules_say_what_they_are: Source("onnxslim/api.py", '"""Docstring."""\nx = 1'),
    light_modules_stay_light: Source("onnxslim/errors.py", "from onnx import helper"),
}


@pytest.mark.parametrize("rule", BROKEN, ids=lambda rule: rule.__name__)
def test_every_file_keeps_the_rule(rule: Rule) -> None:
    assert [f"{s.path}: {complaint}" for s in sources() for complaint in rule(s)] == []


@pytest.mark.parametrize("rule", BROKEN, ids=lambda rule: rule.__name__)
def test_the_rule_can_be_broken(rule: Rule) -> None:
    assert list(rule(BROKEN[rule]))


@pytest.mark.parametrize(
    "text",
    [
        f"import {PASSES_PACKAGE}",
        f"from {PASSES_PACKAGE} import fold_a",
        "from onnxslim import passes",
        "from ..passes.fold_a import FoldA",
        "import passes.fold_a",
        f"import importlib\nimportlib.import_module('{PASSES_PACKAGE}.fold_a')",
    ],
)
def test_every_way_of_importing_a_pass_is_seen(text: str) -> None:
    assert list(passes_stay_unimported(Source("onnxslim/pipeline/manager.py", text)))


def test_a_shared_helper_is_no_pass() -> None:
    shared = Source("passes/fold_a.py", "from ._conv import scale")
    assert list(passes_stay_unimported(shared)) == []


def test_the_tree_is_found() -> None:
    found = {s.path for s in sources()}
    assert {"onnxslim/__init__.py", "onnxslim/errors.py", "passes/__init__.py"} <= found


def test_every_folder_with_python_files_is_a_package() -> None:
    folders = {Path(s.path).parent for s in sources()}
    assert [f.as_posix() for f in sorted(folders) if not (ROOT / f / "__init__.py").is_file()] == []


def test_passes_is_a_symlink() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout: an sdist has no symlink and needs none")
    link = ROOT / "onnxslim" / "passes"
    assert link.is_symlink()
    assert link.readlink().as_posix() == "../passes"


def test_every_pass_test_belongs_to_a_pass() -> None:
    """A test file without its pass is a rename that was not finished."""
    tests = sorted((ROOT / "tests" / "passes").glob("test_*.py"))
    stems = [path.stem.removeprefix("test_") for path in tests]
    files = {path.stem.lstrip("_") for path in (ROOT / "passes").glob("*.py")}
    assert [stem for stem in stems if stem not in files] == []
