"""Graph in, document out: every format, every option, any size, any name."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import tape

from gradtrace.errors import GradtraceError, MissingToolError
from gradtrace.graphs import read_graph, to_networkx
from gradtrace.graphs.order import layers
from gradtrace.model import Finding, Where
from gradtrace.renderers import render_graph
from gradtrace.renderers.drawing import engine, palette, picture
from gradtrace.renderers.drawing.hubs import FAR, split_hubs
from gradtrace.renderers.graph import FORMATS

SVG = "{http://www.w3.org/2000/svg}"

HOSTILE = [
    'quote " and \\ backslash \\',
    "line\nbreak\r\ttab",
    "<b>bold</b> & &amp; &lt;script&gt;",
    "</text><script>alert(1)</script>",
    "]]> --> <!-- {record|shape} ->",
    "\\N \\G \\E \\l %s {0}",
    "emoji \U0001f525 \u4e2d\u6587 \u202e rtl",
    "control \x00\x1b\x7f \ud800 \uffff",
    "x" * 3000,
    "; } digraph { evil -> node",
    "[label=pwned]",
    '"];click n0 "javascript:alert(1)',
]


def graph_of(make=tape.transformer, *arguments):
    return to_networkx(make(*arguments))


def texts(svg):
    return [(element.text or "").strip() for element in ET.fromstring(svg).iter(f"{SVG}text")]


def hostile_graph():
    """Every name of a graph is hostile."""
    recording = tape.Tape()
    x = recording.input(HOSTILE[0], 4)
    for name in HOSTILE:
        weight = recording.parameter(f"{name}.weight", 4)
        x = recording.op(name, x, weight, module=name, of=name, attributes={name: name})
    graph = to_networkx(recording.snapshot(x))
    for facts in graph.nodes.values():
        if facts["source"]:
            name = facts["op"].removesuffix("Backward0")
            facts["source"] = facts["source"]._replace(file=name, function=name, text=name)
    return graph


@pytest.mark.parametrize("format", [format for format in FORMATS if format != "pdf"])
def test_every_format_is_written(format, tmp_path):
    document = render_graph(graph_of(), format=format)
    assert len(document) > 500
    out = tmp_path / "graph.out"
    assert render_graph(graph_of(), out, format=format) == out
    assert out.read_bytes() == (document if isinstance(document, bytes) else document.encode())


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("g.svg", b"<?xml"),
        ("g.png", b"\x89PNG"),
        ("g.dot", b"digraph"),
        ("g.gv", b"digraph"),
        ("g.json", b'{"gradtrace"'),
        ("g.graphml", b"<?xml"),
        ("g.gexf", b"<?xml"),
        ("g.mmd", b'---\ntitle: "Backward 1"\n---\n%% loss'),
        ("g.mermaid", b'---\ntitle: "Backward 1"\n---\n%% loss'),
        ("g.html", b"<!DOCTYPE html>"),
        ("g.HTM", b"<!DOCTYPE html>"),
    ],
)
def test_the_format_follows_the_ending(name, start, tmp_path):
    render_graph(graph_of(tape.mlp), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize(
    "options",
    [
        {"format": "bmp"},
        {},
        {"format": "svg", "depth": 0},
        {"format": "svg", "depth": "deep"},
        {"format": "svg", "depth": True},
        {"format": "svg", "color": "mauve"},
        {"format": "svg", "rankdir": "UP"},
        {"format": "svg", "focus": "nope"},
        {"format": "svg", "path": "loss:"},
        {"format": "svg", "path": "loss:nope"},
        {"format": "svg", "calls": "sometimes"},
    ],
)
def test_bad_options_are_refused_in_one_line(options):
    with pytest.raises(GradtraceError) as caught:
        render_graph(graph_of(), **options)
    assert "\n" not in str(caught.value)


def test_an_output_that_cannot_be_written(tmp_path):
    with pytest.raises(GradtraceError, match="cannot be written"):
        render_graph(graph_of(tape.mlp), tmp_path / "missing" / "g.dot")


@pytest.mark.parametrize(
    "options",
    [
        {"depth": 1},
        {"depth": 3},
        {"depth": "full"},
        {"focus": "encoder.layers.2"},
        {"path": "loss:embed.weight"},
        {"path": ("encoder.layers.3", "encoder.layers.1")},
        {"color": "gain"},
        {"color": "time"},
        {"color": "memory"},
        {"color": "none"},
        {"rankdir": "LR"},
        {"calls": "apart"},
    ],
)
def test_every_option_draws(options):
    svg = render_graph(graph_of(tape.transformer, 4), format="svg", **options)
    assert "Backward 1" in texts(svg)


@pytest.mark.parametrize(
    "make", [tape.mlp, tape.transformer, tape.resnet, tape.unet, tape.recurrent, tape.gan, tape.hub]
)
@pytest.mark.parametrize("format", ["dot", "svg", "png", "mermaid", "html", "model_explorer"])
def test_the_same_graph_gives_the_same_bytes(make, format):
    assert render_graph(graph_of(make), format=format) == render_graph(graph_of(make), format=format)


@pytest.mark.parametrize("depth", ["full", "auto"])
def test_hostile_names_are_only_text(depth):
    svg = render_graph(hostile_graph(), format="svg", depth=depth)
    root = ET.fromstring(svg)
    assert not list(root.iter(f"{SVG}script"))
    assert not re.search(r'xlink:href="(javascript|data):', svg)
    assert len([group for group in root.iter(f"{SVG}g") if "node" in group.get("class", "").split()]) >= len(HOSTILE)
    titles = [link.get("{http://www.w3.org/1999/xlink}title") or "" for link in root.iter(f"{SVG}a")]
    assert any("\\N \\G \\E \\l" in title for title in titles)
    assert any("<b>bold</b> & &amp; &lt;script&gt;" in title for title in titles)


@pytest.mark.parametrize("format", ["png", "html", "mermaid", "model_explorer", "json", "graphml", "gexf"])
def test_hostile_names_break_no_format(format):
    document = render_graph(hostile_graph(), format=format)
    assert document
    if format == "html":
        assert "<script" not in document
    if format == "mermaid":
        label = re.compile(r'"[^"<>\[\]{}|\\]*(<br/>[^"<>\[\]{}|\\]*)?"')
        opening, title, closing, *lines = document.splitlines()
        assert opening == closing == "---"
        assert json.loads(title.removeprefix("title: "))
        for line in lines:
            assert re.fullmatch(
                r" *(n\d+\W+|subgraph \w+\[|n\d+ -->.*|flowchart TB|end|%%.*|linkStyle.*|classDef.*)(\W|:::\w+)*",
                label.sub("", line),
            )


def test_a_page_is_self_contained_and_has_each_module_once():
    page = render_graph(graph_of(tape.transformer, 12, lambda _: 0.9), format="html")
    assert not re.search(r'(src|href)="https?://', page)
    assert "<script" not in page
    assert page.count("<section") == page.count('<a href="#m')
    assert "and 11 alike" in page
    assert "embed.weight" in page


def test_findings_are_marked_where_they_are():
    finding = Finding("GT101", "vanishing-gradient", "error", "fades", Where(parameter="encoder.layers.3.mlp.0.weight"))
    svg = render_graph(graph_of(), format="svg", findings=[finding])
    assert "GT101" in texts(svg)


def test_an_ill_gradient_is_drawn_in_its_colour_and_explained():
    svg = render_graph(graph_of(tape.poisoned), format="svg")
    assert palette.HEALTH["nan"].line in svg
    assert "NaN or Inf" in texts(svg)
    healthy = render_graph(graph_of(tape.resnet), format="svg")
    body = healthy[healthy.index("</style>") :]
    for mark in palette.HEALTH.values():
        assert f'stroke="{mark.line}"' not in body


def test_every_colour_of_a_drawing_has_a_dark_counterpart():
    for make in (tape.mlp, tape.transformer, tape.poisoned, tape.recurrent):
        for color in ("gradient", "gain", "time", "memory", "none"):
            svg = render_graph(graph_of(make), format="svg", color=color)
            body = svg[svg.index("</style>") :]
            used = set(re.findall(r'(?:fill|stroke)="(#[0-9a-f]{6})"', body))
            assert used <= set(palette.DARK), (make, color)


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    """WCAG 2 contrast ratio."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


