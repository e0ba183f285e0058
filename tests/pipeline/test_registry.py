from __future__ import annotations

import logging
import types
from dataclasses import dataclass
from typing import ClassVar

import pytest

from onnxslim.errors import PassError, UnknownPassError
from onnxslim.pipeline import Pass, register
from onnxslim.pipeline.registry import all_passes, get_pass, pass_in
from tests.toys import ConvertOptions, EliminateDoubleNeg, install


@pytest.mark.parametrize("name", ["convert-options", "convert_options", "ConvertOptions"])
def test_a_plugin_is_found_by_any_spelling(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, convert_options=ConvertOptions)
    assert get_pass(name) is ConvertOptions


def test_plugins_come_with_all_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, b=ConvertOptions, a=EliminateDoubleNeg)
    assert list(all_passes())[-2:] == [EliminateDoubleNeg, ConvertOptions]


@pytest.mark.parametrize(
    "loaded", [ImportError("no module named libmagic"), types, 3, str, Pass], ids=str
)
def test_a_broken_plugin_is_named_and_passed_over(
    loaded: object, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(monkeypatch, broken=loaded, fine=ConvertOptions)
    with pytest.raises(UnknownPassError, match=r"^plug-in pass 'broken' [^\n]*$"):
        get_pass("broken")
    with caplog.at_level(logging.WARNING):
        assert ConvertOptions in list(all_passes())
    assert "'broken'" in caplog.text


def test_a_module_without_a_pass_is_refused() -> None:
    with pytest.raises(UnknownPassError, match="defines no class marked with @register"):
        pass_in(types.ModuleType("empty"))


def test_register_wants_a_frozen_dataclass() -> None:
    class FoldThings(ConvertOptions):
        name: ClassVar[str] = "fold-things"

    assert register(FoldThings) is FoldThings  # frozen by inheritance

    @dataclass
    class FoldLoose:
        name: ClassVar[str] = "fold-loose"

    with pytest.raises(PassError, match="is no frozen dataclass"):
        register(FoldLoose)  # type: ignore[type-var]


def test_register_wants_class_and_name_to_agree() -> None:
    @dataclass(frozen=True)
    class FoldThings(ConvertOptions):
        name: ClassVar[str] = "fold-stuff"

    with pytest.raises(PassError, match="is named 'fold-stuff'"):
        register(FoldThings)


def test_passes_are_values() -> None:
    assert ConvertOptions(count=2) == ConvertOptions(count=2) != ConvertOptions()
    assert hash(ConvertOptions(count=2)) == hash(ConvertOptions(count=2))
    assert ConvertOptions.summary() == "Do nothing, with an option of every kind."
    assert ConvertOptions(count=2).options()["count"] == 2
