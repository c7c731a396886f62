"""The page as text: template, style, scripts and data in one file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradtrace.renderers.page.data import page_data
from gradtrace.renderers.page.library import chart_scripts

if TYPE_CHECKING:
    from gradtrace.model import Finding
    from gradtrace.recorded import Trace

_ASSETS = Path(__file__).parent / "assets"

_SCRIPTS = ("data", "numbers", "colors", "state", "findings", "heat", "curves", "layers", "graph", "search", "main")
"""In the order in which they run; they share one scope."""


def page(trace: Trace, *, rank: int, findings: Sequence[Finding]) -> str:
    """The whole document. Raises MissingToolError without the chart library."""
    data = page_data(trace, rank=rank, findings=findings)
    own = "\n".join(_asset(f"{name}.js") for name in _SCRIPTS)
    return _filled(
        _asset("page.html"),
        {
            "title": escape(str(data["title"])),
            "style": _asset("page.css"),
            "data": _script_json(data),
            "library": "\n".join(map(_script_safe, chart_scripts())),
            "script": f"(function () {{\n'use strict';\n{own}\n}})();",
        },
    )


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


def _filled(template: str, parts: Mapping[str, str]) -> str:
    """`template` with each {{name}} replaced; what is filled in is not looked at again."""
    pieces = template.split("{{")
    filled = [pieces[0]]
    for piece in pieces[1:]:
        name, _, rest = piece.partition("}}")
        filled += [parts[name], rest]
    return "".join(filled)


def _script_json(data: Any) -> str:
    """JSON that no HTML parser can leave: a name like `</script>` or `<!--` holds no "<" any more."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _script_safe(script: str) -> str:
    """A library's script with the sequences that would end its element written another way; both mean the same inside
    of strings and regular expressions, the only places where they can stand."""
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")