BOX_COLOURS = {
    palette.CARD,
    palette.MODULE,
    palette.CLUSTER,
    palette.LEAF,
    palette.ROOT,
    *palette.HEAT,
    *(mark.tint for mark in palette.HEALTH.values()),
}


@pytest.mark.parametrize("dark", [False, True])
def test_text_can_be_read_on_every_box(dark):
    def shown(colour):
        return palette.DARK[colour] if dark else colour

    for box in BOX_COLOURS:
        assert contrast(shown(palette.INK), shown(box)) >= 4.5, box
        assert contrast(shown(palette.MUTED), shown(box)) >= 4.5, box
    for mark in palette.HEALTH.values():
        assert contrast(shown(mark.ink), shown(mark.tint)) >= 4.5, mark


def test_illnesses_differ_in_greyscale_or_in_line_style():
    marks = [palette.HEALTH[name] for name in ("vanishing", "exploding", "nan", "zero")]
    for at, one in enumerate(marks):
        for other in marks[at + 1 :]:
            assert one.style != other.style or contrast(one.line, other.line) > 1.3


def test_model_explorer_gets_one_node_each_with_its_layers():
    graph = graph_of(tape.transformer, 2)
    collection = json.loads(render_graph(graph, format="model_explorer"))
    nodes = collection["graphs"][0]["nodes"]
    assert len(nodes) == len(graph)
    assert sum(len(node["incomingEdges"]) for node in nodes) == graph.number_of_edges()
    assert "encoder/layers/0/self_attn/q" in {node["namespace"] for node in nodes}


