"""What is different between two graphs of one run, as data, as text and as a picture."""

from __future__ import annotations

import json

import pytest
import tape
import torch
from click.testing import CliRunner
from torch import nn

import gradtrace
from gradtrace.cli.diff import command
from gradtrace.differences import change_picture, find_changes
from gradtrace.errors import GradtraceError
from gradtrace.graphs import branches, compare, fold, fold_changes, to_networkx
from gradtrace.renderers import render_graph
from gradtrace.renderers.drawing import palette


class Experts(nn.Module):
    """One of three experts is taken; before the third the state is doubled."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(8, 8)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8)) for _ in range(3))
        self.head = nn.Linear(8, 1)

    def forward(self, x, which):
        state = self.stem(x)
        if which == 2:
            state = state * 2
        return self.head(self.experts[which](state))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Backwards 12 and 13 take the third expert, those from 20 on the second, all others the first."""
    torch.manual_seed(0)
    model, path = Experts(), tmp_path_factory.mktemp("run") / "experts.gradtrace"
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    with gradtrace.trace(model, out=path, on_finding="ignore"):
        for step in range(1, 30):
            optimizer.zero_grad()
            which = 2 if step in (12, 13) else int(step >= 20)
            model(torch.randn(4, 8), which).square().mean().backward()
            optimizer.step()
    return path


def test_each_branch_that_was_taken_for_the_first_time(run):
    with gradtrace.load(run) as trace:
        first, second = find_changes(trace.recording())
    assert (first.backward, first.before, first.backwards) == (12, 11, 2)
    assert first.left == ("experts.0",)
    assert first.taken[1:] == ("experts.2",)
    assert first.taken[0].startswith("Mul (test_graphs_changes.py:")
    assert (second.backward, second.before, second.taken, second.left) == (20, 19, ("experts.1",), ("experts.0",))


def test_as_text_and_as_json_on_the_command_line(run):
    said = CliRunner().invoke(command, [str(run)], standalone_mode=False)
    assert said.return_value == 1
    assert "the graph changed at backward 20: taken experts.1; left out experts.0" in said.output
    assert said.output.endswith("3 graphs in 29 backwards\n")
    data = json.loads(CliRunner().invoke(command, [str(run), "--format", "json"]).output)
    assert [change["backward"] for change in data["changes"]] == [12, 20]


def test_as_a_picture(run, tmp_path):
    out = tmp_path / "changed.svg"
    CliRunner().invoke(command, [str(run), "--backward", "20", "-o", str(out)])
    svg = out.read_text()
    assert "taken experts.1; left out experts.0" in svg
    for kind in ("added", "removed"):
        assert palette.CHANGE[kind].line in svg[svg.index("</style>") :]
        assert f">{kind}</text>" in svg


def test_a_backward_at_which_nothing_changed(run):
    with gradtrace.load(run) as trace, pytest.raises(GradtraceError, match="one at 12, 20"):
        change_picture(trace.recording(), 5)


def test_one_graph_throughout(tmp_path):
    model, path = nn.Linear(3, 1), tmp_path / "plain.gradtrace"
    with gradtrace.trace(model, out=path, on_finding="ignore"):
        for _ in range(5):
            model(torch.randn(2, 3)).sum().backward()
    assert CliRunner().invoke(command, [str(path)]).output == "1 graph in 5 backwards\n"


def test_two_snapshots_by_hand(run):
    with gradtrace.load(run) as trace:
        found = compare(trace.graph(11), trace.graph(13))
    assert branches(found.graph, "removed") == ["experts.0"]
    edges = [change for _, _, change in found.graph.edges(data="change")]
    assert edges.count("added") == len([1 for _, change in found.graph.nodes(data="change") if change == "added"]) + 1


def test_a_graph_that_does_not_know_its_modules_is_no_other_graph(run):
    with gradtrace.load(run) as trace:
        known = trace.graph(11)
    blind = known.copy()
    blind.graph["complete"] = False
    for facts in blind.nodes.values():
        if facts["kind"] != "parameter":
            facts.update(module=None, module_type=None, call=None)
    assert compare(known, blind).equal


def test_a_part_that_is_new_or_gone_as_a_whole_is_one_box(run):
    with gradtrace.load(run) as trace:
        shown = fold_changes(compare(trace.graph(11), trace.graph(13)).graph)
    changed = {
        facts["module"] or facts["op"]: facts["change"] for facts in shown.nodes.values() if facts["change"] != "same"
    }
    assert changed == {"experts.0": "removed", "experts.2": "added", "MulBackward0": "added"}
    assert all(facts["kind"] == "module" for facts in shown.nodes.values() if facts["module"])


def test_too_many_changes_are_folded_as_any_graph():
    first, second = (to_networkx(tape.transformer(layers, lambda _: 0.9)) for layers in (12, 1))
    for node, facts in first.nodes(data=True):
        if node % 7 == 0:
            facts["op"] = "OtherBackward0"
    assert len(fold_changes(compare(first, second).graph, budget=10)) <= 12


def test_the_picture_of_a_change_is_folded_and_tells_of_what_is_there(run):
    with gradtrace.load(run) as trace:
        graph = change_picture(trace.recording(), 20)
    dot = render_graph(graph, format="dot", color="change")
    assert "From backward 19 to backward 20" in dot
    assert palette.CHANGE["changed"].line not in dot, "nothing is of that kind"
    assert palette.ROOT_LINE not in dot, "green is what was added, not the loss"


def test_what_changed_stands_alone_in_a_fold():
    first = to_networkx(tape.transformer(12, lambda _: 0.9))
    second = to_networkx(tape.transformer(12, lambda _: 0.9))
    node = next(node for node, path in second.nodes(data="module") if path == "encoder.layers.7.mlp.1")
    second.nodes[node]["op"] = "SiluBackward0"
    graph = fold(compare(first, second).graph)
    (place,) = [facts for facts in graph.nodes.values() if facts["change"] != "same"]
    assert (place["module"], place["change"], place["ops"]) == (
        "encoder.layers.7.mlp.1",
        "changed",
        {"SiluBackward0": 1, "GeluBackward0": 1},
    )
    assert len(graph) < 20
