"""Text of any origin inside DOT, HTML-like labels and Mermaid."""

from __future__ import annotations

import re
from html import escape

_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")

BACKSLASH = "\u2216"
r"""Stands for a backslash in DOT (SET MINUS). DOT expands "\N" and the like in labels and tooltips, in passes whose
number differs between programs and places, so that no way of escaping is right everywhere."""


def plain(text: str, limit: int | None = None) -> str:
    """One line of printable text; the middle is left out where it is longer than `limit`."""
    text = _CONTROL.sub(lambda match: " " if match[0] in "\t\n\r" else "\ufffd", text)
    if limit is None or len(text) <= limit:
        return text
    keep = limit - 1
    return f"{text[: keep // 2]}\u2026{text[len(text) - (keep - keep // 2) :]}"


def quoted(text: str) -> str:
    """A DOT string."""
    lines = [
        plain(line).replace("&", "&amp;").replace("\\", BACKSLASH).replace('"', '\\"') for line in text.split("\n")
    ]
    return '"' + "\\n".join(lines) + '"'


def html(text: str, limit: int | None = None) -> str:
    """Text inside an HTML-like label."""
    return escape(plain(text, limit)).replace("\\", BACKSLASH)


def mermaid(text: str, limit: int | None = None) -> str:
    """Text inside a quoted Mermaid label: everything with a meaning there becomes an entity."""
    return re.sub(r"[^\w .,:()\u00d7\u2013\u2192/+-]", lambda match: f"#{ord(match[0])};", plain(text, limit))
