"""Programs that use `torch.compile` train on as they would, and their graphs are seen through."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import warnings
from collections import Counter

import pytest
import torch
from torch import nn

import gradtrace
from gradtrace.capture import compiled, private

pytestmark = pytest.mark.filterwarnings("ignore")  # of the compiler's own, about its own

PROGRAM = """
import sys, torch
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
compiled = torch.compile(model, backend=sys.argv[1])
optimizer = torch.optim.Adam(model.parameters(), 1e-2)
for _ in range(12):
    x = torch.randn(32, 8)
    loss = (compiled(x) - x.sum(1, keepdim=True)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(loss.item())
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["eager", "aot_eager", "inductor"])
def test_training_goes_on_bit_for_bit(tmp_path, gradtrace_process, backend):
    (tmp_path / "compiled.py").write_text(textwrap.dedent(PROGRAM))
    traced = gradtrace_process("run", "compiled.py", backend)
    command = [sys.executable, "compiled.py", backend]
    plain = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (traced.returncode, plain.returncode) == (0, 0)
    assert traced.stdout == plain.stdout
    assert "no findings in 12 backwards" in traced.stderr
    trace = gradtrace.load(tmp_path / "compiled.gradtrace")
    assert len(trace.recording().events("compiled")) == 1
    assert (trace.gradients() > 0).all()


class Block(nn.Module):
    def __init__(self, breaks=False):
        super().__init__()
        self.a, self.b, self.breaks = nn.Linear(8, 8), nn.Linear(8, 8), breaks

    def forward(self, x):
        h = torch.relu(self.a(x))
        if self.breaks:
            torch._dynamo.graph_break()
        return x + self.b(h)


class Net(nn.Module):
    def __init__(self, breaks=False):
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.head = nn.Sequential(Block(), Block(breaks)), nn.Linear(8, 1)

    def forward(self, x):
        return self.head(self.encoder(x))


def whole(model, backend):
    return torch.compile(model, backend=backend)


def in_place(model, backend):
    model.compile(backend=backend)
    return model


def around(model, backend):
    return torch.compile(lambda x: model(x).pow(2).mean(), backend=backend)


def untouched(model, backend):
    return model


def traced(compile_it, backend="aot_eager", *, breaks=False):
    """The trace of a few backwards of a `Net`."""
    model = Net(breaks)
    with gradtrace.trace(model, on_finding="ignore") as trace:
        call = compile_it(model, backend)
        for _ in range(3):
            result = call(torch.ones(4, 8))
            (result if result.dim() == 0 else result.pow(2).mean()).backward()
    return trace


def shape_of(trace):
    """Every op with its module and line, and every edge between such, however they are numbered."""
    graph = trace.graph()

    def label(node):
        facts = graph.nodes[node]
        line = facts["source"].line if facts["source"] and facts["module"] else None
        return facts["op"], facts["module"], facts["name"], facts["shape"], line

    return Counter(map(label, graph)), Counter((label(a), label(b)) for a, b in graph.edges())


@pytest.mark.parametrize(
    ("compile_it", "backend"),
    [(whole, "aot_eager"), (in_place, "aot_eager"), pytest.param(whole, "inductor", marks=pytest.mark.slow)],
)
def test_a_region_is_seen_through(compile_it, backend):
    wanted_ops, wanted_edges = shape_of(traced(untouched))
    ops, edges = shape_of(traced(compile_it, backend))
    assert {label[:4] for label in ops} == {label[:4] for label in wanted_ops}
    assert edges.total() == wanted_edges.total()
    lines = {label for label in ops if label[4]}
    assert lines <= set(wanted_ops)
    assert {module for _, module, *_ in lines} >= {"encoder.0", "encoder.0.a", "encoder.1.b"}


def test_norms_cross_the_border_and_are_unknown_inside():
    eager, graph = traced(untouched).graph(), traced(whole).graph()
    leaves = {facts["name"]: facts["grad_norm"] for facts in graph.nodes.values() if facts["kind"] == "parameter"}
    wanted = {facts["name"]: facts["grad_norm"] for facts in eager.nodes.values() if facts["kind"] == "parameter"}
    assert leaves == pytest.approx(wanted)
    inside = [facts for facts in graph.nodes.values() if (facts["attributes"] or {}).get("compiled")]
    assert len(inside) == 14
    assert sum(facts["grad_norm"] is not None for facts in inside) == 1


def test_a_loss_inside_the_region_is_its_root():
    graph = traced(around).graph()
    assert graph.nodes[graph.graph["root"]]["op"] == "MeanBackward0"
    assert graph.nodes[graph.graph["root"]]["kind"] == "root"


