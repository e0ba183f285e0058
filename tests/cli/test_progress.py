"""A bar over what is counted, with the time left."""

from __future__ import annotations

import io

from rich.console import Console

from onnxslim.cli.console import Told, _bar


def shown() -> tuple[Console, Told, list[float]]:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    bar, now = _bar(console), [0.0]
    bar.get_time = lambda: now[0]
    return console, Told("prune", bar), now


def drawn(told: Told) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(told._shown.get_renderable())
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue().strip()


def test_layers_fill_a_bar_and_the_time_left_is_told() -> None:
    _, told, now = shown()
    told("reading")
    assert "prune: reading" in drawn(told)
    for layer in range(1, 6):
        now[0] += 10.0
        told(f"recovering: layer {layer} of 10")
    assert "prune: recovering: layer 5 of 10" in drawn(told)
    assert "0:01:00" in drawn(told)  # six layers of ten seconds
    (task,) = told._shown.tasks
    assert (task.completed, task.total) == (4, 10)


def test_another_count_starts_anew() -> None:
    _, told, now = shown()
    for text in ("recovering: layer 9 of 10", "recovering: epoch 1 of 40", "verifying"):
        now[0] += 1.0
        told(text)
    (task,) = told._shown.tasks
    assert (task.completed, task.total) == (0, None)
    assert "verifying" in drawn(told)


def test_markup_and_escapes_in_names_are_text() -> None:
    _, told, _ = shown()
    told("fold [bold]\x1b[31m/x")
    assert "prune: fold [bold]?[31m/x" in drawn(told)
