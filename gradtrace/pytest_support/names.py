"""Tests as file names."""

from __future__ import annotations

import re
from hashlib import sha256

_LONGEST = 120
"""Characters that are kept of a name; file systems end at 255 bytes."""


def unique_file_name(nodeid: str) -> str:
    """A file name for a test anywhere in a project."""
    return f"{_readable(nodeid).strip('-')[-_LONGEST:]}-{_digest(nodeid)}"


def plain_file_name(name: str) -> str:
    """A file name for a test of one module, as short as can be: with a digest only where the characters that file names
    hold would not tell it from another, as those of `test[a/b]` and `test[a b]`."""
    readable = _readable(name)
    is_same = len(readable) <= _LONGEST and not re.search(r"[^\w.=:\[\]-]", name)
    return readable if is_same else f"{readable.strip('-')[-_LONGEST:]}-{_digest(name)}"


def _readable(text: str) -> str:
    return re.sub(r"[^\w.=-]+", "-", text)


def _digest(text: str) -> str:
    return sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
