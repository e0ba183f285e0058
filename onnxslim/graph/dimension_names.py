"""What exporters write in place of a dimension's name: two such dimensions need not be equal."""

from __future__ import annotations

import re

_NAMELESS = re.compile(r"[\W\d_]*|none|null|unk|unknown|dynamic|any", re.ASCII | re.IGNORECASE)


def is_nameless(text: str) -> bool:
    """True for ``?``, ``-1``, ``None`` and the like."""
    return _NAMELESS.fullmatch(text.strip()) is not None
