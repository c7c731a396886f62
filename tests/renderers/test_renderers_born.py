"""Where a NaN was born: pictures say what findings know, and are drawn of the backward at which it was."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
import tape
import torch
from torch import nn

import gradtrace
from gradtrace.graphs import to_networkx
from gradtrace.model import Finding, Where
from gradtrace.renderers import render_graph
from gradtrace.renderers.drawing.clusters import clusters

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg):
    return [(element.text or "").strip() for element in ET.fromstring(svg).iter(f"{SVG}text")]


class Spoiled(nn.Module):
    """Zero over zero in the forward, at the third call."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 1)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        hidden = torch.tanh(self.first(x)) * (self.calls != 3)
        return self.second(hidden / hidden.std())


@pytest.fixture(scope="module")
def trace():
    torch.manual_seed(0)
    model = Spoiled()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradtrace.trace(model, on_finding="ignore", replay=True, graph="all") as recorded:
        for _ in range(6):
            optimizer.zero_grad()
            model(torch.randn(8, 4)).mean().backward()
            optimizer.step()
    return recorded


def test_the_picture_is_of_the_backward_at_which_it_was_born(trace):
    (finding,) = (finding for finding in trace.findings if finding.severity == "error")
    assert (finding.code, finding.first_backward) == ("GT203", 3)
    said = texts(trace.draw())
    assert "Backward 3" in said
    assert said.count("NaN or Inf is born here") == 1
    assert finding.message in " ".join(said)


def test_a_later_picture_blames_nothing_that_was_spoiled(trace):
    said = texts(trace.draw(6))
    assert "Backward 6" in said
    assert "NaN or Inf from here on" not in said
    assert "is born in the forward" in " ".join(said)


def test_without_a_finding_the_picture_goes_by_the_gradient(trace):
    said = texts(render_graph(trace.graph(3), format="svg", depth="full"))
    assert "NaN or Inf from here on" in said


def test_a_note_about_a_nan_that_went_no_further_moves_nothing():
    graph = to_networkx(tape.poisoned())
    where = Where(op="TanhBackward0")
    note = Finding("GT203", "nonfinite-forward", "note", "harmless", where, first_backward=1)
    said = " ".join(texts(render_graph(graph, format="svg", findings=[note])))
    assert "harmless" not in said
    assert "NaN or Inf from here on" in said


def chain(*modules):
    """A graph in which the gradient goes through an op of each of these modules in turn."""
    recording = tape.Tape()
    x = recording.input("x", 4, 4)
    for module in modules:
        x = recording.op("Tanh", x, shape=(4, 4), module=module)
    return to_networkx(recording.snapshot(recording.op("Sum", x, shape=())))


def test_a_list_of_modules_with_ops_in_between_gets_no_frame():
    assert [frame.path for frame in clusters(chain("net.0", "net.0", "net.1", "net.1")).inner] == ["net"]
    between = clusters(chain("net.0", "net.0", "", "net.1", "net.1"))
    assert {frame.path for frame in between.inner} == {"net.0", "net.1"}
