"""torchviz's own picture, and torchviz as an oracle for ours."""

from __future__ import annotations

import re
import sys

import pytest
import torch

import gradtrace
from gradtrace.capture import torchviz_adapter
from gradtrace.capture.torchviz_adapter import torchviz_dot
from gradtrace.errors import GradtraceError, MissingToolError


def model_and_loss():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    return model, model(torch.randn(2, 4)).square().mean()


def test_torchviz_finds_the_same_ops_as_gradtrace():
    model, loss = model_and_loss()
    theirs = sorted(re.findall(r"\[label=(\w+Backward\d*|AccumulateGrad)\b", torchviz_dot(loss, model)))
    ours = sorted(op for _, op in gradtrace.graph(loss, model).nodes(data="op"))
    assert theirs == ours


@pytest.mark.parametrize(("name", "start"), [("g.svg", b"<?xml"), ("g.png", b"\x89PNG"), ("g.dot", b"digraph")])
def test_the_format_follows_the_ending(name, start, tmp_path):
    model, loss = model_and_loss()
    assert gradtrace.render(loss, tmp_path / name, model, style="torchviz") == tmp_path / name
    assert (tmp_path / name).read_bytes().startswith(start)


def test_outputs_that_torchviz_itself_cannot_draw():
    model, loss = model_and_loss()
    for output in ({"loss": loss, "other": 3}, [loss, {"deep": (loss * 2,)}]):
        assert "MeanBackward0" in torchviz_dot(output, model)


def test_deep_graphs_get_the_room_that_its_recursion_needs():
    x = torch.ones(2, requires_grad=True)
    for _ in range(1500):
        x = x.tanh()
    before = sys.getrecursionlimit()
    assert torchviz_dot(x.sum()).count("TanhBackward0") == 1500
    assert sys.getrecursionlimit() == before


def test_too_large_and_empty_graphs_are_refused(monkeypatch):
    _, loss = model_and_loss()
    monkeypatch.setattr(torchviz_adapter, "LIMIT", 5)
    with pytest.raises(GradtraceError, match="cannot draw 1"):
        torchviz_dot(loss)
    with pytest.raises(GradtraceError, match="has none"):
        torchviz_dot(torch.ones(2))


def test_without_torchviz_the_error_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchviz", None)
    with pytest.raises(MissingToolError, match="pip install torchviz"):
        torchviz_dot(model_and_loss()[1])