def test_what_was_compiled_before_stays_one_box_said_once():
    model = Net()
    call = whole(model, "aot_eager")
    call(torch.ones(4, 8)).sum().backward()
    with gradtrace.trace(model, on_finding="ignore") as trace:
        for _ in range(3):
            call(torch.ones(4, 8)).sum().backward()
    boxes = [facts for facts in trace.graph().nodes.values() if facts["op"] == "CompiledFunctionBackward"]
    assert len(boxes) == 1
    assert boxes[0]["source"] is None
    assert trace.graph().degree[0] == 1
    assert str(trace).count("1 compiled region shown as one node") == 1
    assert set(trace.parameters) == {name for name, _ in model.named_parameters()}


def test_a_compiler_that_has_changed_leaves_a_box_and_says_why(monkeypatch):
    monkeypatch.setattr(private, "compiler_module", lambda call: 1 / 0)
    trace = traced(whole)
    assert "1 compiled region shown as one node (ZeroDivisionError: division by zero)" in str(trace)


def test_a_region_that_hands_inputs_back_is_not_guessed_at(monkeypatch):
    monkeypatch.setattr(private, "compiled_mutations", lambda node: 1)
    assert traced(whole).recording().events("compiler")[0].payload["boxes"] == 1


def test_graph_breaks_are_told_with_their_line():
    trace = traced(whole, breaks=True)
    (event,) = trace.recording().events("compiler")
    (cause,) = event.payload["breaks"]
    assert cause["source"]["text"] == "torch._dynamo.graph_break()"
    assert cause["source"]["file"].endswith("test_compiled.py")
    assert event.payload["graphs"] == event.payload["regions"] >= 2
    assert f"graph break at test_compiled.py:{cause['source']['line']}" in str(trace)


@pytest.mark.parametrize("compile_it", [whole, in_place, around])
def test_hooks_are_gone_before_compiled_code_runs(compile_it):
    def train(call):
        for _ in range(3):
            call(torch.ones(4, 8)).pow(2).mean().backward()

    train(compile_it(Net(), "aot_eager"))
    counters = torch._dynamo.utils.counters
    frames = dict(counters["frames"])
    torch._dynamo.reset()
    counters.clear()
    model = Net()
    call = compile_it(model, "aot_eager")
    with warnings.catch_warnings(), gradtrace.trace(on_finding="ignore") as trace:
        warnings.filterwarnings("error", message=".*global hooks")
        train(call)
    assert dict(counters["frames"]) == frames
    assert set(trace.parameters) == {name for name, _ in model.named_parameters()}
    assert trace.recording().events("compiler")[0].payload["boxes"] == 0
    handler = torch._dynamo.callback.callback_handler
    assert not handler.start_callbacks


def test_a_nan_of_a_region_names_the_way_to_its_op():
    model = Net()
    with torch.no_grad():
        model.encoder[1].a.weight.fill_(float("inf"))
    with gradtrace.trace(model, on_finding="ignore", select=["GT2"]) as trace:
        call = torch.compile(lambda x: torch.nan_to_num(model(x), 0.0, 0.0, 0.0).sum(), backend="aot_eager")
        for _ in range(3):
            call(torch.ones(4, 8)).backward()
    (finding,) = trace.findings
    assert (finding.code, finding.where.op, finding.where.source) == ("GT201", "CompiledFunctionBackward", None)
    assert "TORCHDYNAMO_DISABLE=1" in finding.fix


def test_symbolic_sizes_are_left_alone():
    assert compiled._shape((2, 3)) == (2, 3)
    assert compiled._shape((2, object())) is None


@pytest.mark.parametrize(("activation", "codes"), [(nn.Sigmoid, ["GT101"]), (nn.ReLU, [])])
def test_a_gradient_that_fades_inside_is_seen_at_the_weights(activation, codes):
    torch.manual_seed(0)
    layers = [layer for _ in range(20) for layer in (nn.Linear(16, 16), activation())]
    model = nn.Sequential(*layers, nn.Linear(16, 1))
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, nn.Linear):
                nn.init.orthogonal_(layer.weight, nn.init.calculate_gain(activation.__name__.lower()))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    with gradtrace.trace(model, on_finding="ignore", select=["GT101", "GT102"]) as trace:
        compiled_model = torch.compile(model, backend="aot_eager")
        for _ in range(12):
            x = torch.randn(32, 16) / 100  # small inputs alone make the first weight's gradient small
            optimizer.zero_grad()
            (compiled_model(x) - 1).pow(2).mean().backward()
            optimizer.step()
    assert [finding.code for finding in trace.findings] == codes
    assert all(finding.where.op == "SigmoidBackward0" for finding in trace.findings)
    assert all("0.weight" in finding.parameters for finding in trace.findings)
