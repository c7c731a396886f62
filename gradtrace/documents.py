"""Documents as files."""

from __future__ import annotations

import os
from pathlib import Path

from gradtrace.errors import GradtraceError


def save(document: str | bytes, path: str | os.PathLike[str], *, other: str = "choose another file") -> Path:
    """Write `document` to `path`, text as UTF-8. Returns the path.

    Names that came from the file system may hold lone surrogates, which UTF-8 has no bytes for: a ? stands for each.
    Raises GradtraceError where the file cannot be written; `other` says what to do then.
    """
    path = Path(path)
    try:
        path.write_bytes(document.encode(errors="replace") if isinstance(document, str) else document)
    except OSError as error:
        raise GradtraceError(f"{path}: cannot be written ({error.strerror}); {other}") from error
    return path
