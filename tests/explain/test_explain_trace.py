"""The chain rule out of a trace: the command and what it needs to be kept."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import gradtrace
from gradtrace.capture.explain_trace import explain_trace
from gradtrace.cli import main


def train(path, model, x, y, steps=3, hook=None):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    handle = model[0].weight.register_hook(hook) if hook else None
    live = []
    with gradtrace.trace(model, out=path):
        for _ in range(steps):
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            live.append(gradtrace.explain(loss, model))
            loss.backward()
            optimizer.step()
    if handle:
        handle.remove()
    return live


@pytest.fixture
def line(tmp_path):
    torch.manual_seed(0)
    x = torch.tensor([[1.0], [2.0], [3.0]])
    path = tmp_path / "line.gradtrace"
    return path, train(path, nn.Sequential(nn.Linear(1, 1)), x, 2 * x + 1)


@pytest.mark.parametrize("backward", [1, 2, 3, -1])
def test_the_trace_tells_what_the_live_graph_told(line, backward):
    path, live = line
    expected = live[backward - 1 if backward > 0 else backward]
    with gradtrace.load(path) as trace:
        told = explain_trace(trace, backward)
    assert told.loss == pytest.approx(expected.loss)
    assert [step.op for step in told.steps] == [step.op for step in expected.steps]
    assert [step.gradient for step in told.steps] == [step.gradient for step in expected.steps]
    assert [leaf.gradient for leaf in told.leaves] == [leaf.gradient for leaf in expected.leaves]
    assert all(leaf.check.relative_error < 1e-5 for leaf in told.leaves)
    assert told.steps[0].source.text.strip() == "loss = F.mse_loss(model(x), y)"
    assert told.notes == ()


def test_without_kept_numbers_norms_remain(tmp_path):
    path = tmp_path / "wide.gradtrace"
    train(path, nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1)), torch.randn(16, 8), torch.randn(16, 1))
    with gradtrace.load(path) as trace:
        told = explain_trace(trace, 1)
        norms = dict(zip(trace.parameters, trace.gradients("norm")[0], strict=True))
    assert "Only norms are known here" in told.notes[0]
    assert {leaf.name: leaf.gradient.norm for leaf in told.leaves} == pytest.approx(norms, rel=1e-5)
    assert told.cost.gradients == 8 * 32 + 32 + 32 + 1


def test_no_source_leaves_the_numbers_out_too(tmp_path):
    """One switch for all that shows more of a program than names, shapes and norms."""
    model, path = nn.Linear(1, 1), tmp_path / "private.gradtrace"
    with gradtrace.trace(model, out=path, source=False):
        model(torch.tensor([[4.25]])).square().sum().backward()
    with gradtrace.load(path) as trace:
        assert trace.recording().events("values") == []
        assert all(facts["source"] is None for facts in trace.graph().nodes.values())
        told = explain_trace(trace)
    assert "--no-source" in told.notes[0]
    assert told.leaves[0].gradient.numbers is None
    assert told.leaves[0].gradient.norm is not None


def test_a_gradient_that_a_hook_changed_is_noted(tmp_path):
    path = tmp_path / "hooked.gradtrace"
    x = torch.tensor([[1.0], [2.0]])
    model = nn.Sequential(nn.Linear(1, 1), nn.Tanh(), nn.Linear(1, 1))
    model[1].register_forward_hook(
        lambda module, args, output: output.register_hook(lambda gradient: gradient * 5) and None
    )
    train(path, model, x, x)
    with gradtrace.load(path) as trace:
        told = explain_trace(trace, 1)
    assert any("something changed it on the way" in note for note in told.notes)


def run(capsys, *args):
    with pytest.raises(SystemExit) as ended:
        main(["explain", *map(str, args)])
    return ended.value.code, capsys.readouterr()


def test_command_prints_text(line, capsys):
    path, _ = line
    code, output = run(capsys, path, "--backward", "1")
    assert code == 0
    assert output.out.startswith("Backward 1 of line.gradtrace\n")
    assert "Step 1: mse_loss  (MseLossBackward0)" in output.out
    assert "as torch has it   mse_loss_backward(grad, self, target, reduction)" in output.out
    assert "One backward pass gave 2 gradients" in output.out


@pytest.mark.parametrize(
    ("ending", "start"), [("md", "# Backward 3"), ("html", "<!doctype html>"), ("txt", "Backward 3")]
)
def test_command_writes_what_the_ending_says(line, capsys, tmp_path, ending, start):
    path, _ = line
    out = tmp_path / f"told.{ending}"
    code, output = run(capsys, path, "-o", out)
    assert code == 0
    assert output.out == ""
    assert out.read_text(encoding="utf-8").startswith(start)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--backward", "99"], "99"),
        (["--path", "loss:nowhere"], "nowhere"),
        (["-o", "told.pdf"], "no explanation has the ending '.pdf'"),
    ],
)
def test_command_refuses_in_one_line(line, capsys, options, message):
    path, _ = line
    code, output = run(capsys, path, *options)
    assert code == 2
    assert message in output.err
    assert output.err.count("\n") == 1


def test_pages_escape_what_the_program_says(line):
    path, _ = line
    with gradtrace.load(path) as trace:
        told = explain_trace(trace, 1)
    page = told.to_html()
    assert "<script" not in page
    assert page.count("<section") == len(told.steps) + len(told.leaves) + 1