def test_data_formats_hold_the_whole_graph_unless_asked(tmp_path):
    graph = graph_of()
    assert len(read_graph(render_graph(graph, tmp_path / "all.json"))) == len(graph)
    assert len(read_graph(render_graph(graph, tmp_path / "part.json", focus="norm"))) < 10


def test_missing_programs_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolError, match="PDF needs a system graphviz"):
        render_graph(graph_of(tape.mlp), format="pdf")
    with pytest.raises(MissingToolError, match="cannot find 'fdp'"):
        render_graph(graph_of(tape.mlp), format="svg", engine="fdp")
    monkeypatch.setenv("GRADTRACE_DOT", "nodot")
    with pytest.raises(MissingToolError, match="nodot"):
        render_graph(graph_of(tape.mlp), format="svg")
    monkeypatch.delenv("GRADTRACE_DOT")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(MissingToolError, match="pip install graphviz-pure"):
        render_graph(graph_of(tape.mlp), format="svg")


def test_the_bundled_engine_writes_no_pdf():
    with pytest.raises(MissingToolError, match="writes no PDF"):
        engine.program("pdf", engine.BUNDLED)


def test_an_engine_that_fails_or_hangs_is_reported(tmp_path):
    for name, script, message in (
        ("bad", "echo 'Error: broken' >&2; exit 3", "broken"),
        ("slow", "exec sleep 60", "more"),
    ):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        with pytest.raises(GradtraceError, match=message):
            engine.run("digraph {}", "svg", engine=str(program), seconds=0.5)


def test_what_dot_does_not_finish_is_placed_in_layers(monkeypatch):
    asked = []
    real = engine.run

    def run(dot, format, *, placed=False, **options):
        asked.append(placed)
        if not placed:
            raise engine.LayoutTimeoutError("too slow")
        return real(dot, format, placed=placed, **options)

    monkeypatch.setattr(engine, "run", run)
    svg = render_graph(graph_of(tape.resnet), format="svg")
    assert asked == [False, True]
    assert "Backward 1" in texts(svg)


