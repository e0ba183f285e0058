from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.errors import UnknownPassError, UsageError
from onnxslim.pipeline.spec import format_pass, format_value, make_pass, parse_pass
from tests.toys import ConvertOptions, EliminateDoubleNeg, install


@pytest.fixture(autouse=True)
def _plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, convert_options=ConvertOptions, eliminate_double_neg=EliminateDoubleNeg)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("convert-options", ConvertOptions()),
        ("  ConvertOptions{ } ", ConvertOptions()),
        ("convert_options{count=3}", ConvertOptions(count=3)),
        ("convert-options{ratio=2}", ConvertOptions(ratio=2.0)),
        ("convert-options{ratio=inf}", ConvertOptions(ratio=math.inf)),
        ("convert-options{flag=true, kind=right}", ConvertOptions(flag=True, kind="right")),
        ('convert-options{kind="right"}', ConvertOptions(kind="right")),
        ("convert-options{text=a/b-c.d}", ConvertOptions(text="a/b-c.d")),
        ('convert-options{items=["a", "b,c"]}', ConvertOptions(items=("a", "b,c"))),
        ("convert-options{limit=4}", ConvertOptions(limit=4)),
        ('convert-options{text="x=y,z=true}"}', ConvertOptions(text="x=y,z=true}")),
    ],
)
def test_reads(text: str, expected: ConvertOptions) -> None:
    found = parse_pass(text)
    assert found == expected
    assert type(found.options()["ratio"]) is float


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "is no pass"),
        ("convert-options{", "is no pass"),
        ("convert-options}", "is no pass"),
        ("3", "is no pass"),
        ("convert-options{count=}", "cannot read the options"),
        ("convert-options{count=1,count=2}", "cannot read the options"),
        ("convert-options{size=3}", "has no option 'size'; its options: count, "),
        ("eliminate-double-neg{size=3}", "its options: none"),
        ("convert-options{count=3.5}", "expected int"),
        ("convert-options{count=true}", "expected int"),
        ("convert-options{flag=1}", "expected bool"),
        ("convert-options{text=1}", "expected str"),
        ("convert-options{kind=up}", "expected one of left, right"),
        ("convert-options{items=a}", "expected a list"),
        ("convert-options{items=[1]}", "expected str"),
        ("convert-options{limit=x}", "expected int"),
        ("convert-options{count=-1}", "count is negative"),
    ],
)
def test_refuses(text: str, what: str) -> None:
    with pytest.raises(UsageError, match=r"^[^\n]*$") as caught:
        parse_pass(text)
    assert what in str(caught.value)


def test_an_unknown_name_gets_a_hint() -> None:
    with pytest.raises(UnknownPassError, match="did you mean convert-options"):
        parse_pass("convert-option{count=1}")
    with pytest.raises(UnknownPassError, match="`onnxslim passes` lists them"):
        parse_pass("zzzzzz")


def test_defaults_are_left_out() -> None:
    assert format_pass(ConvertOptions()) == "convert-options"
    assert format_pass(ConvertOptions(count=2, kind="right")) == (
        'convert-options{count=2,kind="right"}'
    )


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(
    st.builds(
        ConvertOptions,
        count=st.integers(0, 2**63 - 1),
        ratio=st.floats(allow_nan=False),
        text=TEXT,
        flag=st.booleans(),
        kind=st.sampled_from(["left", "right"]),
        items=st.lists(TEXT, max_size=3).map(tuple),
        limit=st.none() | st.integers(-(2**63), 2**63 - 1),
    )
)
def test_every_value_survives_its_text(item: ConvertOptions) -> None:
    with pytest.MonkeyPatch.context() as patch:
        install(patch, convert_options=ConvertOptions)
        assert parse_pass(format_pass(item)) == item


def test_make_pass_takes_python_values() -> None:
    assert make_pass(ConvertOptions, {"items": ["a"], "limit": 1}) == ConvertOptions(
        items=("a",), limit=1
    )


def test_values_as_toml() -> None:
    assert format_value([True, 1, 0.5, 'a"b\n']) == '[true, 1, 0.5, "a\\"b\\n"]'
