"""What a picture answers: where the gradient falls ill, what it never reaches, what each use of a weight brings."""

from __future__ import annotations

import dataclasses
import json
import xml.etree.ElementTree as ET

import pytest
import tape
import torch
from torch import nn

import gradtrace
from gradtrace.errors import GradtraceError
from gradtrace.graphs import to_networkx
from gradtrace.model import Finding, Where
from gradtrace.renderers import render_graph
from gradtrace.renderers.drawing.bars import MOST, bars

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg):
    return [(element.text or "").strip() for element in ET.fromstring(svg).iter(f"{SVG}text")]


def written(graph, **options):
    return " ".join(texts(render_graph(graph, format="svg", **options)))


def dying(layer=7):
    return to_networkx(tape.transformer(24, lambda at: 1e-7 if at == layer else 0.9))


def test_the_place_is_said_above_the_picture_and_marked_in_it():
    said = written(dying())
    assert "The gradient dies in Add of encoder.layers.7 (Block, model.py:" in said
    assert "dies here: \u00d7" in said
    assert written(to_networkx(tape.transformer(24, lambda _: 0.9))).count("gradient") == 0


def test_a_fall_that_is_no_death_is_called_a_fall():
    recording = tape.Tape()
    x = recording.input("x", 32, 64)
    for layer in range(24):
        x = recording.linear(x, f"layers.{layer}", gain=0.01 if layer == 7 else 0.7)
    said = written(to_networkx(recording.snapshot(recording.op("Sum", x, shape=()))))
    assert "dies" not in said
    assert "The gradient falls to 1.0e-2 of itself in Addmm of layers.7 (Linear" in said


def test_mermaid_has_the_place_in_its_title():
    title = render_graph(dying(), format="mermaid").splitlines()[1]
    assert title.startswith('title: "Backward 1: The gradient dies in Add of encoder.layers.7 (Block, model.py:')


def test_other_colours_are_about_something_else():
    said = written(dying(), color="time")
    assert "dies" not in said


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (tape.poisoned, "and NaN or Inf beyond"),
        (lambda: tape.mlp(12, gain=3.0), "grows little by little"),
        (tape.recurrent, "The gradient fades little by little; it falls below 1/1000 in cell"),
    ],
)
def test_each_illness_has_its_words(make, says):
    assert says in written(to_networkx(make()))


def test_where_no_place_is_to_be_seen_the_findings_speak():
    """A gradient may starve at a thousandth of a percent of what the parameter would need, and pass for well."""
    graph = to_networkx(tape.transformer(4, lambda _: 0.9))
    finding = Finding("GT101", "vanishing-gradient", "error", "next to no gradient reaches it", Where("head.weight"))
    elsewhere = dataclasses.replace(finding, message="of another graph", where=Where("tail.weight"))
    said = written(graph, findings=[finding, elsewhere])
    assert "GT101: next to no gradient reaches it" in said
    assert "of another graph" not in said
    dead = to_networkx(tape.transformer(24, lambda at: 1e-7 if at == 7 else 0.9))
    assert "next to no gradient" not in written(dead, findings=[finding])


def test_many_places_are_counted():
    recording = tape.Tape()
    towers = []
    for at in range(5):
        x = recording.input(f"x{at}", 4)
        for _ in range(4):
            x = recording.op("Early", x, shape=(4,))
        towers.append(recording.op("Crush", x, gain=1e-6, shape=(4,)))
    x = recording.op("Sum", *towers, shape=(4,))
    for _ in range(6):
        x = recording.op("Late", x, shape=(4,))
    assert "and 3 more places, marked below" in written(to_networkx(recording.snapshot(x)))


def test_calls_are_bars_and_of_many_each_bar_is_the_worst():
    said = written(to_networkx(tape.recurrent(200)), depth=1)
    assert "grad at call 1:" in said
    assert "at call 200:" in said
    norms = [1.0] * 200
    norms[77] = 0.0
    drawn = bars(norms, (1, 200), 0.0)
    assert drawn.count("bgcolor") == MOST
    assert drawn.count('height="1"') == 1


