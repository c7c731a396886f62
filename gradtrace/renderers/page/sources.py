"""The source lines that a page shows, with the lines around them."""

from __future__ import annotations

import linecache
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from gradtrace.model import Source
from gradtrace.renderers.places import relative_file

AROUND = 8
"""Lines shown before and after a line that the trace names, where the file still holds that line."""


@dataclass(slots=True)
class Sources:
    """Collects places and gives each a number; `listing` is the text around all of them."""

    places: list[Source] = field(default_factory=list)
    _numbers: dict[Source, int] = field(default_factory=dict)

    def number(self, source: Source | None) -> int | None:
        """The number of a place; None for none."""
        if source is None:
            return None
        if source not in self._numbers:
            self._numbers[source] = len(self.places)
            self.places.append(source)
        return self._numbers[source]

    def to_dict(self) -> dict[str, Any]:
        """The places as [file, line, function], and by file the lines that are known."""
        files: dict[str, dict[int, str]] = {}
        for source in self.places:
            files.setdefault(relative_file(source.file), {}).update(_lines_around(source))
        return {
            "places": [[relative_file(source.file), source.line, source.function] for source in self.places],
            "files": {file: dict(sorted(lines.items())) for file, lines in files.items()},
        }


def _lines_around(source: Source) -> dict[int, str]:
    """Line numbers and text. A file that has changed since gives the recorded line alone; no text, nothing."""
    if source.text is None:
        return {}
    if linecache.getline(source.file, source.line).strip() != source.text.strip():
        return {source.line: source.text.strip()}
    return dict(_file_lines(source.file, range(max(1, source.line - AROUND), source.line + AROUND + 1)))


def _file_lines(file: str, wanted: Iterable[int]) -> Iterable[tuple[int, str]]:
    for number in wanted:
        line = linecache.getline(file, number)
        if line:
            yield number, line.rstrip("\r\n")