def test_large_graphs_never_reach_dot(monkeypatch):
    graph = graph_of(tape.hub, 300)
    asked = []
    real = engine.run
    monkeypatch.setattr(
        engine, "run", lambda dot, format, **more: asked.append(more["placed"]) or real(dot, format, **more)
    )
    monkeypatch.setattr(picture, "COST", 1000)
    svg = render_graph(graph, format="svg", depth="full")
    assert asked == [True]
    assert svg.count('class="node"') >= len(graph)


def test_beyond_detail_each_box_is_small_and_pictures_of_pixels_are_refused(monkeypatch):
    monkeypatch.setattr(picture, "DETAILED", 50)
    graph = graph_of(tape.transformer, 4)
    svg = render_graph(graph, format="svg", depth="full")
    assert len([group for group in ET.fromstring(svg).iter(f"{SVG}g") if group.get("class") == "node"]) == len(graph)
    assert "Backward 1" in texts(svg)
    with pytest.raises(GradtraceError, match="too many for PNG"):
        render_graph(graph, format="png", depth="full")
    monkeypatch.setattr(picture, "DETAILED", 5)
    root = ET.fromstring(render_graph(hostile_graph(), format="svg", depth="full"))
    assert any("</text><script>alert(1)</script>" in (title.text or "") for title in root.iter(f"{SVG}title"))


def test_modules_nested_hundreds_deep_are_drawn():
    for levels, depth in ((300, "auto"), (300, 200), (1100, "full")):
        recording = tape.Tape()
        x = recording.input("x", 4)
        for level in range(1, levels + 1):
            x = recording.op("Sin", x, module=".".join(["m"] * level), shape=(4,))
        svg = render_graph(to_networkx(recording.snapshot(x)), format="svg", depth=depth)
        assert "Backward 1" in texts(svg)


def test_hubs_are_drawn_once_for_each_far_use():
    graph = graph_of(tape.hub, 40)
    hub = next(node for node, op in graph.nodes(data="op") if op == "SigmoidBackward0")
    split = split_hubs(graph)
    layer = layers(graph)
    assert len([node for node in split.predecessors(hub) if layer[hub] - layer[node] > FAR]) == 0
    copies = [node for node, kind in split.nodes(data="kind") if kind == "reference"]
    assert len(copies) + split.in_degree(hub) == graph.in_degree(hub) == 40
    assert texts(render_graph(graph, format="svg", depth="full")).count("drawn elsewhere \u00b7 40 uses") == len(copies)


def test_rendering_imports_no_torch():
    code = (
        "import sys, pickle; sys.path.insert(0, sys.argv[1]); import tape\n"
        "from gradtrace.graphs import to_networkx\nfrom gradtrace.renderers import render_graph\n"
        "render_graph(to_networkx(tape.mlp()), format='svg')\nassert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, str(Path(tape.__file__).parent)], check=True, timeout=60)


def test_asking_for_a_renderer_imports_no_networkx():
    code = "import sys, gradtrace.renderers.graph, gradtrace.renderers; assert 'networkx' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.skipif(shutil.which("dot") is None, reason="the system has no graphviz")
def test_a_system_graphviz_draws_the_same_nodes():
    ours = render_graph(graph_of(), format="svg")
    theirs = render_graph(graph_of(), format="svg", engine="dot")
    assert ours.count('class="node"') == theirs.count('class="node"')
    assert render_graph(graph_of(), format="pdf").startswith(b"%PDF")


def test_a_box_that_is_ill_only_inside_says_so_and_keeps_its_own_numbers_well():
    drawn = render_graph(to_networkx(tape.transformer(12, lambda _: 0.6)), format="dot")
    (box,) = [line for line in drawn.splitlines() if " inside<" in line]
    mark = palette.HEALTH["vanishing"]
    assert f'color="{palette.INK}">grad 2.8e-4' in box
    assert f'color="{mark.ink}">down to 6.7e-6 inside' in box
    assert f'fillcolor="{mark.tint}"' in box
