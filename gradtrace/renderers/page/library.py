"""The chart library's script, out of its Python package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from gradtrace.errors import MissingToolError

_SCRIPTS = ("bokeh.min.js", "bokeh-api.min.js")
"""The plots, and the functions that make them from script; widgets, tables and WebGL are left out."""


def chart_scripts() -> list[str]:
    """BokehJS as the text of its scripts. MissingToolError where bokeh is not installed."""
    # The package itself is not imported: that takes half a second, and only its files are wanted.
    found = find_spec("bokeh")
    if found is None or found.origin is None:
        raise MissingToolError("the report's charts need bokeh; install it with: pip install 'gradtrace[report]'")
    folder = Path(found.origin).parent / "server" / "static" / "js"
    return [_read(folder / name) for name in _SCRIPTS]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise MissingToolError(
            f"bokeh ships no {path.name} ({error.strerror}); install it with: pip install --upgrade 'gradtrace[report]'"
        ) from error
