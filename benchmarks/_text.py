"""Pictures of printed text: strips of one line, pages of several, turned as scanners turn them."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Array = np.ndarray[Any, Any]

_WORDS = (
    "the of and to in is that for it as was with be by on not he his but at are this have from "
    "or had an they which one you were all her she there would their we him been has when who "
    "will no more if out so up said what its about than into them can only other time new some "
    "could these two may first then do any like my now over such our man me even most made after "
    "also did many off before must well back through years much where your way down should"
).split()


def _phrase(rng: np.random.Generator) -> str:
    if rng.random() < 0.2:
        return str(rng.integers(10, 99_999))
    text = " ".join(rng.choice(_WORDS, 2))
    chance = rng.random()
    return text.upper() if chance < 0.3 else text.title() if chance < 0.6 else text


def _ink(rng: np.random.Generator, height: int, width: int) -> Array:
    """(height, width) in [0, 1], upright: one line where the picture is a strip."""
    picture = Image.new("L", (width, height), 0)
    pen = ImageDraw.Draw(picture)
    strip = width >= 2 * height
    low, high = (0.55, 0.85) if strip else (0.07, 0.16)
    size = int(height * rng.uniform(low, high))
    font = ImageFont.load_default(size)
    y = int(rng.integers(0, max(1, height - size))) if strip else int(rng.integers(2, size))
    while y <= height - size:
        x = int(rng.integers(2, max(3, height // 4)))
        while x < width - 1.5 * size:
            text = _phrase(rng)
            pen.text((x, y), text, fill=255, font=font)
            x += int(pen.textlength(text + " ", font=font))
        y += height if strip else int(size * rng.uniform(1.2, 1.8))
    return np.asarray(picture, np.float64) / 255


def compose(count: int, channels: int, height: int, width: int) -> Array:
    """Text on coloured paper with uneven light; strips upright or upside down, squares turned.

    Args:
        count: How many pictures.
        channels: 1 or 3.
        height: Of a picture.
        width: Of a picture.

    Returns:
        (count, channels, height, width) float32 in [-1, 1].
    """
    rng = np.random.default_rng(0)
    images = np.empty((count, channels, height, width), np.float32)
    for image in images:
        turns = int(rng.integers(4)) if height == width else 2 * int(rng.integers(2))
        ink = np.rot90(_ink(rng, height, width), turns)
        light = np.linspace(*rng.uniform(0.6, 1.0, 2), width) * rng.uniform(0.7, 1.0)
        paper, pen = rng.uniform(0.6, 1.0, channels), rng.uniform(0.0, 0.4, channels)
        mixed = paper[:, None, None] * (1 - ink) + pen[:, None, None] * ink
        noisy = mixed * light + 0.02 * rng.standard_normal((channels, height, width))
        image[:] = (np.clip(noisy, 0, 1) - 0.5) / 0.5
    return images
