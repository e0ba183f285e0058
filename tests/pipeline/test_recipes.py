from __future__ import annotations

from pathlib import Path

import pytest

from onnxslim.errors import UnknownPassError, UsageError
from onnxslim.pipeline import recipes
from onnxslim.pipeline.manager import without
from onnxslim.pipeline.recipes import Recipe, Repeat, format_recipe, get_recipe
from tests.toys import ConvertOptions, EliminateDoubleNeg, install

RECIPES = [
    Recipe("none", ()),
    Recipe("one", (ConvertOptions(count=3, items=("a", "b")),)),
    Recipe(
        'odd "name" \\ \n',
        (
            ConvertOptions(text='a"b\\c=d,e', limit=4),
            Repeat((EliminateDoubleNeg(), ConvertOptions(ratio=0.1, kind="right")), 7),
            EliminateDoubleNeg(),
        ),
    ),
]


@pytest.fixture(autouse=True)
def _plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, convert_options=ConvertOptions, eliminate_double_neg=EliminateDoubleNeg)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.name.split()[0])
def test_a_recipe_survives_its_file(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(format_recipe(recipe), encoding="utf-8")
    found = get_recipe(path)
    assert found == recipe
    assert format_recipe(found) == format_recipe(recipe)


def test_a_file_without_a_name_is_named_after_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[[steps]]\nuse = "convert-options"\ncount = 2\n', encoding="utf-8")
    assert get_recipe(str(path)) == Recipe("mine", (ConvertOptions(count=2),))


@pytest.mark.parametrize(
    ("text", "error", "what"),
    [
        ("steps = 3", UsageError, "is no recipe"),
        ("", UsageError, "is no recipe"),
        ("name = ", UsageError, "is no TOML"),
        ("steps = []\nother = 1", UsageError, "is no recipe"),
        ("[[steps]]\ncount = 2", UsageError, "neither `use` nor `repeat`"),
        ("steps = [3]", UsageError, "neither `use` nor `repeat`"),
        ('[[steps]]\nuse = "nope"', UnknownPassError, "there is no pass 'nope'"),
        ('[[steps]]\nuse = "convert-options"\nsize = 2', UsageError, "no option 'size'"),
        ('[[steps]]\nrepeat = ["convert-options"]\nlimit = "x"', UsageError, "limit"),
        ('[[steps]]\nrepeat = ["convert-options"]\nlimit = 0', UsageError, "limit"),
        ('[[steps]]\nrepeat = ["convert-options"]\nlimits = 2', UsageError, "limits"),
        ("[[steps]]\nrepeat = [3]", UsageError, "is no pass"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(
    text: str, error: type[UsageError], what: str, tmp_path: Path
) -> None:
    path = tmp_path / "r.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(error, match=r"^[^\n]*$") as caught:
        get_recipe(path)
    assert what in str(caught.value)


def test_a_missing_file_and_an_unknown_name() -> None:
    with pytest.raises(UsageError, match=r"cannot read recipe nowhere\.toml"):
        get_recipe("nowhere.toml")
    with pytest.raises(UsageError, match="expected one of none, minimal, default, aggressive"):
        get_recipe("fastest")


def test_without_leaves_passes_out_everywhere() -> None:
    found = without(RECIPES[2], ["convert-options"])
    assert [p.name for p in found.passes()] == ["eliminate-double-neg"]
    assert len(found.steps) == 2


def test_named_recipes_consist_of_existing_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for name in recipes.NAMED:
        recipe = get_recipe(name)
        assert recipe.name == name
        assert len(recipe.passes()) == len(set(recipe.passes()))


def test_minimal_holds_only_passes_that_cannot_change_a_bit() -> None:
    for item in get_recipe("minimal").passes():
        exact = item.numerics.value == "exact" or item.options().get("keep_zero_sign") is True
        assert exact, item.name