def cut_model():
    torch.manual_seed(0)

    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(6))

        def forward(self, x):
            for at, layer in enumerate(self.layers):
                x = layer(x.detach() if at == 4 else x).tanh()
            return x

    model = Cut()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with gradtrace.trace(model, on_finding="ignore") as trace:
        for _ in range(12):
            optimizer.zero_grad()
            model(torch.randn(8, 4)).square().mean().backward()
            optimizer.step()
    return trace


def test_what_is_cut_off_is_drawn_where_it_was_cut_off():
    trace = cut_model()
    said = " ".join(texts(trace.draw(1)))
    assert "No gradient reaches layers.0\u20133: detach() (test_renderers_verdict.py:" in said
    assert said.count("cut off here: no gradient beyond") == 1
    dot = trace.draw(1, format="dot")
    (edge,) = [line for line in dot.splitlines() if "arrowtail=tee" in line]
    source = edge.split(" -> ")[0]
    assert "layers.4" in next(line for line in dot.splitlines() if line.startswith(f"{source} ["))
    assert "layers.0\u20133" in trace.draw(1, format="mermaid")
    assert {kind for _, kind in trace.graph(1).nodes(data="kind")} <= {"root", "op", "parameter"}


def test_each_use_of_a_shared_weight_shows_its_share():
    torch.manual_seed(0)
    embed, head = nn.Embedding(20, 8), nn.Linear(8, 20)
    head.weight = embed.weight
    model = nn.Sequential(embed, nn.Linear(8, 8), nn.ReLU(), head)
    shares = {}

    def keep(name):
        return lambda grad: shares.__setitem__(name, grad.norm().item())

    tokens = torch.randint(0, 20, (4, 5))
    with gradtrace.trace(model, on_finding="ignore") as trace:
        model(tokens).square().mean().backward()
    used = model[2](model[1](model[0](tokens).detach())).detach()
    alone = embed.weight.detach().clone().requires_grad_()
    torch.nn.functional.linear(used, alone, head.bias).square().mean().backward()
    said = texts(trace.draw(1, depth="full"))
    assert f"{alone.grad.norm().item():.2g}" in " ".join(said)
    edges = [facts for _, _, facts in trace.graph(1).edges(data=True)]
    assert any(facts["grad_norm"] == pytest.approx(alone.grad.norm().item(), rel=1e-4) for facts in edges)
    assert "0.weight" in " ".join(texts(trace.draw(1, depth=1)))


def test_only_what_findings_are_about_is_opened():
    finding = Finding("GT101", "vanishing-gradient", "error", "fades", Where(module="encoder.layers.3.mlp.1"))
    graph = to_networkx(tape.transformer(24, lambda _: 0.9))
    said = texts(render_graph(graph, format="svg", findings=[finding], only_findings=True))
    assert "GT101" in said
    assert {"4\u201323", "0\u20132"} <= set(said)
    with pytest.raises(GradtraceError, match="without findings"):
        render_graph(graph, format="svg", only_findings=True)


def test_modules_and_a_budget_of_boxes():
    graph = to_networkx(tape.transformer(12, lambda _: 0.9))
    said = texts(render_graph(graph, format="svg", modules=["encoder", "head"]))
    assert {"encoder", "head"} <= set(said)
    assert "mlp" not in said
    few = render_graph(graph, format="svg", budget=8).count('class="node"')
    assert few <= 8 < render_graph(graph, format="svg", budget=200).count('class="node"')
    with pytest.raises(GradtraceError, match="no module 'nope'"):
        render_graph(graph, format="svg", modules=["nope"])
    with pytest.raises(GradtraceError, match="budget is 0"):
        render_graph(graph, format="svg", budget=0)


def test_model_explorer_loads_gradients_as_node_data():
    graph = to_networkx(tape.poisoned())
    collection = json.loads(render_graph(graph, format="model_explorer"))
    shown = collection["graphs"][0]
    (data,) = [json.loads(render_graph(graph, format="model_explorer_data"))[shown["id"]]]
    assert set(data["results"]) == {node["id"] for node in shown["nodes"]}
    values = [result["value"] for result in data["results"].values()]
    assert "nan" in values
    assert any(isinstance(value, float) for value in values)
