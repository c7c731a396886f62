"""Reading XML of unknown origin: no document type, no entities, bounded nesting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn
from xml.parsers import expat

from gradtrace.errors import GradtraceError

MAX_DEPTH = 32
"""GEXF nests eight deep, GraphML four."""


def parse_xml(
    text: str, start: Callable[[str, dict[str, str]], None], end: Callable[[str, str], None], root: str
) -> None:
    """Call `start(tag, attributes)` and `end(tag, own text)` for each element of `text`, whose outermost is `root`."""
    parser = expat.ParserCreate()
    open_texts: list[list[str]] = []

    def on_start(tag: str, attributes: dict[str, str]) -> None:
        if not open_texts and tag != root:
            raise GradtraceError(f"the file's outermost element is <{tag}>, expected <{root}>")
        if len(open_texts) >= MAX_DEPTH:
            raise GradtraceError(f"elements nest more than {MAX_DEPTH} deep; this is no graph of gradtrace's")
        open_texts.append([])
        start(tag, attributes)

    def on_text(data: str) -> None:
        open_texts[-1].append(data)

    def on_end(tag: str) -> None:
        end(tag, "".join(open_texts.pop()))

    parser.StartElementHandler = on_start
    parser.EndElementHandler = on_end
    parser.CharacterDataHandler = on_text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(text.encode("utf-8", "surrogatepass"), True)
    except expat.ExpatError as error:
        raise GradtraceError(f"damaged XML: {error}") from error


def _refuse_doctype(*_: Any) -> NoReturn:
    raise GradtraceError("the file declares a document type, which could define entities; gradtrace writes none")
