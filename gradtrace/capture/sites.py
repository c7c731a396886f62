"""Where in the user's program something happened."""

from __future__ import annotations

import linecache
import os
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gradtrace.model import Source

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, FrameType

UNKNOWN = 0
"""The site of what has no line in the user's program."""

_TORCH = str(Path(torch.__file__).parent) + os.sep
_OURS = str(Path(__file__).parents[1]) + os.sep
_STDLIB = sysconfig.get_paths()["stdlib"] + os.sep
_PACKAGES = tuple({sysconfig.get_paths()[key] + os.sep for key in ("purelib", "platlib")})
_INSTALLED = (*_PACKAGES, sysconfig.get_paths()["scripts"] + os.sep)


def _is_plumbing(filename: str) -> bool:
    if filename.startswith((_TORCH, _OURS, "<frozen")) or filename == "<string>":
        return True
    return filename.startswith(_STDLIB) and not filename.startswith(_PACKAGES)


class SiteTable:
    """Numbers the lines of the user's program that were seen, from 1.

    A site is the innermost frame outside torch, gradtrace and the standard library: a line of the user's own code or of
    the model library that he uses. Paths are relative to the working folder where they lie under it.
    """

    def __init__(self, text: bool = True) -> None:
        self._with_text = text
        self._folder = str(Path.cwd()) + os.sep
        self._numbers: dict[tuple[int, int], int] = {}
        self._codes: list[CodeType] = []  # kept, so that no other gets the identity of one that is gone
        self._sources: list[Source | None] = [None]
        self._plumbing: dict[str, bool] = {}
        self._written = 1

    def here(self, frame: FrameType | None = None) -> int:
        """The site of the innermost user frame at or above `frame` (by default the caller's)."""
        found = self.user_frame(frame or sys._getframe(1))
        return UNKNOWN if found is None else self.number(found.f_code, found.f_lineno)

    def own(self, frame: FrameType | None = None) -> int:
        """The site of the innermost frame of the program's own code at or above `frame` (by default the caller's): who
        trains through Accelerate or Lightning wrote the call of theirs, not what they call in turn. As `here` where all
        of the program is installed."""
        innermost = found = self.user_frame(frame or sys._getframe(1))
        while found is not None and found.f_code.co_filename.startswith(_INSTALLED):
            found = self.user_frame(found.f_back)
        return self.here(innermost) if found is None else self.number(found.f_code, found.f_lineno)

    def user_frame(self, frame: FrameType | None) -> FrameType | None:
        """The innermost frame of the user's program at or above `frame`."""
        plumbing = self._plumbing
        while frame is not None:
            filename = frame.f_code.co_filename
            known = plumbing.get(filename)
            if known is None:
                known = plumbing[filename] = _is_plumbing(filename)
            if not known:
                return frame
            frame = frame.f_back
        return None

    def number(self, code: CodeType, line: int) -> int:
        """The site of a line of a code object."""
        key = (id(code), line)  # the hash of a code object goes over all of it
        site = self._numbers.get(key)
        if site is None:
            site = self._numbers[key] = len(self._sources)
            self._codes.append(code)
            self._sources.append(self._describe(code, line))
        return site

    def of_stack(self, frames: Sequence[tuple[str, int, str]]) -> Source | None:
        """The innermost line of the user's program in a stack of (file, line, function), outermost first."""
        for filename, line, function in reversed(frames):
            if not _is_plumbing(filename):
                return self._line(filename, line, function)
        return None

    def source(self, site: int) -> Source | None:
        """The line behind a site."""
        return self._sources[site]

    def unwritten(self) -> list[tuple[int, Source]]:
        """Sites that were first seen since the last call."""
        fresh = enumerate(self._sources[self._written :], self._written)
        self._written = len(self._sources)
        return [(site, source) for site, source in fresh if source]

    def _describe(self, code: CodeType, line: int) -> Source:
        return self._line(code.co_filename, line, code.co_name)

    def _line(self, filename: str, line: int, function: str) -> Source:
        text = linecache.getline(filename, line).strip() or None if self._with_text else None
        return Source(filename.removeprefix(self._folder), line, function, text)
