"""What graphviz's SVG lacks: a dark page, fonts that exist everywhere, frame titles that edges do not cross out."""

from __future__ import annotations

import re
from html import escape

from gradtrace.renderers.drawing import palette
from gradtrace.renderers.drawing.escape import BACKSLASH

_FONT = re.compile(r'font-family="Helvetica[^"]*"')
_COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)
_IDS = re.compile(r"<title>(n\d+|cluster_)[^<]*</title>\n")
_FRAME = re.compile(r'<g id="clust\d+" class="cluster">\n.*?</g>\n(?=<g |</g>)', re.DOTALL)
_TEXT = re.compile(r"<text .*?</text>\n")


def finish(svg: str, title: str, *, standalone: bool = True) -> str:
    """`svg` from graphviz made ready for readers; without prologue and style where it is to stand inside a page."""
    svg = _COMMENT.sub("", _IDS.sub("", svg))
    svg = _FONT.sub('font-family="Helvetica, Arial, sans-serif"', _lift_frame_titles(svg))
    svg = svg.replace(BACKSLASH, "\\")
    start = svg.index("<svg")
    end = svg.index(">", start) + 1
    opening = svg[start:end].replace("<svg", f'<svg class="gradtrace" role="img" aria-label="{escape(title)}"', 1)
    return f"{svg[:start]}{opening}\n<style>\n{style()}</style>{svg[end:]}" if standalone else opening + svg[end:]


def _lift_frame_titles(svg: str) -> str:
    """Draw the titles of frames last, so that they stand above the edges."""
    lifted: list[str] = []

    def take(match: re.Match[str]) -> str:
        lifted.extend(_TEXT.findall(match[0]))
        return _TEXT.sub("", match[0])

    svg = _FRAME.sub(take, svg)
    titles = f'<g class="titles">\n{"".join(lifted)}</g>\n' if lifted else ""
    close = svg.rindex("</g>\n</svg>")
    return svg[:close] + titles + svg[close:]


def style() -> str:
    """Colours on a dark page, as rules on the colours of a light one: viewers without CSS show the light page."""
    dark = {"white": palette.DARK[palette.PAGE], **palette.DARK}
    rules = [f'.gradtrace [fill="{light}"] {{ fill: {colour}; }}' for light, colour in dark.items()]
    rules += [f'.gradtrace [stroke="{light}"] {{ stroke: {colour}; }}' for light, colour in dark.items()]
    return "\n".join(
        [
            ".gradtrace a:hover text { text-decoration: underline; }",
            _halo(palette.CLUSTER),
            "@media (prefers-color-scheme: dark) {",
            f".gradtrace {{ background: {palette.DARK[palette.PAGE]}; }}",
            *rules,
            _halo(palette.DARK[palette.CLUSTER]),
            "}\n",
        ]
    )


def _halo(colour: str) -> str:
    return (
        f".gradtrace .titles text {{ paint-order: stroke; stroke: {colour}; stroke-width: 4px; "
        "stroke-linejoin: round; pointer-events: none; }"
    )
