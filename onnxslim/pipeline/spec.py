"""Passes as text: ``fold-constants{max_bytes=1024,ops=["Add"]}`` and back.

The part in braces is a TOML inline table; a bare word is taken as a string.
"""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
import types
import typing
from typing import Any

from onnxslim.errors import UsageError
from onnxslim.pipeline.base import Pass
from onnxslim.pipeline.registry import get_pass

_SPEC = re.compile(r"^\s*([A-Za-z][\w-]*)\s*(?:\{(.*)\})?\s*$", re.S)
_BARE = re.compile(r""""(?:[^"\\]|\\.)*"|'[^']*'|=\s*(?P<word>[A-Za-z_][\w./-]*)\s*(?=[,}]|$)""")
_TOML_WORDS = ("true", "false", "inf", "nan")


def parse_pass(text: str) -> Pass:
    """The pass that a text names.

    Raises:
        UsageError: For text that is none, unknown options or values of the wrong type.
        UnknownPassError: For a name that is none.
    """
    match = _SPEC.match(text)
    if match is None:
        raise UsageError(f"{text!r} is no pass: expected name or name{{option=value,...}}")
    name, body = match.groups()
    return make_pass(get_pass(name), _table(text, body) if body else {})


def _table(text: str, body: str) -> dict[str, Any]:
    def quote(match: re.Match[str]) -> str:
        word = match["word"]
        return match[0] if word is None or word in _TOML_WORDS else f'="{word}"'

    quoted = _BARE.sub(quote, body)
    try:
        return tomllib.loads(f"x = {{{quoted}}}")["x"]  # type: ignore[no-any-return]
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"cannot read the options of {text!r}: {error}") from error


def make_pass(cls: type[Pass], options: dict[str, Any]) -> Pass:
    """An instance of a pass class with options checked against its fields.

    Raises:
        UsageError: For an unknown option or a value of the wrong type.
    """
    fields: set[str] = set()
    if dataclasses.is_dataclass(cls):
        fields = {f.name for f in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls) if options else {}
    values = {}
    for key, value in options.items():
        if key not in fields:
            known = ", ".join(sorted(fields)) or "none"
            raise UsageError(f"pass {cls.name} has no option {key!r}; its options: {known}")
        values[key] = _convert(cls.name, key, value, hints[key])
    try:
        return cls(**values)
    except (TypeError, ValueError) as error:
        raise UsageError(f"pass {cls.name} does not take these options: {error}") from error


def _convert(name: str, key: str, value: Any, hint: Any) -> Any:
    """A TOML value as the type of a field (int to float, list to tuple), or UsageError."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        choices = [t for t in typing.get_args(hint) if t is not type(None)]
        return _convert(name, key, value, choices[0])
    if origin is tuple and isinstance(value, list):
        return tuple(_convert(name, key, v, typing.get_args(hint)[0]) for v in value)
    if origin is tuple:
        raise UsageError(f"option {key} of pass {name} is {value!r}, expected a list")
    if hint is float and type(value) is int:
        return float(value)
    expected = str if origin is typing.Literal else hint
    if expected in (int, float, str, bool) and type(value) is not expected:
        kind = getattr(expected, "__name__", expected)
        raise UsageError(f"option {key} of pass {name} is {value!r}, expected {kind}")
    if origin is typing.Literal and value not in typing.get_args(hint):
        allowed = ", ".join(map(str, typing.get_args(hint)))
        raise UsageError(f"option {key} of pass {name} is {value!r}, expected one of {allowed}")
    return value


def format_pass(item: Pass) -> str:
    """Text of a pass; options at their default are left out. ``parse_pass`` reverses it."""
    if not dataclasses.is_dataclass(item):
        return item.name
    changed = {
        f.name: getattr(item, f.name)
        for f in dataclasses.fields(item)
        if getattr(item, f.name) != f.default
    }
    body = ",".join(f"{key}={format_value(value)}" for key, value in changed.items())
    return f"{item.name}{{{body}}}" if body else item.name


def format_value(value: Any) -> str:
    """A Python value as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(format_value(v) for v in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
