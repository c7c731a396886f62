"""A graph as one self-contained page: an overview, then each module by itself, laid out when the page is written."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from html import escape

from gradtrace.graphs.aliases import find_aliases
from gradtrace.graphs.focus import focus
from gradtrace.graphs.fold import fold
from gradtrace.graphs.modules import ModuleTree, depth_of
from gradtrace.graphs.types import LEAVES, Facts, Graph, op_name
from gradtrace.renderers.drawing import numbers, palette
from gradtrace.renderers.drawing.legend import subtitle
from gradtrace.renderers.drawing.picture import draw
from gradtrace.renderers.drawing.svg import style
from gradtrace.renderers.drawing.view import View

SECONDS = 8.0
"""Given to the drawings of single modules; what is left out then is said on the page."""

ROWS = 500
"""Parameters listed; the ones with the smallest gradient first."""


def to_page(graph: Graph, view: View) -> str:
    """A page without any outside resource and without script."""
    part = view.cut(graph)
    shown = view.shown(graph)
    sections = list(_module_sections(part, view)) if len(shown) < len(part) else []
    title = f"Backward {part.graph.get('backward')}"
    body = [
        f"<h1>{escape(title)}</h1><p>{escape(subtitle(part))}</p>",
        f'<div class="drawing">{_svg(shown, view)}</div>',
        *([f"<h2>Modules</h2>{_contents(sections)}"] if sections else []),
        *(
            f'<section id="{anchor}"><h3>{name}</h3><div class="drawing">{svg}</div></section>'
            for anchor, name, svg in sections
        ),
        _parameter_table(part),
    ]
    return _PAGE.format(title=escape(title), style=_STYLE + style(), body="\n".join(body))


def _svg(graph: Graph, view: View) -> str:
    picture = draw(graph, "svg", color=view.color, rankdir=view.rankdir, engine=view.engine, standalone=False)
    return picture.decode()


def _contents(sections: Iterable[tuple[str, str, str]]) -> str:
    links = "".join(f'<li><a href="#{anchor}">{name}</a></li>' for anchor, name, _ in sections)
    return f"<ul>{links}</ul>"


def _module_sections(graph: Graph, view: View) -> Iterator[tuple[str, str, str]]:
    """(anchor, name, drawing) of each module that holds more than one node; repeats once."""
    started = time.monotonic()
    for number, (path, repeats) in enumerate(_distinct_modules(graph)):
        if time.monotonic() - started > SECONDS:
            return
        inside = fold(focus(graph, path), depth=depth_of(path) + 1)
        name = escape(path) + (f" <small>and {repeats - 1} alike</small>" if repeats > 1 else "")
        yield f"m{number}", name, _svg(inside, view)


def _distinct_modules(graph: Graph) -> list[tuple[str, int]]:
    """The first of each set of repeated modules that has submodules or several ops, and how many it stands for."""
    tree = ModuleTree(graph)
    paths = find_aliases(graph, tree).paths
    alike: dict[str, list[str]] = {}
    for path, module in tree.modules.items():
        if path and (module.children or len(module.own) > 2):
            alike.setdefault(paths[path], []).append(path)
    chosen = [(min(found, key=lambda path: tree.modules[path].order), len(found)) for found in alike.values()]
    return sorted(chosen, key=lambda item: (depth_of(item[0]), tree.modules[item[0]].order))


def _parameter_table(graph: Graph) -> str:
    leaves = [facts for facts in graph.nodes.values() if facts.get("kind") in LEAVES]
    if not leaves:
        return ""
    leaves.sort(key=lambda facts: (facts.get("grad_norm") is not None, facts.get("grad_norm") or 0.0))
    rows = "".join(_parameter_row(facts) for facts in leaves[:ROWS])
    rest = f"<p>and {len(leaves) - ROWS:,} more</p>" if len(leaves) > ROWS else ""
    head = "<tr><th>parameter</th><th>shape</th><th>gradient norm</th><th></th></tr>"
    return f"<h2>Parameters, smallest gradient first</h2><table>{head}{rows}</table>{rest}"


def _parameter_row(facts: Facts) -> str:
    health = facts["health"]
    name = escape(facts.get("name") or op_name(facts.get("op")))
    cells = (
        name,
        numbers.shape(facts.get("shape")),
        numbers.norm(facts.get("grad_norm")),
        "" if health == "ok" else health,
    )
    return f'<tr class="{health}">' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


_STYLE = f"""
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 Helvetica, Arial, sans-serif; color: {palette.INK}; background: {palette.PAGE}; margin: 2rem; }}
h1 {{ font-size: 1.5rem; margin: 0; }} h2 {{ font-size: 1.15rem; margin-top: 2.5rem; }} h3 {{ font-size: 1rem; }}
small, th {{ color: {palette.MUTED}; font-weight: normal; }} th {{ text-align: left; }}
.drawing {{ overflow-x: auto; }} .drawing svg {{ max-width: 100%; height: auto; min-width: min(100%, 20rem); }}
ul {{ columns: 18rem; padding-left: 1.2rem; }} td, th {{ padding: 0.1rem 1.2rem 0.1rem 0; }}
tr.vanishing td:last-child {{ color: {palette.HEALTH["vanishing"].ink}; }}
tr.exploding td:last-child {{ color: {palette.HEALTH["exploding"].ink}; }}
tr.nan td:last-child {{ color: {palette.HEALTH["nan"].ink}; }}
a {{ color: {palette.ACCENT}; }}
@media (prefers-color-scheme: dark) {{
  body {{ color: {palette.DARK[palette.INK]}; background: {palette.DARK[palette.PAGE]}; }}
  small, th {{ color: {palette.DARK[palette.MUTED]}; }}
  a {{ color: {palette.DARK[palette.ACCENT]}; }}
}}
"""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} \u2013 gradtrace</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""
